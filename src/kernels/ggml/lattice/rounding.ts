/**
 * Rounding as ggml does it: adding 1.5 · 2^23 leaves the nearest integer (ties to even) in the low bits of the sum. Beyond
 * 2^22, for infinities and NaN, the bits give some other, but definite integer, which is part of the encoding: flipped signs
 * and subnormal scales reach it.
 */

const float = new Float32Array(1);
const word = new Int32Array(float.buffer);

/** @param value - an f32 */
export function nearestInt(value: number): number {
  float[0] = value + 12582912;
  return (word[0]! & 0x7fffff) - 0x400000;
}

/** Level of a point's component: rint((value / scale − 1) / 2) within 0…`last`. */
export function levelOf(value: number, inverse: number, last: number): number {
  const l = nearestInt(Math.fround(0.5 * Math.fround(Math.fround(inverse * value) - 1)));
  return Math.max(0, Math.min(last, l));
}
