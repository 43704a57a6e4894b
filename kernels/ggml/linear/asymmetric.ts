/**
 * q4_1 and q5_1 with importance (definition: src/kernels/ggml/linear/search.ts, asymmetric). Four blocks, one in each lane. Each
 * candidate takes a pass for the sums and, unless no lane can use it, one for the squared error, which ends at half when it is
 * no longer below the best in any lane: terms are not negative, so the sum cannot fall again. Scale and minimum that made the
 * chosen codes are kept, not the codes.
 *
 * Rounding by addition is ggml's rint where products stay below 2^22. A group in which a candidate might not (overflow; a
 * minimum that moved to the other end of the values) is listed for the definition.
 */

import { bytesOf, fifthBits, halfBits, lane, MAGIC, nibbles } from './lanes';
import { gather, VALUES, WEIGHTS } from './weights';

const CODES: usize = memory.data(512, 16);

// @ts-ignore: decorator
@inline
const STEPS = 36;

// @ts-ignore: decorator
@inline
function codeOf(x: v128, s: v128, min: v128, top: v128): v128 {
  const magic = f32x4.splat(MAGIC);
  const v = f32x4.pmin(top, f32x4.pmax(f32x4.splat(0), f32x4.mul(s, f32x4.sub(x, min))));
  return f32x4.sub(f32x4.add(v, magic), magic);
}

// @ts-ignore: decorator
@inline
function codesOf(p: usize, s: v128, min: v128, top: v128): v128 {
  const a = codeOf(v128.load(p), s, min, top);
  const b = codeOf(v128.load(p, 16), s, min, top);
  const c = codeOf(v128.load(p, 32), s, min, top);
  const d = codeOf(v128.load(p, 48), s, min, top);
  return bytesOf(a, b, c, d, 0);
}

// @ts-ignore: decorator
@inline
function storeBlock(values: usize, s: v128, min: v128, levels: i32, none: bool, header: i32, target: usize): void {
  const top = f32x4.splat(<f32>(levels - 1));
  let a = codesOf(values, s, min, top);
  let b = codesOf(values + 64, s, min, top);
  if (none) {
    a = i32x4.splat(0);
    b = a;
  }
  store<i32>(target, header);
  if (levels == 16) {
    v128.store(target, nibbles(a, b), 4);
  } else {
    store<i32>(target, fifthBits(a) | (fifthBits(b) << 16), 4);
    const mask = i8x16.splat(15);
    v128.store(target, nibbles(v128.and(a, mask), v128.and(b, mask)), 8);
  }
}

/** Squared error of a · code + b over 16 of the 32 values, added to `sum`. */
// @ts-ignore: decorator
@inline
function addErrors(first: usize, a: v128, b: v128, sum: v128): v128 {
  for (let p = first, end = first + 256; p < end; p += 64) {
    let t = f32x4.sub(f32x4.add(f32x4.mul(a, v128.load(p, CODES - VALUES)), b), v128.load(p));
    sum = f32x4.add(sum, f32x4.mul(v128.load(p, WEIGHTS - VALUES), f32x4.mul(t, t)));
    t = f32x4.sub(f32x4.add(f32x4.mul(a, v128.load(p, CODES - VALUES + 16)), b), v128.load(p, 16));
    sum = f32x4.add(sum, f32x4.mul(v128.load(p, WEIGHTS - VALUES + 16), f32x4.mul(t, t)));
    t = f32x4.sub(f32x4.add(f32x4.mul(a, v128.load(p, CODES - VALUES + 32)), b), v128.load(p, 32));
    sum = f32x4.add(sum, f32x4.mul(v128.load(p, WEIGHTS - VALUES + 32), f32x4.mul(t, t)));
    t = f32x4.sub(f32x4.add(f32x4.mul(a, v128.load(p, CODES - VALUES + 48)), b), v128.load(p, 48));
    sum = f32x4.add(sum, f32x4.mul(v128.load(p, WEIGHTS - VALUES + 48), f32x4.mul(t, t)));
  }
  return sum;
}

/** Whether s · (x − min) stays within ±2^21 for all values: mask. */
// @ts-ignore: decorator
@inline
function bounded(s: v128, min: v128, least: v128, max: v128): v128 {
  const ends = f32x4.pmax(f32x4.abs(f32x4.mul(s, f32x4.sub(max, min))), f32x4.abs(f32x4.mul(s, f32x4.sub(least, min))));
  // Values beside the lane's minimum give 0 · s, which must not be NaN.
  return v128.and(f32x4.lt(ends, f32x4.splat(2097152)), f32x4.lt(f32x4.abs(s), f32x4.splat(Infinity)));
}

