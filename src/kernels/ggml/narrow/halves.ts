/**
 * The scale of a block: a little-endian IEEE half at any byte.
 *
 * Source: the data sheet in docs/encodings.md. A NaN can only come from an invalid operation, for the values of a codec are
 * finite; x86 gives such a NaN its sign bit, JavaScript and WebAssembly leave it open, so it is set here.
 */

import { f16BitsToF32, f32ToF16Bits } from '../../../core/floats.ts';

export function storeHalf(target: Uint8Array, at: number, value: number): void {
  const bits = Number.isNaN(value) ? 0xfe00 : f32ToF16Bits(value);
  target[at] = bits & 0xff;
  target[at + 1] = bits >> 8;
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
