/**
 * iq1_m (definition: src/kernels/ggml/ternary/iq1-m.ts): four groups of 16 side by side, four candidates for each of 153 pairs
 * of cut points.
 *
 * An entry of CUTS for cut point i (160 bytes), for both halves of a group: the running sums P of w x, and V of w times
 * l₁² − l₂² for both shifts, which the inner loop adds; then V times l₀² − l₁², which the outer loop does. Each sum serves
 * two candidates, so the simpler sums of iq1-s.ts would save nothing here: all candidates are scored as they are defined.
 */

import { begin, passes, seed, take } from './best';
import { halfBits, valueOfHalf } from '../../block-scales';
import { choose, component, prepareSigma, present, rank, steps, storeValues, transpose, weigh, words } from './groups';
import { BEST, CANDIDATES, CHOSEN, CODES, CUTS, PLACES, RANK, SCALES, SORTED, W, WEIGHTS, WORDS, X } from './memory';

// @ts-ignore: decorator
@inline
const COUNT: usize = 16;
// @ts-ignore: decorator
@inline
const ENTRY: usize = 160;
// @ts-ignore: decorator
@inline
const BYTES: usize = 56;

/** Weighted values and weights to their places: w x and w of the first half, then of the second, 0 in the other one's. */
// @ts-ignore: decorator
@inline
function sortHalves(): void {
  for (let i: usize = 0; i < 16 * COUNT; i += 4) {
    const to = SORTED + (<usize>load<i32>(RANK + i) << 6) + (i & 15);
    const w = load<f32>(W + i);
    const own = to + ((i >> 7) << 5);
    const other = to + (((i >> 7) ^ 1) << 5);
    store<f32>(own, w * load<f32>(X + i));
    store<f32>(own, w, 16);
    store<f32>(other, 0);
    store<f32>(other, 0, 16);
  }
}

// @ts-ignore: decorator
@inline
function times(x: v128, factor: f32): v128 {
  return f32x4.mul(x, f32x4.splat(factor));
}

// @ts-ignore: decorator
@inline
function storeEntry(entry: usize, px0: v128, pw0: v128, px1: v128, pw1: v128): void {
  v128.store(entry, px0);
  v128.store(entry, times(pw0, -1.25), 16);
  v128.store(entry, times(pw0, -0.75), 32);
  v128.store(entry, px1, 48);
  v128.store(entry, times(pw1, -1.25), 64);
  v128.store(entry, times(pw1, -0.75), 80);
  v128.store(entry, times(pw0, 0.75), 96);
  v128.store(entry, times(pw0, 1.25), 112);
  v128.store(entry, times(pw1, 0.75), 128);
  v128.store(entry, times(pw1, 1.25), 144);
}

