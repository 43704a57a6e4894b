/**
 * What the K-quants have in common: super-blocks of 256 values that are encoded one by one, sub-blocks of 16 or 32 values with a
 * scale (and a minimum) of a few bits each, and two halves that scale these. Weights of an importance matrix grow with the
 * magnitude of a value: w = importance · sqrt(σ² + x²), σ² from the whole super-block.
 *
 * Source: ggml 0.25.1, ggml-quants.c (MIT), restated; docs/encodings.md has the layouts.
 */

import { sumOfSquares } from '../blocks.ts';
import type { BlockCodec } from '../codec.ts';
import { nearestInteger } from '../searches.ts';

export const SUPER = 256;
const f = Math.fround;

export interface SuperBlock {
  readonly bytes: number;
  /**
   * @param x - 256 values
   * @param importance - 256 weights, or undefined
   * @param block - receives `bytes` bytes
   */
  encode(x: Float32Array, importance: Float32Array | undefined, block: Uint8Array): void;
  /** @param y - receives 256 values */
  decode(block: Uint8Array, y: Float32Array): void;
}

export function superBlockCodec({ bytes, encode, decode }: SuperBlock): BlockCodec {
  return {
    quantize(values, rowLength, importance, target) {
      const perRow = rowLength / SUPER;
      for (let block = 0; block * SUPER < values.length; block++) {
        const column = (block % perRow) * SUPER;
        encode(
          values.subarray(block * SUPER, (block + 1) * SUPER),
          importance?.subarray(column, column + SUPER),
          target.subarray(block * bytes, (block + 1) * bytes),
        );
      }
    },
    dequantize(source, target) {
      for (let block = 0; block * bytes < source.length; block++) {
        decode(
          source.subarray(block * bytes, (block + 1) * bytes),
          target.subarray(block * SUPER, (block + 1) * SUPER),
        );
      }
    },
  };
}

/** Fills `weights` (256) from the importance, and `totals` with their sums by sub-block of `n` values; σ² = factor · Σx² / 256. */
export function importanceWeights(
  x: Float32Array,
  importance: Float32Array,
  n: number,
  factor: 1 | 2,
  weights: Float32Array,
  totals: Float32Array,
): void {
  const variance = f(f(factor * sumOfSquares(x, 0, SUPER)) / SUPER);
  for (let j = 0; j < SUPER / n; j++) {
    let total = 0;
    for (let i = j * n; i < (j + 1) * n; i++) {
      weights[i] = f(importance[i]! * f(Math.sqrt(f(variance + f(x[i]! * x[i]!)))));
      total = f(total + weights[i]!);
    }
    totals[j] = total;
  }
}

/** w = sqrt(mean of x²) + |x| over `n` values from `from` on. */
export function magnitudeWeights(x: Float32Array, from: number, n: number, weights: Float32Array): void {
  const average = f(Math.sqrt(f(sumOfSquares(x, from, n) / n)));
  for (let i = 0; i < n; i++) weights[i] = f(average + Math.abs(x[from + i]!));
}

/** The largest of `values`, not below 0; NaN is passed over. */
export function largestOf(values: Float32Array): number {
  let largest = 0;
  for (const value of values) if (value > largest) largest = value;
  return largest;
}

/** The value of largest magnitude (the first of equals), 0 where all are 0. */
export function extremeOf(values: Float32Array): number {
  let largest = 0;
  let extreme = 0;
  for (const value of values) {
    if (Math.abs(value) > largest) {
      largest = Math.abs(value);
      extreme = value;
    }
  }
  return extreme;
}

/** Codes of `n` values from `from` on once scale and minimum are known: l = clamp(rint((x + minimum) / scale)), stored + `offset`. */
export function recode(
  x: Float32Array,
  from: number,
  n: number,
  scale: number,
  minimum: number,
  low: number,
  high: number,
  codes: Uint8Array,
): void {
  // A scale of 0 keeps the codes of the search.
  if (scale === 0) return;
  for (let i = from; i < from + n; i++) {
    const l = nearestInteger(f(f(x[i]! + minimum) / scale));
    codes[i] = Math.max(low, Math.min(high, l)) - low;
  }
}

/** 256 two-bit codes: byte l of each half's 32 holds elements l, l + 32, l + 64, l + 96, lowest first. */
export function packPairs(codes: Uint8Array, block: Uint8Array, at: number): void {
  for (let i = 0; i < 64; i++) {
    const j = (i >> 5) * 128 + (i & 31);
    block[at + i] =
      (codes[j]! & 3) |
      ((codes[j + 32]! & 3) << 2) |
      ((codes[j + 64]! & 3) << 4) |
      ((codes[j + 96]! & 3) << 6);
  }
}

/** Code of element `i` among two-bit codes that begin at `at`. */
export function pairOf(block: Uint8Array, at: number, i: number): number {
  return (block[at + (i >> 7) * 32 + (i & 31)]! >> (2 * ((i >> 5) & 3))) & 3;
}
