/**
 * Lane arithmetic shared by the kernels. Everything here is inlined; nothing is exported from the module.
 *
 * Rounding half away from zero: trunc(x + copysign(c, x)) with c = 0.5 − 2^−25, the largest f32 below one half.
 * For |x| below 2^22 (every caller clamps to at most 17 bits) and by symmetry x ≥ 0:
 *   x < 0.5        x ≤ c, and c + c = 1 − 2^−24 is exact, so the sum stays below 1 and gives 0;
 *   x = 0.5        0.5 + c = 1 − 2^−25 lies half way between 1 − 2^−24 and 1 and goes to the even 1;
 *   x = k + 0.5    (k ≥ 1) spacing below k + 1 is at least 2^−23, so k + 1 − 2^−25 rounds to k + 1;
 *   x just below   (k ≥ 1) x ≤ k + 0.5 − u with u ≥ 2^−23 the spacing: the sum rounds to k + 1 − u at most.
 * So the result is roundf's. pmin/pmax are single instructions: pmin(a, b) = b < a ? b : a; NaN in b is skipped.
 */

// @ts-ignore: decorator
@inline
export const BELOW_HALF: f32 = 0.49999997019767761230;

// @ts-ignore: decorator
@inline
export function splat(x: f32): v128 {
  return f32x4.splat(x);
}

/** Half away from zero of x ≥ −1.4 (values in (−1.5, −0.5] give 0: the callers' lower clamp is 0). */
// @ts-ignore: decorator
@inline
export function roundUp(x: v128): v128 {
  return f32x4.trunc(f32x4.add(x, f32x4.splat(BELOW_HALF)));
}

/** Half away from zero of any sign. */
// @ts-ignore: decorator
@inline
export function roundAway(x: v128): v128 {
  const sign = v128.and(x, i32x4.splat(0x80000000));
  return f32x4.trunc(f32x4.add(x, v128.or(sign, f32x4.splat(BELOW_HALF))));
}

/** f32 lanes rounded to f16 precision, ties to even; f32 bits. NaN stays NaN. */
// @ts-ignore: decorator
@inline
export function roundToHalf(x: v128): v128 {
  const sign = v128.and(x, i32x4.splat(0x80000000));
  const mag = v128.xor(x, sign);
  // Below 2^-14 the spacing is 2^-24, that of f32 in [0.5, 1).
  const tiny = f32x4.sub(f32x4.add(mag, f32x4.splat(0.5)), f32x4.splat(0.5));
  const odd = v128.and(i32x4.shr_u(mag, 13), i32x4.splat(1));
  let normal = v128.and(i32x4.add(i32x4.add(mag, i32x4.splat(0xfff)), odd), i32x4.splat(0xffffe000));
  normal = v128.bitselect(i32x4.splat(0x7f800000), normal, i32x4.gt_s(normal, i32x4.splat(0x477fe000)));
  let r = v128.bitselect(tiny, normal, i32x4.lt_s(mag, i32x4.splat(0x38800000)));
  r = v128.bitselect(mag, r, i32x4.gt_s(mag, i32x4.splat(0x7f800000)));
  return v128.or(r, sign);
}

/** Whether every lane is finite. */
// @ts-ignore: decorator
@inline
export function allFinite(x: v128): bool {
  return i32x4.all_true(f32x4.eq(f32x4.sub(x, x), f32x4.splat(0)));
}

/** Four values of each of four runs, to four vectors at `target` with a run in each lane. */
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
