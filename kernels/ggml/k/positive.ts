/**
 * QP (src/kernels/ggml/searches.ts) over lanes: codes for the scales (or minima) of eight super-blocks at once. The frame
 * is that of kernels/searches.ts: X the values, W their weights, L receives the codes as f32 integers.
 *
 * v ≤ max, so no candidate's code exceeds `levels`: the clamps are in the sweeps only. A lane is irregular when a value is negative
 * or not finite, or when a sweep's quotient leaves the range where rounding is exact.
 */

import { L, SCALE, W, X } from '../../searches';

// @ts-ignore: decorator
@inline
function errorOf(v: v128, w: v128, inverse: v128, scale: v128): v128 {
  const e = f32x4.sub(v, f32x4.mul(scale, f32x4.nearest(f32x4.mul(inverse, v))));
  return f32x4.mul(f32x4.mul(w, e), e);
}

/** @returns bit i set: lane i is irregular */
// @ts-ignore: decorator
@inline
export function positive(frame: usize, n: i32, levels: f32): i32 {
  const end = frame + (<usize>n << 5);
  const zero = f32x4.splat(0);
  const top = f32x4.splat(levels);
  let max0 = zero;
  let max1 = zero;
  let fine0 = i32x4.splat(-1);
  let fine1 = fine0;
  for (let p = frame; p < end; p += 32) {
    const v0 = v128.load(p, X);
    const v1 = v128.load(p, X + 16);
    fine0 = v128.and(fine0, v128.and(f32x4.ge(v0, zero), f32x4.lt(v0, f32x4.splat(Infinity))));
    fine1 = v128.and(fine1, v128.and(f32x4.ge(v1, zero), f32x4.lt(v1, f32x4.splat(Infinity))));
    max0 = f32x4.pmax(max0, v0);
    max1 = f32x4.pmax(max1, v1);
  }
  const empty0 = f32x4.lt(max0, f32x4.splat(1e-15));
  const empty1 = f32x4.lt(max1, f32x4.splat(1e-15));
  let chosen0 = f32x4.div(top, max0);
  let chosen1 = f32x4.div(top, max1);
  let best0 = zero;
  let best1 = zero;
  for (let k = -5; k <= 4; k++) {
    if (k == 0) continue;
    const numerator = f32x4.splat(k == -5 ? levels : <f32>0.1 * <f32>k + levels);
    const inverse0 = f32x4.div(numerator, max0);
    const inverse1 = f32x4.div(numerator, max1);
    const scale0 = f32x4.div(f32x4.splat(1), inverse0);
    const scale1 = f32x4.div(f32x4.splat(1), inverse1);
    let e0 = zero;
    let e1 = zero;
    for (let p = frame; p < end; p += 32) {
      e0 = f32x4.add(e0, errorOf(v128.load(p, X), v128.load(p, W), inverse0, scale0));
      e1 = f32x4.add(e1, errorOf(v128.load(p, X + 16), v128.load(p, W + 16), inverse1, scale1));
    }
    if (k == -5) {
      best0 = e0;
      best1 = e1;
    } else {
      chosen0 = v128.bitselect(inverse0, chosen0, f32x4.lt(e0, best0));
      chosen1 = v128.bitselect(inverse1, chosen1, f32x4.lt(e1, best1));
      best0 = v128.bitselect(e0, best0, f32x4.lt(e0, best0));
      best1 = v128.bitselect(e1, best1, f32x4.lt(e1, best1));
    }
  }
  let a0 = zero;
  let a1 = zero;
  let b0 = zero;
  let b1 = zero;
  for (let p = frame; p < end; p += 32) {
    const v0 = v128.load(p, X);
    const v1 = v128.load(p, X + 16);
    const w0 = v128.load(p, W);
    const w1 = v128.load(p, W + 16);
    const l0 = f32x4.pmin(top, f32x4.nearest(f32x4.mul(chosen0, v0)));
    const l1 = f32x4.pmin(top, f32x4.nearest(f32x4.mul(chosen1, v1)));
    v128.store(p, l0, L);
    v128.store(p, l1, L + 16);
    a0 = f32x4.add(a0, f32x4.mul(f32x4.mul(w0, v0), l0));
    a1 = f32x4.add(a1, f32x4.mul(f32x4.mul(w1, v1), l1));
    b0 = f32x4.add(b0, f32x4.mul(f32x4.mul(w0, l0), l0));
    b1 = f32x4.add(b1, f32x4.mul(f32x4.mul(w1, l1), l1));
  }
  const edge = f32x4.splat(2097152);
  for (let sweep = 0; sweep < 5; sweep++) {
    let changed = zero;
    for (let p = frame; p < end; p += 32) {
      const v0 = v128.load(p, X);
      const v1 = v128.load(p, X + 16);
      const w0 = v128.load(p, W);
      const w1 = v128.load(p, W + 16);
      const c0 = v128.load(p, L);
      const c1 = v128.load(p, L + 16);
      const wv0 = f32x4.mul(w0, v0);
      const wv1 = f32x4.mul(w1, v1);
      let x0 = f32x4.sub(a0, f32x4.mul(wv0, c0));
      let x1 = f32x4.sub(a1, f32x4.mul(wv1, c1));
      let y0 = f32x4.sub(b0, f32x4.mul(f32x4.mul(w0, c0), c0));
      let y1 = f32x4.sub(b1, f32x4.mul(f32x4.mul(w1, c1), c1));
      const active0 = v128.andnot(v128.and(f32x4.gt(x0, zero), f32x4.gt(y0, zero)), empty0);
      const active1 = v128.andnot(v128.and(f32x4.gt(x1, zero), f32x4.gt(y1, zero)), empty1);
      const q0 = f32x4.div(f32x4.mul(v0, y0), x0);
      const q1 = f32x4.div(f32x4.mul(v1, y1), x1);
      fine0 = v128.andnot(fine0, v128.andnot(active0, f32x4.lt(q0, edge)));
      fine1 = v128.andnot(fine1, v128.andnot(active1, f32x4.lt(q1, edge)));
      const l0 = f32x4.pmin(top, f32x4.nearest(q0));
      const l1 = f32x4.pmin(top, f32x4.nearest(q1));
      x0 = f32x4.add(x0, f32x4.mul(wv0, l0));
      x1 = f32x4.add(x1, f32x4.mul(wv1, l1));
      y0 = f32x4.add(y0, f32x4.mul(f32x4.mul(w0, l0), l0));
      y1 = f32x4.add(y1, f32x4.mul(f32x4.mul(w1, l1), l1));
      const gain0 = f32x4.gt(f32x4.mul(f32x4.mul(x0, x0), b0), f32x4.mul(f32x4.mul(a0, a0), y0));
      const gain1 = f32x4.gt(f32x4.mul(f32x4.mul(x1, x1), b1), f32x4.mul(f32x4.mul(a1, a1), y1));
      const take0 = v128.and(v128.and(active0, f32x4.ne(l0, c0)), gain0);
      const take1 = v128.and(v128.and(active1, f32x4.ne(l1, c1)), gain1);
      v128.store(p, v128.bitselect(l0, c0, take0), L);
      v128.store(p, v128.bitselect(l1, c1, take1), L + 16);
      a0 = v128.bitselect(x0, a0, take0);
      a1 = v128.bitselect(x1, a1, take1);
      b0 = v128.bitselect(y0, b0, take0);
      b1 = v128.bitselect(y1, b1, take1);
      changed = v128.or(changed, v128.or(take0, take1));
    }
    if (!v128.any_true(changed)) break;
  }
  for (let p = frame; p < end; p += 32) {
    v128.store(p, v128.andnot(v128.load(p, L), empty0), L);
    v128.store(p, v128.andnot(v128.load(p, L + 16), empty1), L + 16);
  }
  const none0 = v128.or(empty0, v128.not(f32x4.gt(b0, zero)));
  const none1 = v128.or(empty1, v128.not(f32x4.gt(b1, zero)));
  v128.store(frame, v128.andnot(f32x4.div(a0, b0), none0), SCALE);
  v128.store(frame, v128.andnot(f32x4.div(a1, b1), none1), SCALE + 16);
  return 0xff ^ (i32x4.bitmask(fine0) | (i32x4.bitmask(fine1) << 4));
}
