/**
 * iq4_nl and iq4_xs (definition and notation: src/kernels/ggml/linear/iq4.ts). Four blocks of 32, one in each lane, are searched
 * together.
 *
 * Looking a code up sixteen times for each value is what makes this search slow. The fifteen candidates map a value to
 * 120/127 … 134/127 of c = −127 x / m, while neighbouring middles between the book's values differ by 23 % or more: at most one
 * middle lies in that range. So each value gets its middle t and the two values beside it once, and a candidate's value is
 * al ≥ t ? above : below, exactly. Which middle: c rounded to a byte is compared with fourteen bounds, half integers more than
 * 10 % from the middles on both sides, where the candidates are within 6 % of c. The same choice of t serves any single scale.
 */

import { book } from './decode';
import { halfLanes } from '../../block-scales';
import { lane, MAGIC, transpose } from './lanes';
import { addSquares, blockAt, firstExtreme, VALUES, weigh, WEIGHTS } from './weights';

/** 32 vectors each: the middle of a value's two neighbours, the lower neighbour, and the bits in which the upper one differs. */
const MIDDLES: usize = memory.data(512, 16);
const BELOW: usize = memory.data(512, 16);
const CHANGES: usize = memory.data(512, 16);

// @ts-ignore: decorator
@inline
const SMALLEST: f32 = 1e-15;

/** The book without its first value. */
// @ts-ignore: decorator
@inline
function upperBook(): v128 {
  return i8x16(-104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113, 113);
}

/** Bytes that hold c, rounded, to the number of the middle that belongs to it: 0 … 14. */
// @ts-ignore: decorator
@inline
function middleOf(c: v128): v128 {
  let n = i8x16.gt_s(c, i8x16.splat(-104));
  n = i8x16.add(n, i8x16.gt_s(c, i8x16.splat(-83)));
  n = i8x16.add(n, i8x16.gt_s(c, i8x16.splat(-65)));
  n = i8x16.add(n, i8x16.gt_s(c, i8x16.splat(-49)));
  n = i8x16.add(n, i8x16.gt_s(c, i8x16.splat(-35)));
  n = i8x16.add(n, i8x16.gt_s(c, i8x16.splat(-22)));
  n = i8x16.add(n, i8x16.gt_s(c, i8x16.splat(-10)));
  n = i8x16.add(n, i8x16.gt_s(c, i8x16.splat(0)));
  n = i8x16.add(n, i8x16.gt_s(c, i8x16.splat(11)));
  n = i8x16.add(n, i8x16.gt_s(c, i8x16.splat(24)));
  n = i8x16.add(n, i8x16.gt_s(c, i8x16.splat(37)));
  n = i8x16.add(n, i8x16.gt_s(c, i8x16.splat(52)));
  n = i8x16.add(n, i8x16.gt_s(c, i8x16.splat(69)));
  n = i8x16.add(n, i8x16.gt_s(c, i8x16.splat(88)));
  return i8x16.neg(n);
}

/** Low bytes of 16 f32 lanes to which MAGIC was added. */
// @ts-ignore: decorator
@inline
function roundedBytes(a: v128, b: v128, c: v128, d: v128): v128 {
  const mask = i32x4.splat(255);
  const magic = f32x4.splat(MAGIC);
  const ab = i16x8.narrow_i32x4_u(v128.and(f32x4.add(a, magic), mask), v128.and(f32x4.add(b, magic), mask));
  const cd = i16x8.narrow_i32x4_u(v128.and(f32x4.add(c, magic), mask), v128.and(f32x4.add(d, magic), mask));
  return i8x16.narrow_i16x8_u(ab, cd);
}

// @ts-ignore: decorator
@inline
function storeNeighbours(lower: v128, upper: v128, at: usize): void {
  const below = f32x4.convert_i32x4_s(lower);
  const above = f32x4.convert_i32x4_s(upper);
  v128.store(at, f32x4.mul(f32x4.add(below, above), f32x4.splat(0.5)), MIDDLES - VALUES);
  v128.store(at, below, BELOW - VALUES);
  v128.store(at, v128.xor(below, above), CHANGES - VALUES);
}

