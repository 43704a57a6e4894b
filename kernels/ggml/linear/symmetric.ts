/**
 * q4_0 and q5_0 with importance (definition: src/kernels/ggml/linear/search.ts, symmetric). Four blocks, one in each lane, are
 * searched together; two candidate scales share the loads of a pass over the values. The chosen scale is kept, not its codes:
 * they are made once, at the end.
 *
 * All products that are rounded to integers stay within ±(levels / 2 + 1), so rint is an addition. Sums that overflow do so in
 * the lanes as they do in ggml.
 */

import { bytesOf, fifthBits, halfBits, lane, MAGIC, nibbles } from './lanes';
import { firstExtreme, gather, multiply, VALUES, WEIGHTED, WEIGHTS } from './weights';

// @ts-ignore: decorator
@inline
const SMALLEST: f32 = 1e-15;

/** Candidates after the first: k = −9 … −1 and 1 … 9. */
// @ts-ignore: decorator
@inline
const CANDIDATES = 18;

/** −(M + 0.1 k) of candidate n. */
// @ts-ignore: decorator
@inline
function candidate(n: i32, M: f32): f32 {
  return -(M + <f32>0.1 * <f32>(n < 9 ? n - 9 : n - 8));
}

// @ts-ignore: decorator
@inline
function rounded(x: v128, s: v128, low: v128, high: v128): v128 {
  const v = f32x4.pmin(high, f32x4.pmax(low, f32x4.mul(s, x)));
  const magic = f32x4.splat(MAGIC);
  return f32x4.sub(f32x4.add(v, magic), magic);
}

// @ts-ignore: decorator
@inline
function codesOf(p: usize, s: v128, low: v128, high: v128, middle: v128): v128 {
  const a = f32x4.add(rounded(v128.load(p), s, low, high), middle);
  const b = f32x4.add(rounded(v128.load(p, 16), s, low, high), middle);
  const c = f32x4.add(rounded(v128.load(p, 32), s, low, high), middle);
  const d = f32x4.add(rounded(v128.load(p, 48), s, low, high), middle);
  return bytesOf(a, b, c, d, 0);
}

// @ts-ignore: decorator
@inline
function storeBlock(values: usize, s: v128, levels: i32, none: bool, d: i32, target: usize): void {
  const M = <f32>levels * 0.5;
  const low = f32x4.splat(-M);
  const high = f32x4.splat(M - 1);
  const middle = f32x4.splat(M);
  let a = codesOf(values, s, low, high, middle);
  let b = codesOf(values + 64, s, low, high, middle);
  if (none) {
    a = i32x4.splat(0);
    b = a;
  }
  store<u16>(target, d);
  if (levels == 16) {
    v128.store(target, nibbles(a, b), 2);
  } else {
    store<i32>(target, fifthBits(a) | (fifthBits(b) << 16), 2);
    const mask = i8x16.splat(15);
    v128.store(target, nibbles(v128.and(a, mask), v128.and(b, mask)), 6);
  }
}