/** The best split of four groups, in BEST; bit 1 of the candidate is the first half's shift down, bit 0 the second's. */
// @ts-ignore: decorator
@inline
function split(): void {
  // Adding 0 for the other half leaves its sums: they start at +0 and cannot become −0.
  let px0 = f32x4.splat(0);
  let pw0 = f32x4.splat(0);
  let px1 = f32x4.splat(0);
  let pw1 = f32x4.splat(0);
  let entry = CUTS;
  for (let p = SORTED; p < SORTED + 64 * COUNT; p += 64, entry += ENTRY) {
    storeEntry(entry, px0, pw0, px1, pw1);
    px0 = f32x4.add(px0, v128.load(p));
    pw0 = f32x4.add(pw0, v128.load(p, 16));
    px1 = f32x4.add(px1, v128.load(p, 32));
    pw1 = f32x4.add(pw1, v128.load(p, 48));
  }
  storeEntry(entry, px0, pw0, px1, pw1);
  const upX0 = times(px0, 1.125);
  const downX0 = times(px0, 0.875);
  const upX1 = times(px1, 1.125);
  const downX1 = times(px1, 0.875);
  const up0 = times(times(pw0, 1.125), 1.125);
  const down0 = times(times(pw0, 0.875), 0.875);
  const up1 = times(times(pw1, 1.125), 1.125);
  const down1 = times(times(pw1, 0.875), 0.875);

  let most = f32x4.splat(0);
  for (let i: usize = 2; i < 8; i += 2) {
    const a = CUTS + ENTRY * i;
    const b = CUTS + ENTRY * (COUNT - i);
    const sx0 = f32x4.add(v128.load(a), v128.load(b));
    const sx1 = f32x4.add(v128.load(a, 48), v128.load(b, 48));
    const u0 = f32x4.add(f32x4.add(up0, v128.load(a, 96)), v128.load(b, 16));
    const d0 = f32x4.add(f32x4.add(down0, v128.load(a, 112)), v128.load(b, 32));
    const u1 = f32x4.add(f32x4.add(up1, v128.load(a, 128)), v128.load(b, 64));
    const d1 = f32x4.add(f32x4.add(down1, v128.load(a, 144)), v128.load(b, 80));
    const xu0 = f32x4.sub(upX0, sx0);
    const xd0 = f32x4.sub(downX0, sx0);
    const xu1 = f32x4.sub(upX1, sx1);
    const xd1 = f32x4.sub(downX1, sx1);
    most = seed(seed(most, f32x4.add(xu0, xu1), f32x4.add(u0, u1)), f32x4.add(xu0, xd1), f32x4.add(u0, d1));
    most = seed(seed(most, f32x4.add(xd0, xu1), f32x4.add(d0, u1)), f32x4.add(xd0, xd1), f32x4.add(d0, d1));
  }
  let score = begin(most);

  for (let i1: i32 = 0; i1 <= <i32>COUNT; i1++) {
    const from = CUTS + ENTRY * i1;
    const x0 = v128.load(from);
    const x1 = v128.load(from, 48);
    const a0 = f32x4.add(up0, v128.load(from, 96));
    const b0 = f32x4.add(down0, v128.load(from, 112));
    const a1 = f32x4.add(up1, v128.load(from, 128));
    const b1 = f32x4.add(down1, v128.load(from, 144));
    for (let p = from, i2 = i1; p <= entry; p += ENTRY, i2++) {
      const sx0 = f32x4.add(x0, v128.load(p));
      const sx1 = f32x4.add(x1, v128.load(p, 48));
      const xu0 = f32x4.sub(upX0, sx0);
      const xd0 = f32x4.sub(downX0, sx0);
      const xu1 = f32x4.sub(upX1, sx1);
      const xd1 = f32x4.sub(downX1, sx1);
      const u0 = f32x4.add(a0, v128.load(p, 16));
      const d0 = f32x4.add(b0, v128.load(p, 32));
      const u1 = f32x4.add(a1, v128.load(p, 64));
      const d1 = f32x4.add(b1, v128.load(p, 80));
      let any = passes(score, f32x4.add(xu0, xu1), f32x4.add(u0, u1));
      any = v128.or(any, passes(score, f32x4.add(xu0, xd1), f32x4.add(u0, d1)));
      any = v128.or(any, passes(score, f32x4.add(xd0, xu1), f32x4.add(d0, u1)));
      any = v128.or(any, passes(score, f32x4.add(xd0, xd1), f32x4.add(d0, d1)));
      if (v128.any_true(any)) {
        score = take(score, f32x4.add(xu0, xu1), f32x4.add(u0, u1), i1, i2, 0);
        score = take(score, f32x4.add(xu0, xd1), f32x4.add(u0, d1), i1, i2, 1);
        score = take(score, f32x4.add(xd0, xu1), f32x4.add(d0, u1), i1, i2, 2);
        score = take(score, f32x4.add(xd0, xd1), f32x4.add(d0, d1), i1, i2, 3);
      }
    }
  }
}

/** −0.125 where the bit of a candidate is set. */
// @ts-ignore: decorator
@inline
function shiftOf(candidate: i32, half: usize): f32 {
  return candidate & (2 >> <i32>half) ? -0.125 : 0.125;
}