/** Fills MIDDLES, BELOW and CHANGES for `scale` · VALUES, whose magnitudes are at most 127. */
function findNeighbours(scale: v128): void {
  for (let p = VALUES, end = VALUES + 512; p < end; p += 64) {
    const c = roundedBytes(
      f32x4.mul(scale, v128.load(p)), f32x4.mul(scale, v128.load(p, 16)),
      f32x4.mul(scale, v128.load(p, 32)), f32x4.mul(scale, v128.load(p, 48)),
    );
    const n = middleOf(c);
    const lower = i8x16.swizzle(book(), n);
    const upper = i8x16.swizzle(upperBook(), n);
    const l0 = i16x8.extend_low_i8x16_s(lower);
    const u0 = i16x8.extend_low_i8x16_s(upper);
    storeNeighbours(i32x4.extend_low_i16x8_s(l0), i32x4.extend_low_i16x8_s(u0), p);
    storeNeighbours(i32x4.extend_high_i16x8_s(l0), i32x4.extend_high_i16x8_s(u0), p + 16);
    const l1 = i16x8.extend_high_i8x16_s(lower);
    const u1 = i16x8.extend_high_i8x16_s(upper);
    storeNeighbours(i32x4.extend_low_i16x8_s(l1), i32x4.extend_low_i16x8_s(u1), p + 32);
    storeNeighbours(i32x4.extend_high_i16x8_s(l1), i32x4.extend_high_i16x8_s(u1), p + 48);
  }
}

/** Scales of the four blocks that stand in VALUES and WEIGHTS. */
function searchScales(): v128 {
  const m = firstExtreme();
  const first = f32x4.div(f32x4.splat(1), f32x4.div(m, f32x4.splat(127)));
  let id0 = first;
  let id1 = first;
  let scale = f32x4.splat(0);
  let best = scale;
  findNeighbours(first);
  // The last candidate is tried twice, which changes nothing: it can only be taken again with the same result.
  for (let k = -9; k <= 7; k += 2) {
    let A0 = f32x4.splat(0);
    let A1 = A0;
    let B0 = A0;
    let B1 = A0;
    for (let p = VALUES, end = VALUES + 512; p < end; p += 32) {
      let x = v128.load(p);
      let w = v128.load(p, WEIGHTS - VALUES);
      let t = v128.load(p, MIDDLES - VALUES);
      let below = v128.load(p, BELOW - VALUES);
      let change = v128.load(p, CHANGES - VALUES);
      let q = v128.xor(below, v128.and(change, f32x4.ge(f32x4.mul(id0, x), t)));
      let wq = f32x4.mul(w, q);
      A0 = f32x4.add(A0, f32x4.mul(wq, x));
      B0 = f32x4.add(B0, f32x4.mul(wq, q));
      q = v128.xor(below, v128.and(change, f32x4.ge(f32x4.mul(id1, x), t)));
      wq = f32x4.mul(w, q);
      A1 = f32x4.add(A1, f32x4.mul(wq, x));
      B1 = f32x4.add(B1, f32x4.mul(wq, q));
      x = v128.load(p, 16);
      w = v128.load(p, WEIGHTS - VALUES + 16);
      t = v128.load(p, MIDDLES - VALUES + 16);
      below = v128.load(p, BELOW - VALUES + 16);
      change = v128.load(p, CHANGES - VALUES + 16);
      q = v128.xor(below, v128.and(change, f32x4.ge(f32x4.mul(id0, x), t)));
      wq = f32x4.mul(w, q);
      A0 = f32x4.add(A0, f32x4.mul(wq, x));
      B0 = f32x4.add(B0, f32x4.mul(wq, q));
      q = v128.xor(below, v128.and(change, f32x4.ge(f32x4.mul(id1, x), t)));
      wq = f32x4.mul(w, q);
      A1 = f32x4.add(A1, f32x4.mul(wq, x));
      B1 = f32x4.add(B1, f32x4.mul(wq, q));
    }
    const some = f32x4.gt(B0, f32x4.splat(0));
    if (k == -9) {
      scale = v128.and(f32x4.div(A0, B0), some);
      best = f32x4.mul(scale, A0);
      findNeighbours(f32x4.div(f32x4.splat(-127), m));
    } else {
      let take = v128.and(some, f32x4.gt(f32x4.mul(A0, A0), f32x4.mul(best, B0)));
      scale = v128.bitselect(f32x4.div(A0, B0), scale, take);
      best = v128.bitselect(f32x4.mul(scale, A0), best, take);
      take = v128.and(f32x4.gt(B1, f32x4.splat(0)), f32x4.gt(f32x4.mul(A1, A1), f32x4.mul(best, B1)));
      scale = v128.bitselect(f32x4.div(A1, B1), scale, take);
      best = v128.bitselect(f32x4.mul(scale, A1), best, take);
    }
    id0 = f32x4.div(f32x4.splat(<f32>(k + 2 - 127)), m);
    id1 = f32x4.div(f32x4.splat(<f32>((k == 5 ? k + 2 : k + 3) - 127)), m);
  }
  return v128.andnot(scale, f32x4.lt(f32x4.abs(m), f32x4.splat(SMALLEST)));
}