// @ts-ignore: decorator
@inline
function searchSymmetric(values: usize, blocks: i32, perRow: i32, importance: usize, sigmas: usize, levels: i32, target: usize): i32 {
  const bytes: usize = levels == 32 ? 22 : 18;
  const M = <f32>levels * 0.5;
  const low = f32x4.splat(-M);
  const high = f32x4.splat(M - 1);
  const magic = f32x4.splat(MAGIC);
  for (let block = 0; block < blocks; block += 4) {
    gather(values, block, blocks, perRow, importance, sigmas);
    multiply();
    const m = firstExtreme();
    const zero = f32x4.lt(f32x4.abs(m), f32x4.splat(SMALLEST));
    let s0 = f32x4.div(f32x4.splat(-M), m);
    let s1 = s0;
    let chosen = s0;
    let scale = f32x4.splat(0);
    let best = scale;
    for (let n = -2; n < CANDIDATES; n += 2) {
      let A0 = f32x4.splat(0);
      let A1 = A0;
      let B0 = A0;
      let B1 = A0;
      for (let p: usize = VALUES, end = VALUES + 512; p < end; p += 32) {
        let x = v128.load(p);
        let wx = v128.load(p, WEIGHTED - VALUES);
        let w = v128.load(p, WEIGHTS - VALUES);
        let l = f32x4.sub(f32x4.add(f32x4.pmin(high, f32x4.pmax(low, f32x4.mul(s0, x))), magic), magic);
        A0 = f32x4.add(A0, f32x4.mul(wx, l));
        B0 = f32x4.add(B0, f32x4.mul(f32x4.mul(w, l), l));
        l = f32x4.sub(f32x4.add(f32x4.pmin(high, f32x4.pmax(low, f32x4.mul(s1, x))), magic), magic);
        A1 = f32x4.add(A1, f32x4.mul(wx, l));
        B1 = f32x4.add(B1, f32x4.mul(f32x4.mul(w, l), l));
        x = v128.load(p, 16);
        wx = v128.load(p, WEIGHTED - VALUES + 16);
        w = v128.load(p, WEIGHTS - VALUES + 16);
        l = f32x4.sub(f32x4.add(f32x4.pmin(high, f32x4.pmax(low, f32x4.mul(s0, x))), magic), magic);
        A0 = f32x4.add(A0, f32x4.mul(wx, l));
        B0 = f32x4.add(B0, f32x4.mul(f32x4.mul(w, l), l));
        l = f32x4.sub(f32x4.add(f32x4.pmin(high, f32x4.pmax(low, f32x4.mul(s1, x))), magic), magic);
        A1 = f32x4.add(A1, f32x4.mul(wx, l));
        B1 = f32x4.add(B1, f32x4.mul(f32x4.mul(w, l), l));
      }
      if (n < 0) {
        scale = v128.andnot(f32x4.div(A0, B0), f32x4.eq(B0, f32x4.splat(0)));
        best = f32x4.mul(scale, A0);
      } else {
        let take = v128.and(f32x4.gt(B0, f32x4.splat(0)), f32x4.gt(f32x4.mul(A0, A0), f32x4.mul(best, B0)));
        chosen = v128.bitselect(s0, chosen, take);
        scale = v128.bitselect(f32x4.div(A0, B0), scale, take);
        best = v128.bitselect(f32x4.mul(scale, A0), best, take);
        take = v128.and(f32x4.gt(B1, f32x4.splat(0)), f32x4.gt(f32x4.mul(A1, A1), f32x4.mul(best, B1)));
        chosen = v128.bitselect(s1, chosen, take);
        scale = v128.bitselect(f32x4.div(A1, B1), scale, take);
        best = v128.bitselect(f32x4.mul(scale, A1), best, take);
      }
      s0 = f32x4.div(f32x4.splat(candidate(n + 2, M)), m);
      s1 = f32x4.div(f32x4.splat(candidate(n + 3, M)), m);
    }
    const none = i32x4.bitmask(zero);
    const d = v128.andnot(halfBits(scale), zero);
    const from = values + (<usize>block << 7);
    const to = target + <usize>block * bytes;
    storeBlock(from, lane(chosen, 0), levels, (none & 1) != 0, i32x4.extract_lane(d, 0), to);
    if (block + 1 < blocks) storeBlock(from + 128, lane(chosen, 1), levels, (none & 2) != 0, i32x4.extract_lane(d, 1), to + bytes);
    if (block + 2 < blocks) storeBlock(from + 256, lane(chosen, 2), levels, (none & 4) != 0, i32x4.extract_lane(d, 2), to + 2 * bytes);
    if (block + 3 < blocks) storeBlock(from + 384, lane(chosen, 3), levels, (none & 8) != 0, i32x4.extract_lane(d, 3), to + 3 * bytes);
  }
  return 0;
}

export function searchQ4_0(values: usize, blocks: i32, perRow: i32, importance: usize, sigmas: usize, target: usize, _list: usize): i32 {
  return searchSymmetric(values, blocks, perRow, importance, sigmas, 16, target);
}

export function searchQ5_0(values: usize, blocks: i32, perRow: i32, importance: usize, sigmas: usize, target: usize, _list: usize): i32 {
  return searchSymmetric(values, blocks, perRow, importance, sigmas, 32, target);
}
