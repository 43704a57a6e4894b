/**
 * Grids with real zeros over the lanes of a frame: searchReal of src/kernels/grid/search.ts and halfQuadraticGroup of definition.ts.
 */

import {
  codeOf,
  GAIN,
  INVERSE,
  reciprocal,
  SCALE,
  SHIFT,
  storedScale,
  ZERO,
  zero,
} from './group';
import { keepFit, squares } from './search';

/** Σ a u w, Σ a u² and Σ a u of the last call: eight f32 each. */
const SUM: usize = memory.data(96, 16);
/** 1/3 rounded to f32. */
// @ts-ignore: decorator
@inline
const THIRD: f32 = 0.3333333432674408;

// @ts-ignore: decorator
@inline
function sums(frame: usize, count: i32, a: usize, i0: v128, i1: v128, z0: v128, z1: v128, top: v128, weighted: bool): void {
  let uw0 = zero();
  let uw1 = uw0;
  let uu0 = uw0;
  let uu1 = uw0;
  let u10 = uw0;
  let u11 = uw0;
  const end = frame + (<usize>count << 5);
  for (let p = frame; p < end; p += 32) {
    const x0 = v128.load(p);
    const x1 = v128.load(p, 16);
    const u0 = codeOf(x0, i0, z0, top);
    const u1 = codeOf(x1, i1, z1, top);
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
    u10 = f32x4.add(u10, b0);
    u11 = f32x4.add(u11, b1);
  }
  v128.store(SUM, uw0);
  v128.store(SUM, uw1, 16);
  v128.store(SUM, uu0, 32);
  v128.store(SUM, uu1, 48);
  v128.store(SUM, u10, 64);
  v128.store(SUM, u11, 80);
}

function plainSums(frame: usize, count: i32, i0: v128, i1: v128, z0: v128, z1: v128, top: v128): void {
  sums(frame, count, 0, i0, i1, z0, z1, top, false);
}

function weightedSums(frame: usize, count: i32, a: usize, i0: v128, i1: v128, z0: v128, z1: v128, top: v128): void {
  sums(frame, count, a, i0, i1, z0, z1, top, true);
}

function keepHalf(grid: usize, at: usize, weight: v128, ww: v128, mu: f32, inverse: v128, shift: v128, half: bool): void {
  const sum = v128.load(SUM + at, 64);
  const mean = f32x4.div(sum, weight);
  const uu = f32x4.sub(v128.load(SUM + at, 32), f32x4.mul(mean, sum));
  keepFit(grid, at, v128.load(SUM + at), uu, ww, mu, inverse, shift, mean, half);
}

// @ts-ignore: decorator
@inline
function tryReal(frame: usize, count: i32, a: usize, grid: usize, weight: v128, ww0: v128, ww1: v128, mu: f32, i0: v128, i1: v128, z0: v128, z1: v128, top: v128, half: bool): void {
  if (a != 0) weightedSums(frame, count, a, i0, i1, z0, z1, top);
  else plainSums(frame, count, i0, i1, z0, z1, top);
  keepHalf(grid, 0, weight, ww0, mu, i0, z0, half);
  keepHalf(grid, 16, weight, ww1, mu, i1, z1, half);
}

// @ts-ignore: decorator
@inline
function constantOr(grid: usize, at: usize, mean: v128, whole: v128, low: v128, half: bool): void {
  const scale = v128.load(grid + at, SCALE);
  const inverse = v128.load(grid + at, INVERSE);
  const z = f32x4.sub(v128.load(grid + at, ZERO), f32x4.mul(mean, reciprocal(scale)));
  const shift = f32x4.sub(v128.load(grid + at, SHIFT), f32x4.mul(mean, inverse));
  storeGrid(grid, at, f32x4.eq(storedScale(whole, half), zero()), low, scale, z, inverse, shift, half);
}

/** The grid of a half, or that of equal values. */
// @ts-ignore: decorator
@inline
function storeGrid(grid: usize, at: usize, constant: v128, low: v128, scale: v128, z: v128, inverse: v128, shift: v128, half: bool): void {
  v128.store(grid + at, v128.bitselect(storedScale(low, half), scale, constant), SCALE);
  v128.store(grid + at, v128.bitselect(f32x4.splat(-1), z, constant), ZERO);
  v128.store(grid + at, v128.andnot(inverse, constant), INVERSE);
  v128.store(grid + at, v128.andnot(shift, constant), SHIFT);
}