// @ts-ignore: decorator
@inline
function limited(x: v128, id: v128): v128 {
  return f32x4.pmax(f32x4.splat(-127), f32x4.pmin(f32x4.splat(127), f32x4.mul(id, x)));
}

/** Number of the nearest value of the book of 16 values. */
// @ts-ignore: decorator
@inline
function nearest(p: usize, id: v128): v128 {
  const a = limited(v128.load(p), id);
  const b = limited(v128.load(p, 16), id);
  const c = limited(v128.load(p, 32), id);
  const d = limited(v128.load(p, 48), id);
  const n = middleOf(roundedBytes(a, b, c, d));
  // Twice the middle, as 16-bit integers and then as floats.
  const lower = i8x16.swizzle(book(), n);
  const upper = i8x16.swizzle(upperBook(), n);
  const low = i16x8.add(i16x8.extend_low_i8x16_s(lower), i16x8.extend_low_i8x16_s(upper));
  const high = i16x8.add(i16x8.extend_high_i8x16_s(lower), i16x8.extend_high_i8x16_s(upper));
  const ab = i16x8.narrow_i32x4_s(
    f32x4.ge(f32x4.add(a, a), f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low))),
    f32x4.ge(f32x4.add(b, b), f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low))),
  );
  const cd = i16x8.narrow_i32x4_s(
    f32x4.ge(f32x4.add(c, c), f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high))),
    f32x4.ge(f32x4.add(d, d), f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high))),
  );
  return i8x16.sub(n, i8x16.narrow_i16x8_s(ab, cd));
}

/** Nibbles of 32 values. */
// @ts-ignore: decorator
@inline
function storeIndices(p: usize, id: v128, target: usize): void {
  v128.store(target, v128.or(nearest(p, id), i16x8.shl(nearest(p + 64, id), 4)));
}

/** 1 / d, or 0 where d is 0. */
// @ts-ignore: decorator
@inline
function reciprocal(d: v128): v128 {
  return v128.andnot(f32x4.div(f32x4.splat(1), d), f32x4.eq(d, f32x4.splat(0)));
}

// @ts-ignore: decorator
@inline
function allFinite(x: v128): bool {
  return i32x4.all_true(f32x4.eq(f32x4.sub(x, x), f32x4.splat(0)));
}

/** Weights without importance: x². */
// @ts-ignore: decorator
@inline
function squares(): void {
  for (let p = VALUES, end = VALUES + 512; p < end; p += 16) {
    const x = v128.load(p);
    v128.store(p, f32x4.mul(x, x), WEIGHTS - VALUES);
  }
}

/** σ² of four single blocks, from VALUES. */
// @ts-ignore: decorator
@inline
function ownSigmas(): v128 {
  let sum = f32x4.splat(0);
  for (let p = VALUES, end = VALUES + 512; p < end; p += 16) {
    const x = v128.load(p);
    sum = f32x4.add(sum, f32x4.mul(x, x));
  }
  return f32x4.mul(sum, f32x4.splat(0.0625));
}

export function searchIq4Nl(values: usize, blocks: i32, perRow: i32, importance: usize, _sigmas: usize, target: usize, list: usize): i32 {
  let listed = 0;
  for (let block = 0; block < blocks; block += 4) {
    const a: usize = block;
    const b = blockAt(block + 1, blocks);
    const c = blockAt(block + 2, blocks);
    const d = blockAt(block + 3, blocks);
    const pa = values + (a << 7);
    const pb = values + (b << 7);
    const pc = values + (c << 7);
    const pd = values + (d << 7);
    transpose(pa, pb, pc, pd, VALUES);
    if (importance) {
      weigh(
        pa, pb, pc, pd,
        importance + ((a % <u32>perRow) << 7), importance + ((b % <u32>perRow) << 7),
        importance + ((c % <u32>perRow) << 7), importance + ((d % <u32>perRow) << 7),
        ownSigmas(),
      );
    } else {
      squares();
    }
    const scale = searchScales();
    const id = reciprocal(scale);
    // A scale that is not finite, or whose reciprocal is not, gives codes that hang on x86's conversions.
    if (!allFinite(scale) || !allFinite(id)) {
      store<i32>(list + (<usize>listed << 2), block);
      listed++;
      continue;
    }
    const halves = halfLanes(scale);
    store<u16>(target + a * 18, i32x4.extract_lane(halves, 0));
    storeIndices(pa, lane(id, 0), target + a * 18 + 2);
    store<u16>(target + b * 18, i32x4.extract_lane(halves, 1));
    storeIndices(pb, lane(id, 1), target + b * 18 + 2);
    store<u16>(target + c * 18, i32x4.extract_lane(halves, 2));
    storeIndices(pc, lane(id, 2), target + c * 18 + 2);
    store<u16>(target + d * 18, i32x4.extract_lane(halves, 3));
    storeIndices(pd, lane(id, 3), target + d * 18 + 2);
  }
  return listed;
}