// @ts-ignore: decorator
@inline
function bases(candidates: v128, bit: i32): v128 {
  const down = i32x4.ne(v128.and(candidates, i32x4.splat(bit)), i32x4.splat(0));
  return v128.bitselect(f32x4.splat(-1.125), f32x4.splat(-0.875), down);
}

/** Four groups: words to CHOSEN, scales and candidates to SCALES and CANDIDATES. */
function encodeGroups(source: usize, weights: usize, group: usize): void {
  transpose(source, COUNT, X);
  transpose(weights, COUNT, W);
  const some = present(COUNT, 1e-7);
  rank(COUNT);
  sortHalves();
  split();
  const found = v128.and(some, i32x4.ge_s(v128.load(BEST, 32), i32x4.splat(0)));
  const signed = v128.load(BEST, 16);
  const mirrored = f32x4.lt(signed, f32x4.splat(0));
  let scale = f32x4.abs(signed);
  const candidates = v128.and(v128.xor(v128.load(BEST, 64), v128.and(mirrored, i32x4.splat(3))), found);
  v128.store(SCALES + 4 * group, scale);
  v128.store(CANDIDATES + 4 * group, candidates);
  v128.store(CODES, words(0, mirrored));
  v128.store(CODES, words(8, mirrored), 16);
  v128.store(BEST, i32x4.splat(0));

  const first = <i32>load<u16>(WORDS);
  const mask = i32x4.bitmask(found);
  for (let lane: usize = 0; lane < 4; lane++) {
    const to = CHOSEN + 8 * (group + lane);
    if (((mask >> <i32>lane) & 1) == 0) {
      store<i32>(to, first);
      store<i32>(to, first, 4);
      continue;
    }
    const candidate = load<i32>(CANDIDATES + 4 * (group + lane));
    const laneScale = load<f32>(SCALES + 4 * (group + lane));
    let changed = 0;
    for (let half: usize = 0; half < 2; half++) {
      const at = lane * 64 + half * 32;
      const word = load<i32>(CODES + 16 * half + 4 * lane);
      const chosen = choose(word, source + at, weights + at, laneScale, shiftOf(candidate, half));
      changed |= word ^ chosen;
      store<i32>(CODES + 16 * half + 4 * lane, chosen);
      store<i32>(to + 4 * half, chosen);
    }
    store<i32>(BEST + 4 * lane, changed == 0 ? 0 : -1);
  }
  const moved = v128.load(BEST);
  if (v128.any_true(moved)) {
    let qx = f32x4.splat(0);
    let q2 = f32x4.splat(0);
    for (let half: usize = 0; half < 2; half++) {
      const word = v128.load(CODES + 16 * half);
      const base = bases(candidates, 2 >> <i32>half);
      for (let i: i32 = 0; i < 8; i++) {
        const at = half * 128 + <usize>i * 16;
        const q = component(word, i, base);
        const wq = f32x4.mul(v128.load(W + at), q);
        qx = f32x4.add(qx, f32x4.mul(wq, v128.load(X + at)));
        q2 = f32x4.add(q2, f32x4.mul(wq, q));
      }
    }
    const positive = v128.and(f32x4.gt(qx, f32x4.splat(0)), f32x4.gt(q2, f32x4.splat(0)));
    scale = v128.bitselect(f32x4.div(qx, q2), scale, v128.and(moved, positive));
  }
  v128.store(SCALES + 4 * group, v128.and(scale, v128.and(found, f32x4.eq(scale, scale))));
}