// @ts-ignore: decorator
@inline
function searchAsymmetric(values: usize, blocks: i32, perRow: i32, importance: usize, sigmas: usize, levels: i32, target: usize, list: usize): i32 {
  const bytes: usize = levels == 32 ? 24 : 20;
  const N = <f32>(levels - 1);
  const top = f32x4.splat(N);
  const zero = f32x4.splat(0);
  const magic = f32x4.splat(MAGIC);
  let listed = 0;
  for (let block = 0; block < blocks; block += 4) {
    gather(values, block, blocks, perRow, importance, sigmas);
    let x = v128.load(VALUES);
    let w = v128.load(WEIGHTS);
    let least = x;
    let max = x;
    let W = w;
    let X = f32x4.mul(w, x);
    for (let p = VALUES + 16, end = VALUES + 512; p < end; p += 16) {
      x = v128.load(p);
      w = v128.load(p, WEIGHTS - VALUES);
      least = f32x4.pmin(least, x);
      max = f32x4.pmax(max, x);
      W = f32x4.add(W, w);
      X = f32x4.add(X, f32x4.mul(w, x));
    }
    // pmin(zero, least) would keep +0 of a minimum of −0.
    let min = f32x4.pmin(least, zero);
    const flat = f32x4.le(max, min);
    let chosen = f32x4.div(top, f32x4.sub(max, min));
    let from = min;
    let scale = f32x4.div(f32x4.splat(1), chosen);
    let sound = v128.or(flat, bounded(chosen, min, least, max));
    for (let p = VALUES, end = VALUES + 512; p < end; p += 16) {
      v128.store(p, codeOf(v128.load(p), chosen, min, top), CODES - VALUES);
    }
    let best = addErrors(VALUES + 256, scale, min, addErrors(VALUES, scale, min, zero));
    for (let k = 0; k <= STEPS; k++) {
      const s = f32x4.div(f32x4.splat(<f32>-0.9 + <f32>0.05 * <f32>k + N), f32x4.sub(max, min));
      sound = v128.and(sound, v128.or(flat, bounded(s, min, least, max)));
      let L = zero;
      let LL = zero;
      let XL = zero;
      for (let p = VALUES, end = VALUES + 512; p < end; p += 32) {
        x = v128.load(p);
        w = v128.load(p, WEIGHTS - VALUES);
        let l = f32x4.pmin(top, f32x4.pmax(zero, f32x4.mul(s, f32x4.sub(x, min))));
        l = f32x4.sub(f32x4.add(l, magic), magic);
        v128.store(p, l, CODES - VALUES);
        w = f32x4.mul(w, l);
        L = f32x4.add(L, w);
        LL = f32x4.add(LL, f32x4.mul(w, l));
        XL = f32x4.add(XL, f32x4.mul(w, x));
        x = v128.load(p, 16);
        w = v128.load(p, WEIGHTS - VALUES + 16);
        l = f32x4.pmin(top, f32x4.pmax(zero, f32x4.mul(s, f32x4.sub(x, min))));
        l = f32x4.sub(f32x4.add(l, magic), magic);
        v128.store(p, l, CODES - VALUES + 16);
        w = f32x4.mul(w, l);
        L = f32x4.add(L, w);
        LL = f32x4.add(LL, f32x4.mul(w, l));
        XL = f32x4.add(XL, f32x4.mul(w, x));
      }
      const D = f32x4.sub(f32x4.mul(W, LL), f32x4.mul(L, L));
      const solvable = v128.andnot(f32x4.gt(D, zero), flat);
      if (!v128.any_true(solvable)) continue;
      let a = f32x4.div(f32x4.sub(f32x4.mul(W, XL), f32x4.mul(X, L)), D);
      let b = f32x4.div(f32x4.sub(f32x4.mul(LL, X), f32x4.mul(L, XL)), D);
      const above = f32x4.gt(b, zero);
      a = v128.bitselect(f32x4.div(XL, LL), a, above);
      b = v128.andnot(b, above);
      let error = addErrors(VALUES, a, b, zero);
      if (!v128.any_true(v128.and(solvable, f32x4.lt(error, best)))) continue;
      error = addErrors(VALUES + 256, a, b, error);
      const take = v128.and(solvable, f32x4.lt(error, best));
      if (!v128.any_true(take)) continue;
      best = v128.bitselect(error, best, take);
      chosen = v128.bitselect(s, chosen, take);
      from = v128.bitselect(min, from, take);
      scale = v128.bitselect(a, scale, take);
      min = v128.bitselect(b, min, take);
    }
    if (!i32x4.all_true(sound)) {
      store<i32>(list + (<usize>listed << 2), block);
      listed++;
      continue;
    }
    const none = i32x4.bitmask(flat);
    const headers = v128.or(halfBits(v128.andnot(scale, flat)), i32x4.shl(halfBits(min), 16));
    const p = values + (<usize>block << 7);
    const to = target + <usize>block * bytes;
    storeBlock(p, lane(chosen, 0), lane(from, 0), levels, (none & 1) != 0, i32x4.extract_lane(headers, 0), to);
    if (block + 1 < blocks) storeBlock(p + 128, lane(chosen, 1), lane(from, 1), levels, (none & 2) != 0, i32x4.extract_lane(headers, 1), to + bytes);
    if (block + 2 < blocks) storeBlock(p + 256, lane(chosen, 2), lane(from, 2), levels, (none & 4) != 0, i32x4.extract_lane(headers, 2), to + 2 * bytes);
    if (block + 3 < blocks) storeBlock(p + 384, lane(chosen, 3), lane(from, 3), levels, (none & 8) != 0, i32x4.extract_lane(headers, 3), to + 3 * bytes);
  }
  return listed;
}

export function searchQ4_1(values: usize, blocks: i32, perRow: i32, importance: usize, sigmas: usize, target: usize, list: usize): i32 {
  return searchAsymmetric(values, blocks, perRow, importance, sigmas, 16, target, list);
}

export function searchQ5_1(values: usize, blocks: i32, perRow: i32, importance: usize, sigmas: usize, target: usize, list: usize): i32 {
  return searchAsymmetric(values, blocks, perRow, importance, sigmas, 32, target, list);
}
