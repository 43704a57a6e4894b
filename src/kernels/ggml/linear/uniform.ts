/**
 * q4_0, q4_1, q5_0, q5_1: 32 values on an evenly spaced grid of 16 or 32 codes.
 *
 *   type   bytes   layout                                  value
 *   q4_0   18      half d; 16 B nibbles                    (q − 8) · d
 *   q4_1   20      half d; half m; 16 B nibbles            q · d + m
 *   q5_0   22      half d; u32 fifth bits; 16 B nibbles    (q − 16) · d
 *   q5_1   24      half d; half m; u32 fifth bits; 16 B    q · d + m
 *
 * Without importance d follows from the extreme values: the first value of largest magnitude becomes code 0, or minimum and
 * maximum become the first and last code. Codes are made with d before it is rounded to a half. With importance a search
 * (../searches.ts) weighs the squared errors by importance · sqrt(σ² + x²), σ² the mean square of the whole row.
 *
 * A block of subnormal values whose 1 / d is infinite, and one whose range is, has codes 0: the products are infinite or NaN,
 * which x86 converts to −2^31, whose low byte is 0.
 */

import { loadHalf, storeHalf, sumOfSquares } from '../blocks.ts';
import type { BlockCodec } from '../codec.ts';
import { searchAsymmetric, searchSymmetric } from '../searches.ts';
import { BLOCK, loadCodes, storeCodes, weigh } from './layout.ts';

const { fround } = Math;

/** Codes of `levels` steps; `offset`: with a stored minimum. */
export interface UniformType {
  readonly levels: 16 | 32;
  readonly offset: boolean;
}

export const UNIFORM = {
  q4_0: { levels: 16, offset: false },
  q4_1: { levels: 16, offset: true },
  q5_0: { levels: 32, offset: false },
  q5_1: { levels: 32, offset: true },
} as const satisfies Record<string, UniformType>;

export function uniformBytes({ levels, offset }: UniformType): number {
  return 2 + (offset ? 2 : 0) + (levels === 32 ? 4 : 0) + BLOCK / 2;
}

/** The scales tried with importance by the types that store a minimum. */
const STEPS = { first: -0.9, step: 0.05, count: 36, absolute: false } as const;

const codes = new Uint8Array(BLOCK);
const weights = new Float32Array(BLOCK);

/** One block without importance. */
export function encodePlain(
  type: UniformType,
  values: Float32Array,
  at: number,
  target: Uint8Array,
  to: number,
): void {
  if (type.offset) encodeRange(type.levels, values, at, target, to);
  else encodeExtreme(type.levels, values, at, target, to);
}

/** C's conversion to a byte by way of a 32-bit integer, of a value that is positive, infinite or NaN. */
function truncated(value: number, top: number): number {
  return value < 2147483648 ? Math.min(top, Math.trunc(value)) : 0;
}

function encodeExtreme(
  levels: number,
  values: Float32Array,
  at: number,
  target: Uint8Array,
  to: number,
): void {
  let largest = 0;
  let extreme = 0;
  for (let j = 0; j < BLOCK; j++) {
    const x = values[at + j]!;
    if (largest < Math.abs(x)) {
      largest = Math.abs(x);
      extreme = x;
    }
  }
  const middle = levels / 2;
  // −0 of a zero block is part of the format.
  const d = fround(extreme / -middle);
  const id = d === 0 ? 0 : fround(1 / d);
  storeHalf(target, to, d);
  for (let j = 0; j < BLOCK; j++) {
    const y = fround(fround(values[at + j]! * id) + (middle + 0.5));
    codes[j] = y > -2147483648 ? truncated(y, levels - 1) : 0;
  }
  storeCodes(target, to + 2, codes, levels === 32);
}

function encodeRange(levels: number, values: Float32Array, at: number, target: Uint8Array, to: number): void {
  let min = values[at]!;
  let max = min;
  for (let j = 1; j < BLOCK; j++) {
    const x = values[at + j]!;
    if (x < min) min = x;
    if (x > max) max = x;
  }
  const d = fround(fround(max - min) / (levels - 1));
  const id = d === 0 ? 0 : fround(1 / d);
  storeHalf(target, to, d);
  storeHalf(target, to + 2, min);
  for (let j = 0; j < BLOCK; j++) {
    const y = fround(fround(fround(values[at + j]! - min) * id) + 0.5);
    codes[j] = truncated(y, levels - 1);
  }
  storeCodes(target, to + 4, codes, levels === 32);
}

/** One block with importance; `sigma2`: mean square of its row. */
export function encodeWeighted(
  type: UniformType,
  values: Float32Array,
  at: number,
  importance: Float32Array,
  importanceAt: number,
  sigma2: number,
  target: Uint8Array,
  to: number,
): void {
  const { levels, offset } = type;
  weigh(values, at, importance, importanceAt, sigma2, weights);
  const block = values.subarray(at, at + BLOCK);
  if (offset) {
    const fit = searchAsymmetric(block, 0, BLOCK, levels - 1, weights, STEPS, codes);
    storeHalf(target, to, fit.scale);
    storeHalf(target, to + 2, -fit.offset);
  } else {
    storeHalf(target, to, searchSymmetric(block, 0, BLOCK, levels / 2, weights, codes));
  }
  storeCodes(target, to + (offset ? 4 : 2), codes, levels === 32);
}

function decode(
  { levels, offset }: UniformType,
  source: Uint8Array,
  at: number,
  target: Float32Array,
  to: number,
): void {
  const d = loadHalf(source, at);
  const m = offset ? loadHalf(source, at + 2) : 0;
  loadCodes(source, at + (offset ? 4 : 2), codes, levels === 32);
  if (offset) {
    for (let j = 0; j < BLOCK; j++) target[to + j] = fround(codes[j]! * d) + m;
  } else {
    for (let j = 0; j < BLOCK; j++) target[to + j] = (codes[j]! - levels / 2) * d;
  }
}

export function uniformCodec(type: UniformType): BlockCodec {
  const bytes = uniformBytes(type);
  return {
    quantize(values, rowLength, importance, target) {
      for (let row = 0; row < values.length; row += rowLength) {
        const sigma2 =
          importance === undefined ? 0 : fround(sumOfSquares(values, row, rowLength) / rowLength);
        for (let at = 0; at < rowLength; at += BLOCK) {
          const to = ((row + at) / BLOCK) * bytes;
          if (importance === undefined) encodePlain(type, values, row + at, target, to);
          else encodeWeighted(type, values, row + at, importance, at, sigma2, target, to);
        }
      }
    },
    dequantize(source, target) {
      for (let i = 0; i * BLOCK < target.length; i++) decode(type, source, i * bytes, target, i * BLOCK);
    },
  };
}
