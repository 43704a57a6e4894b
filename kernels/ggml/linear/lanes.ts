/**
 * Lane arithmetic of this family: halves, transposition of four blocks so that each lane carries one, and the way from whole
 * f32 lanes to packed bytes.
 *
 * Codes stay floats until they are packed: two of them in one f32 (a + 256 b is exact), then a sum with 2^23, whose low
 * mantissa bits are the integer. Two such vectors make 16 bytes with one shift, one mask and one byte shuffle.
 */

/** 1.5 · 2^23: a sum with it rounds |x| < 2^22 to the nearest integer, ties to even, and holds it in its low bits. */
// @ts-ignore: decorator
@inline
export const MAGIC: f32 = 12582912;

/** f32 lanes to half bits (in i32 lanes), ties to even. NaN gives 0xfe00, the half of x86's own NaN. */
// @ts-ignore: decorator
@inline
export function halfBits(x: v128): v128 {
  const magnitude = v128.and(x, i32x4.splat(0x7fffffff));
  const odd = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1));
  const normal = i32x4.sub(i32x4.shr_u(i32x4.add(i32x4.add(magnitude, i32x4.splat(0xfff)), odd), 13), i32x4.splat(112 << 10));
  // Below 2^-14 the spacing is 2^-24, that of f32 in [0.5, 1).
  const tiny = i32x4.sub(f32x4.add(magnitude, f32x4.splat(0.5)), f32x4.splat(0.5));
  let bits = v128.bitselect(tiny, normal, i32x4.lt_s(magnitude, i32x4.splat(0x38800000)));
  bits = i32x4.min_s(bits, i32x4.splat(0x7c00));
  bits = v128.or(bits, v128.and(i32x4.shr_u(x, 16), i32x4.splat(0x8000)));
  return v128.bitselect(i32x4.splat(0xfe00), bits, f32x4.ne(x, x));
}

/** The value of the half at `source`, in all lanes. */
// @ts-ignore: decorator
@inline
export function loadHalf(source: usize): v128 {
  const h = i32x4.splat(load<u16>(source));
  const magnitude = v128.and(h, i32x4.splat(0x7fff));
  let r = i32x4.add(i32x4.shl(magnitude, 13), i32x4.splat(112 << 23));
  r = v128.bitselect(i32x4.add(r, i32x4.splat(112 << 23)), r, i32x4.ge_s(magnitude, i32x4.splat(0x7c00)));
  const tiny = f32x4.sub(v128.or(magnitude, f32x4.splat(0.5)), f32x4.splat(0.5));
  r = v128.bitselect(tiny, r, i32x4.lt_s(magnitude, i32x4.splat(0x400)));
  return v128.or(r, i32x4.shl(v128.and(h, i32x4.splat(0x8000)), 16));
}

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

/** Four values of each of four blocks, to four vectors with a block in each lane. */
// @ts-ignore: decorator
@inline
export function storeTransposed(a: v128, b: v128, c: v128, d: v128, target: usize): void {
  const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
  const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  v128.store(target, v128.shuffle<i64>(ab, cd, 0, 2));
  v128.store(target, v128.shuffle<i64>(ab, cd, 1, 3), 16);
  const AB = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
  const CD = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(target, v128.shuffle<i64>(AB, CD, 0, 2), 32);
  v128.store(target, v128.shuffle<i64>(AB, CD, 1, 3), 48);
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
