/**
 * Lane arithmetic of this family: transposition of four blocks so that each lane carries one, and the way from whole
 * f32 lanes to packed bytes.
 *
 * Codes stay floats until they are packed: two of them in one f32 (a + 256 b is exact), then a sum with 2^23, whose low
 * mantissa bits are the integer. Two such vectors make 16 bytes with one shift, one mask and one byte shuffle.
 */

import { storeTransposed } from '../../vectors';

/** 1.5 · 2^23: a sum with it rounds |x| < 2^22 to the nearest integer, ties to even, and holds it in its low bits. */
// @ts-ignore: decorator
@inline
export const MAGIC: f32 = 12582912;

// @ts-ignore: decorator
@inline
export function lane(x: v128, k: i32): v128 {
  if (k == 0) return v128.shuffle<i32>(x, x, 0, 0, 0, 0);
  if (k == 1) return v128.shuffle<i32>(x, x, 1, 1, 1, 1);
  if (k == 2) return v128.shuffle<i32>(x, x, 2, 2, 2, 2);
  return v128.shuffle<i32>(x, x, 3, 3, 3, 3);
}

/** [smallest of a, of b, of c, of d]. */
// @ts-ignore: decorator
@inline
export function foldMin(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.pmin(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.pmin(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.pmin(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}

// @ts-ignore: decorator
@inline
export function foldMax(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.pmax(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.pmax(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.pmax(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}

/** Transposes the 32 values of four blocks. */
// @ts-ignore: decorator
@inline
export function transpose(a: usize, b: usize, c: usize, d: usize, target: usize): void {
  for (let j: usize = 0; j < 128; j += 16, target += 64) {
    storeTransposed(v128.load(a + j), v128.load(b + j), v128.load(c + j), v128.load(d + j), target);
  }
}

/** 16 whole f32 lanes to bytes; `bias` is added to each (−256 < bias + value < 256) before its low byte is taken. */
// @ts-ignore: decorator
@inline
export function bytesOf(a: v128, b: v128, c: v128, d: v128, bias: f32): v128 {
  const magic = f32x4.splat(8388608 + 257 * bias);
  const by = f32x4.splat(256);
  const ab = f32x4.add(f32x4.add(a, f32x4.mul(b, by)), magic);
  const cd = f32x4.add(f32x4.add(c, f32x4.mul(d, by)), magic);
  const all = v128.or(v128.and(ab, i32x4.splat(0xffff)), i32x4.shl(cd, 16));
  return v128.shuffle<i8>(all, all, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
}

/** Low nibbles from the bytes `low`, high ones from `high`; both below 16. */
// @ts-ignore: decorator
@inline
export function nibbles(low: v128, high: v128): v128 {
  return v128.or(low, i16x8.shl(high, 4));
}

/** Bit 4 of 16 bytes below 32. */
// @ts-ignore: decorator
@inline
export function fifthBits(codes: v128): i32 {
  return i8x16.bitmask(i16x8.shl(codes, 3));
}
