/**
 * The search over scales and integer zeros: src/kernels/grid/search.ts and squaredError of group.ts, over the lanes of a frame.
 * Vectors of four lanes go through candidates in pairs (0 and 1), which hides the latency of their sums.
 */

import {
  codeOf,
  coveringScale,
  coveringZero,
  GAIN,
  INVERSE,
  reciprocal,
  SCALE,
  SHIFT,
  storedScale,
  ZERO,
  zero,
} from './group';

/** Of the last call of a sum: eight f32 each. */
const SUM: usize = memory.data(96, 16);

// @ts-ignore: decorator
@inline
function errors(frame: usize, count: i32, a: usize, s0: v128, s1: v128, z0: v128, z1: v128, top: v128, weighted: bool): void {
  const i0 = reciprocal(s0);
  const i1 = reciprocal(s1);
  let e0 = zero();
  let e1 = e0;
  const end = frame + (<usize>count << 5);
  for (let p = frame; p < end; p += 32) {
    const x0 = v128.load(p);
    const x1 = v128.load(p, 16);
    const d0 = f32x4.sub(x0, f32x4.mul(f32x4.sub(codeOf(x0, i0, z0, top), z0), s0));
    const d1 = f32x4.sub(x1, f32x4.mul(f32x4.sub(codeOf(x1, i1, z1, top), z1), s1));
    let q0 = f32x4.mul(d0, d0);
    let q1 = f32x4.mul(d1, d1);
    if (weighted) {
      const w = v128.load32_splat(a);
      a += 4;
      q0 = f32x4.mul(w, q0);
      q1 = f32x4.mul(w, q1);
    }
    e0 = f32x4.add(e0, q0);
    e1 = f32x4.add(e1, q1);
  }
  v128.store(SUM, f32x4.neg(e0));
  v128.store(SUM, f32x4.neg(e1), 16);
}

function plainErrors(frame: usize, count: i32, s0: v128, s1: v128, z0: v128, z1: v128, top: v128): void {
  errors(frame, count, 0, s0, s1, z0, z1, top, false);
}

function weightedErrors(frame: usize, count: i32, a: usize, s0: v128, s1: v128, z0: v128, z1: v128, top: v128): void {
  errors(frame, count, a, s0, s1, z0, z1, top, true);
}

// @ts-ignore: decorator
@inline
function fitSums(frame: usize, count: i32, a: usize, i0: v128, i1: v128, z0: v128, z1: v128, top: v128, weighted: bool): void {
  let uw0 = zero();
  let uw1 = uw0;
  let uu0 = uw0;
  let uu1 = uw0;
  const end = frame + (<usize>count << 5);
  for (let p = frame; p < end; p += 32) {
    const x0 = v128.load(p);
    const x1 = v128.load(p, 16);
    const u0 = f32x4.sub(codeOf(x0, i0, z0, top), z0);
    const u1 = f32x4.sub(codeOf(x1, i1, z1, top), z1);
    let b0 = u0;
    let b1 = u1;
    if (weighted) {
      const w = v128.load32_splat(a);
      a += 4;
      b0 = f32x4.mul(w, u0);
      b1 = f32x4.mul(w, u1);
    }
    uw0 = f32x4.add(uw0, f32x4.mul(b0, x0));
    uw1 = f32x4.add(uw1, f32x4.mul(b1, x1));
    uu0 = f32x4.add(uu0, f32x4.mul(b0, u0));
    uu1 = f32x4.add(uu1, f32x4.mul(b1, u1));
  }
  v128.store(SUM, uw0);
  v128.store(SUM, uw1, 16);
  v128.store(SUM, uu0, 32);
  v128.store(SUM, uu1, 48);
}

function plainFitSums(frame: usize, count: i32, i0: v128, i1: v128, z0: v128, z1: v128, top: v128): void {
  fitSums(frame, count, 0, i0, i1, z0, z1, top, false);
}

function weightedFitSums(frame: usize, count: i32, a: usize, i0: v128, i1: v128, z0: v128, z1: v128, top: v128): void {
  fitSums(frame, count, a, i0, i1, z0, z1, top, true);
}

/** Σ a x² of half a frame's lanes. */
// @ts-ignore: decorator
@inline
export function squares(frame: usize, count: i32, a: usize): v128 {
  let sum = zero();
  for (let i = 0; i < count; i++, frame += 32) {
    const x = v128.load(frame);
    const ax = a != 0 ? f32x4.mul(v128.load32_splat(a + (<usize>i << 2)), x) : x;
    sum = f32x4.add(sum, f32x4.mul(ax, x));
  }
  return sum;
}

/** Keeps a fit where it gains more than the grid so far; `at` is 0 or 16. `inverse` and `shift` gave its codes. */
// @ts-ignore: decorator
@inline
export function keepFit(
  grid: usize,
  at: usize,
  uw: v128,
  uu: v128,
  ww: v128,
  mu: f32,
  inverse: v128,
  shift: v128,
  fitted: v128,
  half: bool,
): void {
  const above = f32x4.mul(f32x4.splat(1 + mu), uw);
  const below = f32x4.add(uu, f32x4.mul(f32x4.splat(mu), f32x4.div(f32x4.mul(uw, uw), ww)));
  const some = v128.andnot(f32x4.gt(below, zero()), f32x4.eq(uw, zero()));
  const s = v128.and(f32x4.div(above, below), some);
  const gain = v128.and(f32x4.mul(above, s), some);
  const scale = storedScale(s, half);
  const before = v128.load(grid + at, GAIN);
  const better = v128.andnot(f32x4.gt(gain, before), f32x4.eq(scale, zero()));
  v128.store(grid + at, v128.bitselect(gain, before, better), GAIN);
  v128.store(grid + at, v128.bitselect(scale, v128.load(grid + at, SCALE), better), SCALE);
  v128.store(grid + at, v128.bitselect(fitted, v128.load(grid + at, ZERO), better), ZERO);
  v128.store(grid + at, v128.bitselect(inverse, v128.load(grid + at, INVERSE), better), INVERSE);
  v128.store(grid + at, v128.bitselect(shift, v128.load(grid + at, SHIFT), better), SHIFT);
}

