/**
 * What groups of eight and of four values (points8.ts, points4.ts) have in common: rounding a value to its level, how far it is
 * from there, and the error of one component.
 */

/** 3 · 2^23: added to y it rounds y/2 to the nearest integer, in the low bits of the sum. */
// @ts-ignore: decorator
@inline
export const ROUNDING: f32 = 25165824;

// @ts-ignore: decorator
@inline
export function scaled(value: v128, inverse: v128): v128 {
  return f32x4.sub(f32x4.mul(inverse, value), f32x4.splat(1));
}

/** The level of a rounded value, 0 … `top`. */
// @ts-ignore: decorator
@inline
export function levelOf(sum: v128, top: i32): v128 {
  const l = i32x4.sub(v128.and(sum, i32x4.splat(0x7fffff)), i32x4.splat(0x400000));
  return i32x4.min_s(i32x4.max_s(l, i32x4.splat(0)), i32x4.splat(top));
}

/** How far y is from the level it was rounded to; 1 is the border. */
// @ts-ignore: decorator
@inline
export function rest(most: v128, y: v128, sum: v128): v128 {
  return f32x4.pmax(most, f32x4.abs(f32x4.sub(y, f32x4.sub(sum, f32x4.splat(ROUNDING)))));
}

// @ts-ignore: decorator
@inline
export function term(root: v128, x: v128, q: v128): v128 {
  const d = f32x4.sub(q, x);
  return f32x4.mul(f32x4.mul(root, d), d);
}
