/**
 * Scale, reciprocal and zero point of four blocks at once (one in each lane); the formulas and their names are those of
 * src/kernels/reference/block-rules.ts. Blocks whose values or reciprocal are not finite are not computed here: the
 * caller flags them and the reference redoes them.
 */

import { BELOW_HALF, roundToHalf } from './vectors';

/** |max| > |min| ? max : min. */
// @ts-ignore: decorator
@inline
export function extremeOf(mn: v128, mx: v128): v128 {
  return v128.bitselect(mx, mn, f32x4.gt(f32x4.abs(mx), f32x4.abs(mn)));
}

// @ts-ignore: decorator
@inline
export function symmetricScale(extreme: v128, mid: v128, half: bool): v128 {
  const s = f32x4.div(f32x4.neg(extreme), mid);
  return half ? roundToHalf(s) : s;
}

/** Before rounding to f16; `mn` and `mx` include 0. */
// @ts-ignore: decorator
@inline
export function asymmetricScale(mn: v128, mx: v128, top: v128): v128 {
  return f32x4.div(f32x4.sub(mx, mn), top);
}

/** clamp(roundHalfAway(0 − mn / s), 0, top); `s` before rounding to f16; mn ≤ 0. */
// @ts-ignore: decorator
@inline
export function zeroPoint(mn: v128, s: v128, top: v128): v128 {
  const none = f32x4.eq(s, f32x4.splat(0));
  let z = f32x4.sub(f32x4.splat(0), f32x4.div(mn, s));
  z = v128.andnot(z, none);
  z = f32x4.pmin(top, f32x4.pmax(f32x4.splat(0), z));
  return f32x4.trunc(f32x4.add(z, f32x4.splat(BELOW_HALF)));
}

/** 1 / s, or 0 where s is 0. */
// @ts-ignore: decorator
@inline
export function reciprocalOf(s: v128): v128 {
  return v128.andnot(f32x4.div(f32x4.splat(1), s), f32x4.eq(s, f32x4.splat(0)));
}