/** The first scale of largest magnitude of two times four. */
function largestScale(s0: v128, s1: v128): f32 {
  let largest: f32 = 0;
  let signed: f32 = 0;
  v128.store(VALUES, s0);
  v128.store(VALUES, s1, 16);
  for (let p = VALUES, end = VALUES + 32; p < end; p += 4) {
    const s = load<f32>(p);
    if (abs(s) > largest) {
      largest = abs(s);
      signed = s;
    }
  }
  return signed;
}

/** Six-bit codes of four scales, −32 … 31, as floats. */
// @ts-ignore: decorator
@inline
function scaleCodes(s: v128, id: f32): v128 {
  const magic = f32x4.splat(MAGIC);
  const v = f32x4.pmin(f32x4.splat(31), f32x4.pmax(f32x4.splat(-32), f32x4.mul(f32x4.splat(id), s)));
  return f32x4.sub(f32x4.add(v, magic), magic);
}

// @ts-ignore: decorator
@inline
function storeFour(values: usize, id: v128, target: usize): void {
  storeIndices(values, lane(id, 0), target);
  storeIndices(values + 128, lane(id, 1), target + 16);
  storeIndices(values + 256, lane(id, 2), target + 32);
  storeIndices(values + 384, lane(id, 3), target + 48);
}

// @ts-ignore: decorator
@inline
function searchFour(p: usize, importance: usize, sigma2: v128): v128 {
  transpose(p, p + 128, p + 256, p + 384, VALUES);
  if (importance) weigh(p, p + 128, p + 256, p + 384, importance, importance + 128, importance + 256, importance + 384, sigma2);
  else squares();
  return searchScales();
}

export function searchIq4Xs(values: usize, blocks: i32, perRow: i32, importance: usize, _sigmas: usize, target: usize, list: usize): i32 {
  let listed = 0;
  let sums = f32x4.splat(0);
  for (let block = 0; block < blocks; block++, target += 136) {
    const p = values + (<usize>block << 10);
    let weights = importance;
    if (importance) {
      weights += <usize>(<u32>block % <u32>perRow) << 10;
      // σ² of four blocks at once, each in its lane.
      if ((block & 3) == 0) {
        sums = addSquares(
          p, values + (blockAt(block + 1, blocks) << 10),
          values + (blockAt(block + 2, blocks) << 10), values + (blockAt(block + 3, blocks) << 10),
          256, f32x4.splat(0),
        );
        sums = f32x4.mul(sums, f32x4.splat(0.0078125));
      } else {
        sums = v128.shuffle<i32>(sums, sums, 1, 2, 3, 0);
      }
    }
    const s0 = searchFour(p, weights, lane(sums, 0));
    const s1 = searchFour(p + 512, weights ? weights + 512 : 0, lane(sums, 0));
    const d = largestScale(s0, s1) * -0.03125;
    const id: f32 = d == 0 ? 0 : 1 / d;
    const l0 = scaleCodes(s0, id);
    const l1 = scaleCodes(s1, id);
    const id0 = reciprocal(f32x4.mul(f32x4.splat(d), l0));
    const id1 = reciprocal(f32x4.mul(f32x4.splat(d), l1));
    const all = f32x4.add(f32x4.add(s0, s1), f32x4.splat(id));
    if (!allFinite(all) || !allFinite(id0) || !allFinite(id1)) {
      store<i32>(list + (<usize>listed << 2), block);
      listed++;
      continue;
    }
    const middle = f32x4.splat(32 + 12582912);
    let codes = i16x8.narrow_i32x4_u(
      v128.and(f32x4.add(l0, middle), i32x4.splat(63)),
      v128.and(f32x4.add(l1, middle), i32x4.splat(63)),
    );
    codes = i8x16.narrow_i16x8_u(codes, codes);
    const each = i64x2.extract_lane(codes, 0);
    let low: i32 = 0;
    let high: i32 = 0;
    for (let i = 0; i < 8; i++) {
      const s = <i32>(each >>> (8 * i)) & 63;
      low |= (s & 15) << (4 * i);
      high |= (s >> 4) << (2 * i);
    }
    store<i32>(target, i32x4.extract_lane(halfLanes(f32x4.splat(d)), 0) | (high << 16));
    store<i32>(target, low, 4);
    storeFour(p, id0, target + 8);
    storeFour(p + 512, id1, target + 72);
  }
  return listed;
}
