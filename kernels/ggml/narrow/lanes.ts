/**
 * Arithmetic of the narrow types: the largest magnitude of a block, the way from lanes of small integers to
 * packed bytes. Everything is inlined.
 */

// @ts-ignore: decorator
@inline
function fold(a: v128): f32 {
  const b = f32x4.pmax(a, v128.shuffle<i32>(a, a, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.pmax(b, v128.shuffle<i32>(b, b, 1, 0, 3, 2)), 0);
}

/** max |x| of 16 values. */
// @ts-ignore: decorator
@inline
export function largestOf16(p: usize): f32 {
  const a = f32x4.pmax(f32x4.abs(v128.load(p)), f32x4.abs(v128.load(p, 16)));
  return fold(f32x4.pmax(a, f32x4.pmax(f32x4.abs(v128.load(p, 32)), f32x4.abs(v128.load(p, 48)))));
}

/** max |x| of `bytes` / 4 values, a multiple of 32. */
// @ts-ignore: decorator
@inline
export function largestOf(p: usize, bytes: usize): f32 {
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  for (const end = p + bytes; p < end; p += 128) {
    a = f32x4.pmax(a, f32x4.pmax(f32x4.abs(v128.load(p)), f32x4.abs(v128.load(p, 16))));
    b = f32x4.pmax(b, f32x4.pmax(f32x4.abs(v128.load(p, 32)), f32x4.abs(v128.load(p, 48))));
    a = f32x4.pmax(a, f32x4.pmax(f32x4.abs(v128.load(p, 64)), f32x4.abs(v128.load(p, 80))));
    b = f32x4.pmax(b, f32x4.pmax(f32x4.abs(v128.load(p, 96)), f32x4.abs(v128.load(p, 112))));
  }
  return fold(f32x4.pmax(a, b));
}

/** Four vectors of integers 0 … 255 to 16 bytes. */
// @ts-ignore: decorator
@inline
export function bytesOf(a: v128, b: v128, c: v128, d: v128): v128 {
  return i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
}

/** Four vectors of i32 to 16 bytes, saturated: the sign stays. */
// @ts-ignore: decorator
@inline
export function signedBytesOf(a: v128, b: v128, c: v128, d: v128): v128 {
  return i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
}

/** round(x · id), half away from zero, of |x · id| < 1.5: −1, 0 or 1. */
// @ts-ignore: decorator
@inline
export function trit(p: usize, id: v128): v128 {
  const y = f32x4.mul(v128.load(p), id);
  return i32x4.sub(f32x4.le(y, f32x4.splat(-0.5)), f32x4.ge(y, f32x4.splat(0.5)));
}
