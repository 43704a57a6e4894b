/**
 * What the block types of this family share: how halves and codes are stored.
 *
 * Codes of 32 values: byte j of 16 holds value j in its low nibble and value j + 16 in its high nibble. The fifth bits of
 * q5_0 and q5_1 stand before them, bit j of a little-endian u32 for value j.
 *
 * Source: the data sheet in docs/encodings.md; ggml's ggml-common.h states the same structures.
 */

import { f16BitsToF32, f32ToF16Bits } from '../../../core/floats.ts';

/** Values of a block, and of a sub-block of iq4_xs. */
export const BLOCK = 32;

/**
 * Stores `value` as a little-endian half. All values of a codec's input are finite, so a NaN came from an invalid operation;
 * x86 gives such a NaN a sign, JavaScript and WebAssembly leave it open.
 */
export function storeHalf(target: Uint8Array, at: number, value: number): void {
  const bits = Number.isNaN(value) ? 0xfe00 : f32ToF16Bits(value);
  target[at] = bits & 0xff;
  target[at + 1] = bits >> 8;
}

export function loadHalf(source: Uint8Array, at: number): number {
  return f16BitsToF32(source[at]! | (source[at + 1]! << 8));
}

/** 32 codes, with their fifth bits before the nibbles if `high`. */
export function storeCodes(target: Uint8Array, at: number, codes: Uint8Array, high: boolean): void {
  let nibbles = at;
  if (high) {
    target.fill(0, at, at + 4);
    for (let j = 0; j < BLOCK; j++) target[at + (j >> 3)]! |= ((codes[j]! >> 4) & 1) << (j & 7);
    nibbles += 4;
  }
  for (let j = 0; j < 16; j++) target[nibbles + j] = (codes[j]! & 15) | ((codes[j + 16]! & 15) << 4);
}

export function loadCodes(source: Uint8Array, at: number, codes: Uint8Array, high: boolean): void {
  const nibbles = high ? at + 4 : at;
  for (let j = 0; j < 16; j++) {
    codes[j] = source[nibbles + j]! & 15;
    codes[j + 16] = source[nibbles + j]! >> 4;
  }
  if (!high) return;
  for (let j = 0; j < BLOCK; j++) codes[j]! |= ((source[at + (j >> 3)]! >> (j & 7)) & 1) << 4;
}

/** Σ x², in order. */
export function sumOfSquares(values: Float32Array, start: number, count: number): number {
  const { fround } = Math;
  let sum = 0;
  for (let j = start; j < start + count; j++) sum = fround(sum + fround(values[j]! * values[j]!));
  return sum;
}

/** weight = importance · sqrt(σ² + x²), the weighting of ggml's encoders. Fills `weights` from `at` of both arrays on. */
export function weigh(
  values: Float32Array,
  at: number,
  importance: Float32Array,
  importanceAt: number,
  sigma2: number,
  weights: Float32Array,
): void {
  const { fround } = Math;
  for (let j = 0; j < weights.length; j++) {
    const x = values[at + j]!;
    const root = fround(Math.sqrt(fround(sigma2 + fround(x * x))));
    weights[j] = fround(importance[importanceAt + j]! * root);
  }
}
