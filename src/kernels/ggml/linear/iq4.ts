/**
 * iq4_nl and iq4_xs: 4-bit codes of a fixed, uneven set of 16 values.
 *
 *   iq4_nl   32 values, 18 B    half d; 16 B nibbles                                       d · BOOK[q]
 *   iq4_xs   256 values, 136 B  half d; u16 scales_h; 4 B scales_l; 8 × 16 B nibbles       d · (s − 32) · BOOK[q]
 *
 * s has 6 bits for each 32 values: its low nibble is nibble i of scales_l, its upper two bits are bits 2i of scales_h.
 *
 * The search, for each 32 values, w = x² or importance · sqrt(σ² + x²) with σ² = 2 · mean square of the block: one candidate
 * maps the value m of largest magnitude to 127, fifteen more map it to −120 … −134. Each is scored by A² / B with
 * A = Σ w q x and B = Σ w q², and the best one's A / B is the scale. iq4_xs then codes the eight scales.
 *
 * Nearest value: a tie goes up. ggml compares x − lower with upper − x in f32; next to the middle both are exact (the middle
 * is a multiple of ½ whose spacing is not below that of half the gap), so the rule is x ≥ middle.
 */

import { loadHalf, storeHalf, sumOfSquares } from '../blocks.ts';
import type { BlockCodec } from '../codec.ts';
import { BLOCK, weigh } from './layout.ts';

const { fround } = Math;

export const BOOK: readonly number[] = [
  -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];
const MIDDLES: readonly number[] = BOOK.slice(1).map((value, i) => (value + BOOK[i]!) / 2);
/** A block whose values are all smaller has scale 0. */
const SMALLEST = fround(1e-15);
const TRIES = 7;

const weights = new Float32Array(BLOCK);
const indices = new Uint8Array(BLOCK);
const scales = new Float32Array(8);

/** Code of the book's nearest value. NaN, which an infinite reciprocal makes of 0, gives the last one. */
export function nearest(value: number): number {
  if (Number.isNaN(value)) return 15;
  let index = 0;
  while (index < 15 && value >= MIDDLES[index]!) index++;
  return index;
}

/** Scale of the 32 values from `at` on, with the weights that stand in `weights`. */
function search(values: Float32Array, at: number): number {
  let largest = 0;
  let m = 0;
  for (let j = 0; j < BLOCK; j++) {
    const x = values[at + j]!;
    if (Math.abs(x) > largest) {
      largest = Math.abs(x);
      m = x;
    }
  }
  if (largest < SMALLEST) return 0;
  let A = 0;
  let B = 0;
  const score = (id: number): void => {
    A = 0;
    B = 0;
    for (let j = 0; j < BLOCK; j++) {
      const x = values[at + j]!;
      const q = BOOK[nearest(fround(id * x))]!;
      const wq = fround(weights[j]! * q);
      A = fround(A + fround(wq * x));
      B = fround(B + fround(wq * q));
    }
  };
  score(fround(1 / fround(-m / BOOK[0]!)));
  let d = B > 0 ? fround(A / B) : 0;
  let best = fround(d * A);
  for (let k = -TRIES; k <= TRIES; k++) {
    score(fround((k + BOOK[0]!) / m));
    if (B > 0 && fround(A * A) > fround(best * B)) {
      d = fround(A / B);
      best = fround(d * A);
    }
  }
  return d;
}

function storeIndices(values: Float32Array, at: number, id: number, target: Uint8Array, to: number): void {
  for (let j = 0; j < BLOCK; j++) indices[j] = nearest(fround(id * values[at + j]!));
  for (let j = 0; j < 16; j++) target[to + j] = indices[j]! | (indices[j + 16]! << 4);
}

const reciprocal = (scale: number): number => (scale === 0 ? 0 : fround(1 / scale));

/** Scale of 32 values; `sigma2` counts with importance only. */
function scaleOf(
  values: Float32Array,
  at: number,
  importance: Float32Array | undefined,
  importanceAt: number,
  sigma2: number,
): number {
  if (importance === undefined) {
    for (let j = 0; j < BLOCK; j++) weights[j] = values[at + j]! * values[at + j]!;
  } else weigh(values, at, importance, importanceAt, sigma2, weights);
  return search(values, at);
}