/** As searchFrame, with real zeros. The frame is left centred: its values are gathered again before codes are written. */
export function searchRealFrame(
  frame: usize,
  count: i32,
  a: usize,
  bits: i32,
  half: bool,
  factors: usize,
  points: i32,
  reach: i32,
  refits: i32,
  mu: f32,
  grid: usize,
): void {
  const top = f32x4.splat(<f32>((1 << bits) - 1));
  const centre = f32x4.splat(<f32>((1 << bits) - 1) * 0.5);
  let l0 = v128.load(frame);
  let l1 = v128.load(frame, 16);
  let h0 = l0;
  let h1 = l1;
  let w0 = zero();
  let m0 = zero();
  let m1 = zero();
  for (let i = 0, p = frame; i < count; i++, p += 32) {
    const x0 = v128.load(p);
    const x1 = v128.load(p, 16);
    l0 = f32x4.pmin(l0, x0);
    l1 = f32x4.pmin(l1, x1);
    h0 = f32x4.pmax(h0, x0);
    h1 = f32x4.pmax(h1, x1);
    const w = a != 0 ? v128.load32_splat(a + (<usize>i << 2)) : f32x4.splat(1);
    w0 = f32x4.add(w0, w);
    m0 = f32x4.add(m0, f32x4.mul(w, x0));
    m1 = f32x4.add(m1, f32x4.mul(w, x1));
  }
  const known = f32x4.gt(w0, zero());
  const mean0 = v128.and(f32x4.div(m0, w0), known);
  const mean1 = v128.and(f32x4.div(m1, w0), known);
  for (let i = 0, p = frame; i < count; i++, p += 32) {
    v128.store(p, f32x4.sub(v128.load(p), mean0));
    v128.store(p, f32x4.sub(v128.load(p, 16), mean1), 16);
  }
  const whole0 = f32x4.div(f32x4.sub(h0, l0), top);
  const whole1 = f32x4.div(f32x4.sub(h1, l1), top);
  const half1 = f32x4.splat(0.5);
  const middle0 = f32x4.mul(f32x4.add(f32x4.sub(l0, mean0), f32x4.sub(h0, mean0)), half1);
  const middle1 = f32x4.mul(f32x4.add(f32x4.sub(l1, mean1), f32x4.sub(h1, mean1)), half1);
  const ww0 = squares(frame, count, a);
  const ww1 = squares(frame + 16, count, a);
  for (let at: usize = 0; at < 32; at += 16) {
    const stored = storedScale(at == 0 ? whole0 : whole1, half);
    const inverse = reciprocal(stored);
    const shift = f32x4.sub(centre, f32x4.mul(at == 0 ? middle0 : middle1, inverse));
    v128.store(grid + at, stored, SCALE);
    v128.store(grid + at, shift, ZERO);
    v128.store(grid + at, inverse, INVERSE);
    v128.store(grid + at, shift, SHIFT);
    v128.store(grid + at, zero(), GAIN);
  }
  for (let step = 0; step <= 2 * reach; step++) {
    const offset = f32x4.splat(THIRD * <f32>(step & 1 ? -((step + 1) >> 1) : step >> 1));
    for (let k = 0; k < points; k++) {
      const factor = v128.load32_splat(factors + (<usize>k << 2));
      const i0 = reciprocal(storedScale(f32x4.mul(whole0, factor), false));
      const i1 = reciprocal(storedScale(f32x4.mul(whole1, factor), false));
      const z0 = f32x4.add(f32x4.sub(centre, f32x4.mul(middle0, i0)), offset);
      const z1 = f32x4.add(f32x4.sub(centre, f32x4.mul(middle1, i1)), offset);
      tryReal(frame, count, a, grid, w0, ww0, ww1, mu, i0, i1, z0, z1, top, half);
    }
  }
  for (let round = 0; round < refits; round++) {
    const i0 = reciprocal(v128.load(grid, SCALE));
    const i1 = reciprocal(v128.load(grid, SCALE + 16));
    const z0 = v128.load(grid, ZERO);
    const z1 = v128.load(grid, ZERO + 16);
    tryReal(frame, count, a, grid, w0, ww0, ww1, mu, i0, i1, z0, z1, top, half);
  }
  constantOr(grid, 0, mean0, whole0, l0, half);
  constantOr(grid, 16, mean1, whole1, l1, half);
}

