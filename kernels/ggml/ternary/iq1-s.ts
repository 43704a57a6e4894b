/**
 * iq1_s (definition: src/kernels/ggml/ternary/iq1-s.ts): four groups of 32 side by side, two candidates for each of 561 pairs
 * of cut points.
 *
 * An entry of CUTS for cut point i (96 bytes): the running sums S of w x and V of w before it, the third parts' products for both
 * shifts, (S₃₂ − S) l₂ and (V₃₂ − V) l₂ l₂. The first parts' products do not change in the inner loop; those of the middle part
 * differ between the shifts in sign only.
 *
 * An entry of FILTER (48 bytes): S, and V times l₁² − l₂² for both shifts. With T and U the sums of all 32, the simpler sums are
 * T l₂ − S[i1] − S[i2] and U l₂² + V[i1] (l₀² − l₁²) + V[i2] (l₁² − l₂²), for l₀ l₁ l₂ are one apart. An entry of NaN after the last one
 * lets the inner loop take two steps at a time.
 */

import { begin, limitOf, passes, seed, take } from './best';
import { halfBits, loadHalf } from '../../block-scales';
import { choose, component, prepareSigma, present, rank, sort, steps, storeValues, transpose, weigh, words } from './groups';
import { BEST, CANDIDATES, CODES, CUTS, FILTER, PLACES, SCALES, SORTED, W, WEIGHTS, WORDS, X } from './memory';

// @ts-ignore: decorator
@inline
const COUNT: usize = 32;
// @ts-ignore: decorator
@inline
const ENTRY: usize = 96;
// @ts-ignore: decorator
@inline
const BYTES: usize = 50;

// @ts-ignore: decorator
@inline
function sums(): void {
  let s = f32x4.splat(0);
  let v = f32x4.splat(0);
  let entry = CUTS;
  for (let p = SORTED; p < SORTED + 32 * COUNT; p += 32, entry += ENTRY) {
    v128.store(entry, s);
    v128.store(entry, v, 16);
    s = f32x4.add(s, v128.load(p));
    v = f32x4.add(v, v128.load(p, 16));
  }
  v128.store(entry, s);
  v128.store(entry, v, 16);
  const up = f32x4.splat(1.125);
  const down = f32x4.splat(0.875);
  for (let e = CUTS; e <= entry; e += ENTRY) {
    const a = f32x4.sub(s, v128.load(e));
    const b = f32x4.sub(v, v128.load(e, 16));
    v128.store(e, f32x4.mul(a, up), 32);
    v128.store(e, f32x4.mul(a, down), 48);
    v128.store(e, f32x4.mul(f32x4.mul(b, up), up), 64);
    v128.store(e, f32x4.mul(f32x4.mul(b, down), down), 80);
  }
  let f = FILTER;
  for (let e = CUTS; e <= entry; e += ENTRY, f += 48) {
    v128.store(f, v128.load(e));
    v128.store(f, times(v128.load(e, 16), -1.25), 16);
    v128.store(f, times(v128.load(e, 16), -0.75), 32);
  }
  for (let j: usize = 0; j < 48; j += 16) v128.store(f + j, f32x4.splat(NaN));
}

/** (from 0 to the entry) · l₀, once or twice. */
// @ts-ignore: decorator
@inline
function times(x: v128, level: f32): v128 {
  return f32x4.mul(x, f32x4.splat(level));
}

// @ts-ignore: decorator
@inline
function seeds(): v128 {
  let most = f32x4.splat(0);
  for (let i: usize = 6; i < 14; i++) {
    const a = CUTS + ENTRY * i;
    const b = CUTS + ENTRY * (COUNT - i);
    const s = v128.load(a);
    const v = v128.load(a, 16);
    const d = times(f32x4.sub(v128.load(b), s), 0.125);
    const e = times(times(f32x4.sub(v128.load(b, 16), v), 0.125), 0.125);
    const upX = f32x4.add(f32x4.add(times(s, -0.875), d), v128.load(b, 32));
    const downX = f32x4.add(f32x4.sub(times(s, -1.125), d), v128.load(b, 48));
    const up2 = f32x4.add(f32x4.add(times(times(v, -0.875), -0.875), e), v128.load(b, 64));
    const down2 = f32x4.add(f32x4.add(times(times(v, -1.125), -1.125), e), v128.load(b, 80));
    most = seed(seed(most, upX, up2), downX, down2);
  }
  return most;
}