type EncodeBlock = (
  values: Float32Array,
  at: number,
  importance: Float32Array | undefined,
  importanceAt: number,
  target: Uint8Array,
  to: number,
) => void;

/** One block of 32. */
export const encodeNl: EncodeBlock = (values, at, importance, importanceAt, target, to) => {
  const sigma2 = fround(sumOfSquares(values, at, BLOCK) * (2 / BLOCK));
  const d = scaleOf(values, at, importance, importanceAt, sigma2);
  storeHalf(target, to, d);
  storeIndices(values, at, reciprocal(d), target, to + 2);
};

/** C's sum with 1.5 · 2^23 and its low 23 bits, less 2^22: rint below 2^22; infinities give −2^22. NaN gives 0. */
function rint(value: number): number {
  if (Number.isNaN(value)) return 0;
  if (!Number.isFinite(value)) return -0x400000;
  bits[0] = value + 12582912;
  return (word[0]! & 0x7fffff) - 0x400000;
}
const bits = new Float32Array(1);
const word = new Int32Array(bits.buffer);

/** One block of 256. */
export const encodeXs: EncodeBlock = (values, at, importance, importanceAt, target, to) => {
  const sigma2 = fround(sumOfSquares(values, at, 8 * BLOCK) * (2 / 256));
  let largest = 0;
  let signed = 0;
  for (let i = 0; i < 8; i++) {
    const scale = scaleOf(values, at + i * BLOCK, importance, importanceAt + i * BLOCK, sigma2);
    scales[i] = scale;
    if (Math.abs(scale) > largest) {
      largest = Math.abs(scale);
      signed = scale;
    }
  }
  const d = fround(-signed / 32);
  const id = reciprocal(d);
  storeHalf(target, to, d);
  target.fill(0, to + 2, to + 8);
  for (let i = 0; i < 8; i++) {
    const l = Math.max(-32, Math.min(31, rint(fround(id * scales[i]!))));
    storeIndices(values, at + i * BLOCK, reciprocal(fround(d * l)), target, to + 8 + 16 * i);
    const s = l + 32;
    target[to + 4 + (i >> 1)]! |= (s & 15) << (4 * (i & 1));
    target[to + 2 + (i >> 2)]! |= (s >> 4) << (2 * (i & 3));
  }
};

function decodeIndices(d: number, source: Uint8Array, at: number, target: Float32Array, to: number): void {
  for (let j = 0; j < 16; j++) {
    target[to + j] = d * BOOK[source[at + j]! & 15]!;
    target[to + 16 + j] = d * BOOK[source[at + j]! >> 4]!;
  }
}

function decodeNl(source: Uint8Array, at: number, target: Float32Array, to: number): void {
  decodeIndices(loadHalf(source, at), source, at + 2, target, to);
}

function decodeXs(source: Uint8Array, at: number, target: Float32Array, to: number): void {
  const d = loadHalf(source, at);
  for (let i = 0; i < 8; i++) {
    const low = (source[at + 4 + (i >> 1)]! >> (4 * (i & 1))) & 15;
    const high = (source[at + 2 + (i >> 2)]! >> (2 * (i & 3))) & 3;
    const scale = fround(d * ((low | (high << 4)) - 32));
    decodeIndices(scale, source, at + 8 + 16 * i, target, to + BLOCK * i);
  }
}

function codec(
  size: number,
  bytes: number,
  encode: EncodeBlock,
  decode: (source: Uint8Array, at: number, target: Float32Array, to: number) => void,
): BlockCodec {
  return {
    quantize(values, rowLength, importance, target) {
      for (let i = 0; i * size < values.length; i++) {
        encode(values, i * size, importance, (i * size) % rowLength, target, i * bytes);
      }
    },
    dequantize(source, target) {
      for (let i = 0; i * size < target.length; i++) decode(source, i * bytes, target, i * size);
    },
  };
}

export const iq4_nl: BlockCodec = codec(BLOCK, 18, encodeNl, decodeNl);
export const iq4_xs: BlockCodec = codec(8 * BLOCK, 136, encodeXs, decodeXs);
