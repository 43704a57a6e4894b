/**
 * Arithmetic of eight groups at once, one in each lane of two vectors: src/kernels/grid/group.ts. The groups are the same columns of
 * eight rows, so that the importance of a column is one number for all lanes; every lane adds from its first value to its last.
 *
 * A frame holds their values transposed: column i of rows 0–3 at 32·i, of rows 4–7 at 32·i + 16. Values are finite and bounded
 * (the caller checks), so no step meets NaN but 0 / 0 and comparisons with it, which are false in both.
 */

import { roundToHalf } from '../vectors';

// @ts-ignore: decorator
@inline
export function zero(): v128 {
  return f32x4.splat(0);
}

/** Of f32: 2^−126, the smallest scale that is divided by. */
// @ts-ignore: decorator
@inline
const LEAST_SCALE: f32 = 1.1754943508222875e-38;

// @ts-ignore: decorator
@inline
export function storedScale(s: v128, half: bool): v128 {
  if (half) s = roundToHalf(f32x4.pmax(f32x4.splat(-65504), f32x4.pmin(f32x4.splat(65504), s)));
  return v128.and(s, f32x4.ge(f32x4.abs(s), f32x4.splat(LEAST_SCALE)));
}

// @ts-ignore: decorator
@inline
export function reciprocal(s: v128): v128 {
  return v128.andnot(f32x4.div(f32x4.splat(1), s), f32x4.eq(s, zero()));
}

// @ts-ignore: decorator
@inline
export function codeOf(x: v128, inverse: v128, shift: v128, top: v128): v128 {
  const t = f32x4.add(f32x4.mul(x, inverse), shift);
  return f32x4.nearest(f32x4.pmin(top, f32x4.pmax(zero(), t)));
}

/** Scale before rounding to its type; the zero follows with `coveringZero`. */
// @ts-ignore: decorator
@inline
export function coveringScale(low: v128, high: v128, top: v128, middle: v128, symmetric: bool): v128 {
  if (symmetric) {
    const extreme = v128.bitselect(high, low, f32x4.gt(high, f32x4.neg(low)));
    return f32x4.div(f32x4.neg(extreme), middle);
  }
  return f32x4.div(f32x4.sub(high, low), top);
}

// @ts-ignore: decorator
@inline
export function coveringZero(low: v128, scale: v128, top: v128, middle: v128, symmetric: bool): v128 {
  if (symmetric) return middle;
  const z = f32x4.nearest(f32x4.pmin(top, f32x4.pmax(zero(), f32x4.div(f32x4.neg(low), scale))));
  return v128.and(z, f32x4.ge(f32x4.abs(scale), f32x4.splat(LEAST_SCALE)));
}

/** Columns of eight rows, `stride` bytes apart, to a frame; rows beyond `rows` repeat the last. */
export function gather(from: usize, stride: usize, rows: i32, count: i32, frame: usize): void {
  const last = <usize>(rows - 1);
  const r1 = from + stride * min<usize>(1, last);
  const r2 = from + stride * min<usize>(2, last);
  const r3 = from + stride * min<usize>(3, last);
  const r4 = from + stride * min<usize>(4, last);
  const r5 = from + stride * min<usize>(5, last);
  const r6 = from + stride * min<usize>(6, last);
  const r7 = from + stride * min<usize>(7, last);
  const end = <usize>count << 2;
  for (let i: usize = 0; i < end; i += 4, frame += 32) {
    store<f32>(frame, load<f32>(from + i));
    store<f32>(frame, load<f32>(r1 + i), 4);
    store<f32>(frame, load<f32>(r2 + i), 8);
    store<f32>(frame, load<f32>(r3 + i), 12);
    store<f32>(frame, load<f32>(r4 + i), 16);
    store<f32>(frame, load<f32>(r5 + i), 20);
    store<f32>(frame, load<f32>(r6 + i), 24);
    store<f32>(frame, load<f32>(r7 + i), 28);
  }
}

/** Codes of a frame to eight rows of bytes, `stride` apart; `scratch` has room for 32 bytes. */
export function scatterCodes(
  frame: usize,
  count: i32,
  grid: usize,
  bits: i32,
  to: usize,
  stride: usize,
  rows: i32,
  scratch: usize,
): void {
  const top = f32x4.splat(<f32>((1 << bits) - 1));
  const i0 = v128.load(grid, INVERSE);
  const i1 = v128.load(grid, INVERSE + 16);
  const s0 = v128.load(grid, SHIFT);
  const s1 = v128.load(grid, SHIFT + 16);
  for (let i = 0; i < count; i++, frame += 32) {
    v128.store(scratch, i32x4.trunc_sat_f32x4_s(codeOf(v128.load(frame), i0, s0, top)));
    v128.store(scratch, i32x4.trunc_sat_f32x4_s(codeOf(v128.load(frame, 16), i1, s1, top)), 16);
    let out = to + i;
    for (let r = 0; r < rows; r++, out += stride) store<u8>(out, load<u8>(scratch + (<usize>r << 2)));
  }
}

/** A grid in memory: eight f32 each. Scale and zero are what is stored, inverse and shift what codes are chosen with. */
// @ts-ignore: decorator
@inline
export const SCALE: usize = 0;
// @ts-ignore: decorator
@inline
export const ZERO: usize = 32;
// @ts-ignore: decorator
@inline
export const INVERSE: usize = 64;
// @ts-ignore: decorator
@inline
export const SHIFT: usize = 96;
/** What the winner gains, or −error. */
// @ts-ignore: decorator
@inline
export const GAIN: usize = 128;