/** Scores both candidates of a pair of cut points, in BEST: 0 is the shift up, −1 (a mask) the shift down. */
function scorePair(i1: i32, i2: i32): void {
  const a = CUTS + ENTRY * i1;
  const b = CUTS + ENTRY * i2;
  const s = v128.load(a);
  const v = v128.load(a, 16);
  const d = times(f32x4.sub(v128.load(b), s), 0.125);
  const e = times(times(f32x4.sub(v128.load(b, 16), v), 0.125), 0.125);
  const upX = f32x4.add(f32x4.add(times(s, -0.875), d), v128.load(b, 32));
  const up2 = f32x4.add(f32x4.add(times(times(v, -0.875), -0.875), e), v128.load(b, 64));
  let score = take(v128.load(BEST), upX, up2, i1, i2, 0);
  const downX = f32x4.add(f32x4.sub(times(s, -1.125), d), v128.load(b, 48));
  const down2 = f32x4.add(f32x4.add(times(times(v, -1.125), -1.125), e), v128.load(b, 80));
  score = take(score, downX, down2, i1, i2, -1);
  v128.store(BEST, score);
}

/** The best split of four groups, in BEST; of those in `some` at least. */
// @ts-ignore: decorator
@inline
function split(some: v128): void {
  sums();
  const most = seeds();
  const ready = f32x4.gt(most, f32x4.splat(0));
  let limit = limitOf(begin(most), ready);
  const last = CUTS + ENTRY * COUNT;
  const all = v128.load(last);
  const weight = v128.load(last, 16);
  // Groups without weight have no split.
  const asked = v128.and(some, f32x4.gt(weight, f32x4.splat(0)));
  if (v128.any_true(v128.andnot(asked, ready))) {
    for (let i1: i32 = 0; i1 <= 32; i1++) for (let i2 = i1; i2 <= 32; i2++) scorePair(i1, i2);
    return;
  }
  const up = times(all, 1.125);
  const down = times(all, 0.875);
  const up2 = times(weight, 1.265625);
  const down2 = times(weight, 0.765625);
  for (let i1: i32 = 0; i1 <= 32; i1++) {
    const from = FILTER + 48 * i1;
    const s = v128.load(from);
    const v = v128.load(CUTS + ENTRY * i1, 16);
    const ux = f32x4.sub(up, s);
    const dx = f32x4.sub(down, s);
    const u2 = f32x4.add(up2, times(v, 0.75));
    const d2 = f32x4.add(down2, times(v, 1.25));
    for (let p = from, i2 = i1; i2 <= 32; p += 96, i2 += 2) {
      const s0 = v128.load(p);
      let any = passes(limit, f32x4.sub(ux, s0), f32x4.add(u2, v128.load(p, 16)));
      any = v128.or(any, passes(limit, f32x4.sub(dx, s0), f32x4.add(d2, v128.load(p, 32))));
      const s1 = v128.load(p, 48);
      any = v128.or(any, passes(limit, f32x4.sub(ux, s1), f32x4.add(u2, v128.load(p, 64))));
      any = v128.or(any, passes(limit, f32x4.sub(dx, s1), f32x4.add(d2, v128.load(p, 80))));
      if (v128.any_true(any)) {
        scorePair(i1, i2);
        if (i2 < 32) scorePair(i1, i2 + 1);
        limit = limitOf(v128.load(BEST), ready);
      }
    }
  }
}

