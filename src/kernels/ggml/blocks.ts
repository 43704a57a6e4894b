/**
 * What the definitions of several families share: the scale of a block, a little-endian IEEE half at any byte, and passes over
 * its values in ggml's order, each step one f32 operation.
 *
 * Source: docs/encodings.md, "ggml block types". A NaN can only come from an invalid operation, for the values of a codec are
 * finite; x86 gives such a NaN its sign bit, JavaScript and WebAssembly leave it open, so it is set here.
 */

import { f16BitsToF32, f32ToF16Bits } from '../../core/floats.ts';

const { fround } = Math;

/** Stores `value` as a half at byte `at`; returns the half's value. */
export function storeHalf(target: Uint8Array, at: number, value: number): number {
  const bits = Number.isNaN(value) ? 0xfe00 : f32ToF16Bits(value);
  target[at] = bits & 0xff;
  target[at + 1] = bits >> 8;
  return f16BitsToF32(bits);
}

export function loadHalf(source: Uint8Array, at: number): number {
  return f16BitsToF32(source[at]! | (source[at + 1]! << 8));
}

/** Largest |x| of `count` values. */
export function largestMagnitude(values: Float32Array, start: number, count: number): number {
  let largest = 0;
  for (let j = start; j < start + count; j++) largest = Math.max(largest, Math.abs(values[j]!));
  return largest;
}

/** Σ x², in order. */
export function sumOfSquares(values: Float32Array, start: number, count: number): number {
  let sum = 0;
  for (let j = start; j < start + count; j++) sum = fround(sum + fround(values[j]! * values[j]!));
  return sum;
}