/** Beyond 2^22 an f32 is as good as whole. */
// @ts-ignore: decorator
@inline
function nearestWhole(z: v128): v128 {
  const round = f32x4.splat(12582912);
  return v128.bitselect(f32x4.sub(f32x4.add(z, round), round), z, f32x4.lt(f32x4.abs(z), f32x4.splat(4194304)));
}

/**
 * Half-quadratic splitting where no error reaches `limit`, so that all of them shrink to 0.
 * @returns whether an error did: then the groups are left to the definition
 */
export function halfQuadraticFrame(frame: usize, count: i32, bits: i32, half: bool, iterations: i32, roundStart: bool, limit: f32, grid: usize): bool {
  const top = f32x4.splat(<f32>((1 << bits) - 1));
  let l0 = v128.load(frame);
  let l1 = v128.load(frame, 16);
  let h0 = l0;
  let h1 = l1;
  const end = frame + (<usize>count << 5);
  for (let p = frame; p < end; p += 32) {
    l0 = f32x4.pmin(l0, v128.load(p));
    l1 = f32x4.pmin(l1, v128.load(p, 16));
    h0 = f32x4.pmax(h0, v128.load(p));
    h1 = f32x4.pmax(h1, v128.load(p, 16));
  }
  const s0 = storedScale(f32x4.div(f32x4.sub(h0, l0), top), half);
  const s1 = storedScale(f32x4.div(f32x4.sub(h1, l1), top), half);
  const i0 = reciprocal(s0);
  const i1 = reciprocal(s1);
  const n = f32x4.splat(<f32>count);
  let z0 = f32x4.mul(f32x4.neg(l0), i0);
  let z1 = f32x4.mul(f32x4.neg(l1), i1);
  if (roundStart) {
    z0 = nearestWhole(z0);
    z1 = nearestWhole(z1);
  }
  let best0 = z0;
  let best1 = z1;
  let least0 = f32x4.splat(Infinity);
  let least1 = least0;
  let on0 = f32x4.ne(s0, zero());
  let on1 = f32x4.ne(s1, zero());
  let most = zero();
  for (let iteration = 0; iteration <= iterations; iteration++) {
    if (!v128.any_true(v128.or(on0, on1))) break;
    let e0 = zero();
    let e1 = e0;
    let t0 = e0;
    let t1 = e0;
    let most0 = e0;
    let most1 = e0;
    for (let p = frame; p < end; p += 32) {
      const x0 = v128.load(p);
      const x1 = v128.load(p, 16);
      const q0 = codeOf(x0, i0, z0, top);
      const q1 = codeOf(x1, i1, z1, top);
      const d0 = f32x4.abs(f32x4.sub(x0, f32x4.mul(f32x4.sub(q0, z0), s0)));
      const d1 = f32x4.abs(f32x4.sub(x1, f32x4.mul(f32x4.sub(q1, z1), s1)));
      e0 = f32x4.add(e0, d0);
      e1 = f32x4.add(e1, d1);
      most0 = f32x4.pmax(most0, d0);
      most1 = f32x4.pmax(most1, d1);
      t0 = f32x4.add(t0, f32x4.sub(q0, f32x4.mul(x0, i0)));
      t1 = f32x4.add(t1, f32x4.sub(q1, f32x4.mul(x1, i1)));
    }
    most = f32x4.pmax(most, f32x4.pmax(v128.and(most0, on0), v128.and(most1, on1)));
    on0 = v128.and(on0, f32x4.lt(e0, least0));
    on1 = v128.and(on1, f32x4.lt(e1, least1));
    least0 = v128.bitselect(e0, least0, on0);
    least1 = v128.bitselect(e1, least1, on1);
    best0 = v128.bitselect(z0, best0, on0);
    best1 = v128.bitselect(z1, best1, on1);
    z0 = f32x4.div(t0, n);
    z1 = f32x4.div(t1, n);
  }
  storeGrid(grid, 0, f32x4.eq(s0, zero()), l0, s0, best0, i0, best0, half);
  storeGrid(grid, 16, f32x4.eq(s1, zero()), l1, s1, best1, i1, best1, half);
  return v128.any_true(f32x4.ge(most, f32x4.splat(limit)));
}