/** Four groups: points to `low` and `high`, scales and shifts to SCALES and CANDIDATES. */
function encodeGroups(source: usize, weights: usize, low: usize, high: usize, group: usize): void {
  transpose(source, COUNT, X);
  transpose(weights, COUNT, W);
  const some = present(COUNT, 1e-12);
  rank(COUNT);
  sort(COUNT);
  split(some);
  const found = v128.and(some, i32x4.ge_s(v128.load(BEST, 32), i32x4.splat(0)));
  const signed = v128.load(BEST, 16);
  const mirrored = f32x4.lt(signed, f32x4.splat(0));
  let scale = f32x4.abs(signed);
  const down = v128.xor(v128.load(BEST, 64), mirrored);
  const shift = v128.bitselect(f32x4.splat(-0.125), f32x4.splat(0.125), down);
  v128.store(SCALES + 4 * group, scale);
  v128.store(CANDIDATES + 4 * group, v128.and(down, found));
  for (let k: usize = 0; k < 4; k++) v128.store(CODES + 16 * k, words(8 * k, mirrored));

  let moved = i32x4.splat(0);
  for (let lane: usize = 0; lane < 4; lane++) {
    if (load<i32>(CANDIDATES + 4 * (group + lane)) == 0 && !isFound(found, lane)) {
      store<u32>(low + 4 * lane, 0);
      store<u16>(high + 2 * lane, 0);
      continue;
    }
    const laneScale = load<f32>(SCALES + 4 * (group + lane));
    const laneShift: f32 = load<i32>(CANDIDATES + 4 * (group + lane)) != 0 ? -0.125 : 0.125;
    let bits = 0;
    let changed = 0;
    for (let k: usize = 0; k < 4; k++) {
      const at = lane * 128 + k * 32;
      const word = load<i32>(CODES + 16 * k + 4 * lane);
      const chosen = choose(word, source + at, weights + at, laneScale, laneShift);
      changed |= word ^ chosen;
      store<i32>(CODES + 16 * k + 4 * lane, chosen);
      const index = load<i32>(PLACES + 4 * <usize>chosen);
      store<u8>(low + 4 * lane + k, <u8>index);
      bits |= (index >> 8) << (3 * <i32>k);
    }
    store<u16>(high + 2 * lane, <u16>bits);
    store<i32>(BEST + 4 * lane, changed == 0 ? 0 : -1);
    moved = v128.load(BEST);
  }
  moved = v128.and(moved, found);
  if (v128.any_true(moved)) scale = refit(scale, moved, f32x4.sub(shift, f32x4.splat(1)));
  v128.store(SCALES + 4 * group, v128.and(scale, v128.and(found, f32x4.eq(scale, scale))));
}

// @ts-ignore: decorator
@inline
function isFound(found: v128, lane: usize): bool {
  return ((i32x4.bitmask(found) >> <i32>lane) & 1) != 0;
}

/** Σ w q x / Σ w q² with the words in CODES, where a word was moved and both are positive. */
// @ts-ignore: decorator
@inline
function refit(scale: v128, moved: v128, base: v128): v128 {
  let qx = f32x4.splat(0);
  let q2 = f32x4.splat(0);
  for (let k: usize = 0; k < 4; k++) {
    const word = v128.load(CODES + 16 * k);
    for (let i: i32 = 0; i < 8; i++) {
      const at = k * 128 + <usize>i * 16;
      const q = component(word, i, base);
      const wq = f32x4.mul(v128.load(W + at), q);
      qx = f32x4.add(qx, f32x4.mul(wq, v128.load(X + at)));
      q2 = f32x4.add(q2, f32x4.mul(wq, q));
    }
  }
  const positive = v128.and(f32x4.gt(qx, f32x4.splat(0)), f32x4.gt(q2, f32x4.splat(0)));
  return v128.bitselect(f32x4.div(qx, q2), scale, v128.and(moved, positive));
}

/** Blocks of one row; `importance` is that of the first one. */
export function quantizeIq1S(source: usize, blocks: usize, importance: usize, target: usize): void {
  for (let i: usize = 0; i < blocks; i++, source += 1024, importance += 1024, target += BYTES) {
    if ((i & 3) == 0) prepareSigma(source, blocks - i);
    weigh(source, importance, i & 3);
    encodeGroups(source, WEIGHTS, target + 2, target + 34, 0);
    encodeGroups(source + 512, WEIGHTS + 512, target + 18, target + 42, 4);
    let largest: f32 = 0;
    for (let g: usize = 0; g < 8; g++) largest = max(largest, load<f32>(SCALES + 4 * g));
    const d = largest / 15;
    store<u16>(target, <u16>halfBits(d * 1.125));
    if (largest == 0) continue;
    const id: f32 = 1 / d;
    for (let g: usize = 0; g < 8; g++) {
      const s = steps(id, load<f32>(SCALES + 4 * g));
      const top = (s << 12) | (load<i32>(CANDIDATES + 4 * g) & 0x8000);
      store<u16>(target + 2 * g, load<u16>(target + 2 * g, 34) | <u16>top, 34);
    }
  }
}

export function dequantizeIq1S(source: usize, blocks: usize, target: usize): void {
  for (const end = source + blocks * BYTES; source < end; source += BYTES) {
    const d = loadHalf(source);
    for (let k: usize = 0; k < 32; k++, target += 32) {
      const bits = <i32>load<u16>(source + 2 * (k >> 2), 34);
      const index = <usize>load<u8>(source + k, 2) + <usize>(((bits >> (3 * (<i32>k & 3))) & 7) << 8);
      const odd = 2 * ((bits >> 12) & 7) + 1;
      const scale = d * <f32>odd;
      storeValues(<i32>load<u16>(WORDS + 2 * index), scale, bits & 0x8000 ? -0.125 : 0.125, target);
    }
  }
}