/** d for all 256 values: Σ w q x / Σ w q² where Σ w q² is positive, else `d`. */
// @ts-ignore: decorator
@inline
function fit(source: usize, d: f32, id: f32): f32 {
  let qx: f32 = 0;
  let q2: f32 = 0;
  for (let k: usize = 0; k < 32; k++) {
    const group = k >> 1;
    const odd = 2 * steps(id, load<f32>(SCALES + 4 * group)) + 1;
    const factor = <f32>odd;
    const shift = shiftOf(load<i32>(CANDIDATES + 4 * group), k & 1);
    const word = load<i32>(CHOSEN + 4 * k);
    for (let half: usize = 0; half < 2; half++) {
      const codes = i32x4.shr_u(i32x4.mul(i32x4.splat(word >> (8 * <i32>half)), i32x4(64, 16, 4, 1)), 6);
      const levels = f32x4.add(f32x4.convert_i32x4_s(v128.and(codes, i32x4.splat(3))), f32x4.splat(shift - 1));
      const q = f32x4.mul(levels, f32x4.splat(factor));
      const at = k * 32 + half * 16;
      const wq = f32x4.mul(v128.load(WEIGHTS + at), q);
      const a = f32x4.mul(wq, v128.load(source + at));
      const b = f32x4.mul(wq, q);
      qx += f32x4.extract_lane(a, 0);
      q2 += f32x4.extract_lane(b, 0);
      qx += f32x4.extract_lane(a, 1);
      q2 += f32x4.extract_lane(b, 1);
      qx += f32x4.extract_lane(a, 2);
      q2 += f32x4.extract_lane(b, 2);
      qx += f32x4.extract_lane(a, 3);
      q2 += f32x4.extract_lane(b, 3);
    }
  }
  return q2 > 0 ? qx / q2 : d;
}

/** Blocks of one row; `importance` is that of the first one, or 0 for none. */
export function quantizeIq1M(source: usize, blocks: usize, importance: usize, target: usize): void {
  for (let i: usize = 0; i < blocks; i++, source += 1024, target += BYTES) {
    if ((i & 3) == 0) prepareSigma(source, blocks - i);
    weigh(source, importance, i & 3);
    if (importance != 0) importance += 1024;
    for (let g: usize = 0; g < 16; g += 4) encodeGroups(source + 64 * g, WEIGHTS + 64 * g, g);
    let largest: f32 = 0;
    for (let g: usize = 0; g < 16; g++) {
      const low = load<i32>(PLACES + 4 * <usize>load<i32>(CHOSEN + 8 * g));
      const high = load<i32>(PLACES + 4 * <usize>load<i32>(CHOSEN + 8 * g, 4));
      const candidate = load<i32>(CANDIDATES + 4 * g);
      store<u16>(target + 2 * g, <u16>((low & 255) | (high << 8)));
      const bits = (low >> 8) | ((high >> 8) << 4) | ((candidate & 2) << 2) | ((candidate & 1) << 7);
      store<u8>(target + g, <u8>bits, 32);
      largest = max(largest, load<f32>(SCALES + 4 * g));
    }
    store<u64>(target, 0, 48);
    if (largest == 0) continue;
    const d = largest / 15;
    const id: f32 = 1 / d;
    const half = halfBits(fit(source, d, id) * 1.1125);
    for (let part: usize = 0; part < 4; part++) {
      let bits = ((half >> (4 * <i32>part)) & 15) << 12;
      for (let j: usize = 0; j < 4; j++) bits |= steps(id, load<f32>(SCALES + 16 * part + 4 * j)) << (3 * <i32>j);
      store<u16>(target + 2 * part, <u16>bits, 48);
    }
  }
}

export function dequantizeIq1M(source: usize, blocks: usize, target: usize): void {
  for (const end = source + blocks * BYTES; source < end; source += BYTES) {
    let half = 0;
    for (let part: usize = 0; part < 4; part++) {
      half |= (<i32>load<u16>(source + 2 * part, 48) >> 12) << (4 * <i32>part);
    }
    const d = valueOfHalf(half);
    for (let k: usize = 0; k < 32; k++, target += 32) {
      const group = k >> 1;
      const scales = <i32>load<u16>(source + 2 * (group >> 2), 48);
      const odd = 2 * ((scales >> (3 * (<i32>group & 3))) & 7) + 1;
      const scale = d * <f32>odd;
      const high = <i32>load<u8>(source + group, 32) >> (4 * (<i32>k & 1));
      const index = <usize>load<u8>(source + k) + <usize>((high & 7) << 8);
      storeValues(<i32>load<u16>(WORDS + 2 * index), scale, high & 8 ? -0.125 : 0.125, target);
    }
  }
}