function keepError(grid: usize, at: usize, scale: v128, z: v128): void {
  const gain = v128.load(SUM + at);
  const before = v128.load(grid + at, GAIN);
  const better = f32x4.gt(gain, before);
  v128.store(grid + at, v128.bitselect(gain, before, better), GAIN);
  v128.store(grid + at, v128.bitselect(scale, v128.load(grid + at, SCALE), better), SCALE);
  v128.store(grid + at, v128.bitselect(z, v128.load(grid + at, ZERO), better), ZERO);
}

function tryFit(frame: usize, count: i32, a: usize, grid: usize, i0: v128, i1: v128, z0: v128, z1: v128, top: v128, ww0: v128, ww1: v128, mu: f32, half: bool): void {
  if (a != 0) weightedFitSums(frame, count, a, i0, i1, z0, z1, top);
  else plainFitSums(frame, count, i0, i1, z0, z1, top);
  keepFit(grid, 0, v128.load(SUM), v128.load(SUM, 32), ww0, mu, i0, z0, z0, half);
  keepFit(grid, 16, v128.load(SUM, 16), v128.load(SUM, 48), ww1, mu, i1, z1, z1, half);
}

// @ts-ignore: decorator
@inline
function movedZero(z: v128, offset: f32, top: v128): v128 {
  return f32x4.pmin(top, f32x4.pmax(zero(), f32x4.add(z, f32x4.splat(offset))));
}

/** The best grid of a frame's groups, to `grid`. @param a - importance of the columns, or 0 for none */
export function searchFrame(
  frame: usize,
  count: i32,
  a: usize,
  bits: i32,
  symmetric: bool,
  half: bool,
  factors: usize,
  points: i32,
  reach: i32,
  refits: i32,
  mu: f32,
  grid: usize,
): void {
  const top = f32x4.splat(<f32>((1 << bits) - 1));
  const middle = f32x4.splat(<f32>(1 << (bits - 1)));
  let l0 = zero();
  let l1 = l0;
  let h0 = l0;
  let h1 = l0;
  for (let i = 0, p = frame; i < count; i++, p += 32) {
    l0 = f32x4.pmin(l0, v128.load(p));
    l1 = f32x4.pmin(l1, v128.load(p, 16));
    h0 = f32x4.pmax(h0, v128.load(p));
    h1 = f32x4.pmax(h1, v128.load(p, 16));
  }
  const whole0 = coveringScale(l0, h0, top, middle, symmetric);
  const whole1 = coveringScale(l1, h1, top, middle, symmetric);
  const zero0 = coveringZero(l0, whole0, top, middle, symmetric);
  const zero1 = coveringZero(l1, whole1, top, middle, symmetric);
  const stored0 = storedScale(whole0, half);
  const stored1 = storedScale(whole1, half);
  v128.store(grid, stored0, SCALE);
  v128.store(grid, stored1, SCALE + 16);
  v128.store(grid, zero0, ZERO);
  v128.store(grid, zero1, ZERO + 16);
  const fits = refits > 0;
  const gain = f32x4.splat(fits ? 0 : -Infinity);
  v128.store(grid, gain, GAIN);
  v128.store(grid, gain, GAIN + 16);
  v128.store(grid, reciprocal(stored0), INVERSE);
  v128.store(grid, reciprocal(stored1), INVERSE + 16);
  v128.store(grid, zero0, SHIFT);
  v128.store(grid, zero1, SHIFT + 16);
  const ww0 = fits ? squares(frame, count, a) : zero();
  const ww1 = fits ? squares(frame + 16, count, a) : zero();
  for (let step = 0; step <= 2 * reach; step++) {
    const offset = <f32>(step & 1 ? -((step + 1) >> 1) : step >> 1);
    const z0 = movedZero(zero0, offset, top);
    const z1 = movedZero(zero1, offset, top);
    for (let k = 0; k < points; k++) {
      const factor = v128.load32_splat(factors + (<usize>k << 2));
      const s0 = storedScale(f32x4.mul(whole0, factor), half);
      const s1 = storedScale(f32x4.mul(whole1, factor), half);
      if (fits) {
        tryFit(frame, count, a, grid, reciprocal(s0), reciprocal(s1), z0, z1, top, ww0, ww1, mu, half);
        continue;
      }
      if (a != 0) weightedErrors(frame, count, a, s0, s1, z0, z1, top);
      else plainErrors(frame, count, s0, s1, z0, z1, top);
      keepError(grid, 0, s0, z0);
      keepError(grid, 16, s1, z1);
    }
  }
  for (let round = 0; round < refits; round++) {
    const i0 = reciprocal(v128.load(grid, SCALE));
    const i1 = reciprocal(v128.load(grid, SCALE + 16));
    const z0 = v128.load(grid, ZERO);
    const z1 = v128.load(grid, ZERO + 16);
    tryFit(frame, count, a, grid, i0, i1, z0, z1, top, ww0, ww1, mu, half);
  }
  if (fits) return;
  v128.store(grid, reciprocal(v128.load(grid, SCALE)), INVERSE);
  v128.store(grid, reciprocal(v128.load(grid, SCALE + 16)), INVERSE + 16);
  v128.store(grid, v128.load(grid, ZERO), SHIFT);
  v128.store(grid, v128.load(grid, ZERO + 16), SHIFT + 16);
}
