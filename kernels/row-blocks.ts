/**
 * Blocks of contiguous values, one code a byte, for the three rules (reference: src/kernels/reference/block-rules.ts).
 *
 * Approach: four blocks at once. Their scans run side by side, the four results are transposed into one vector, so that
 * scales and zero points of four blocks cost one division, then each block is coded with its own parameters.
 * Non-finite values or reciprocals (and scale 0 under 'gather') flag the four blocks for the reference.
 */

import { asymmetricScale, extremeOf, reciprocalOf, symmetricScale, zeroPoint } from './rules';
import { allFinite, roundAway, roundToHalf, roundUp } from './vectors';

// @ts-ignore: decorator
@inline
const NBITS = 0;
// @ts-ignore: decorator
@inline
const QDQ = 1;
// @ts-ignore: decorator
@inline
const GATHER = 2;

/** Integer f32 lanes (|y| < 2^22) to i32 modulo `mask` + 1. */
// @ts-ignore: decorator
@inline
function toCode(y: v128, mask: v128): v128 {
  return v128.and(f32x4.add(y, f32x4.splat(12582912)), mask);
}

// @ts-ignore: decorator
@inline
function codeOf(w: v128, r: v128, s: v128, z: v128, low: v128, high: v128, mask: v128, rule: i32, symmetric: bool, half: bool): v128 {
  let y: v128;
  if (rule == NBITS) {
    const v = f32x4.add(f32x4.mul(w, r), z);
    y = roundUp(f32x4.pmin(high, f32x4.pmax(low, v)));
  } else if (rule == QDQ) {
    const v = f32x4.pmin(high, f32x4.pmax(low, f32x4.mul(w, r)));
    y = f32x4.add(roundAway(v), z);
  } else {
    let v = f32x4.div(w, s);
    if (half) v = roundToHalf(v);
    if (!symmetric) {
      v = f32x4.add(v, z);
      if (half) v = roundToHalf(v);
    }
    y = f32x4.pmin(high, f32x4.pmax(low, f32x4.nearest(v)));
    if (symmetric) y = f32x4.add(y, z);
  }
  return toCode(y, mask);
}

// @ts-ignore: decorator
@inline
function encodeBlock(from: usize, to: usize, count: i32, r: v128, s: v128, z: v128, low: v128, high: v128, mask: v128, rule: i32, symmetric: bool, half: bool): void {
  const end = from + (<usize>count << 2);
  for (; from < end; from += 64, to += 16) {
    const a = codeOf(v128.load(from), r, s, z, low, high, mask, rule, symmetric, half);
    const b = codeOf(v128.load(from, 16), r, s, z, low, high, mask, rule, symmetric, half);
    const c = codeOf(v128.load(from, 32), r, s, z, low, high, mask, rule, symmetric, half);
    const d = codeOf(v128.load(from, 48), r, s, z, low, high, mask, rule, symmetric, half);
    v128.store(to, i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_u(a, b), i16x8.narrow_i32x4_u(c, d)));
  }
}

function encodeWith(from: usize, to: usize, count: i32, r: v128, s: v128, z: v128, low: v128, high: v128, mask: v128, rule: i32, symmetric: i32, half: i32): void {
  if (rule == NBITS) encodeBlock(from, to, count, r, s, z, low, high, mask, NBITS, false, false);
  else if (rule == QDQ) encodeBlock(from, to, count, r, s, z, low, high, mask, QDQ, false, false);
  else if (half) {
    if (symmetric) encodeBlock(from, to, count, r, s, z, low, high, mask, GATHER, true, true);
    else encodeBlock(from, to, count, r, s, z, low, high, mask, GATHER, false, true);
  } else if (symmetric) encodeBlock(from, to, count, r, s, z, low, high, mask, GATHER, true, false);
  else encodeBlock(from, to, count, r, s, z, low, high, mask, GATHER, false, false);
}

/** [min of a, min of b, min of c, min of d]. */
// @ts-ignore: decorator
@inline
function foldMin(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.pmin(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.pmin(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.pmin(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}

// @ts-ignore: decorator
@inline
function foldMax(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.pmax(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.pmax(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.pmax(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}

// @ts-ignore: decorator
@inline
function lane(x: v128, k: i32): v128 {
  if (k == 0) return v128.shuffle<i32>(x, x, 0, 0, 0, 0);
  if (k == 1) return v128.shuffle<i32>(x, x, 1, 1, 1, 1);
  if (k == 2) return v128.shuffle<i32>(x, x, 2, 2, 2, 2);
  return v128.shuffle<i32>(x, x, 3, 3, 3, 3);
}

/**
 * `blocks` (a multiple of 4) blocks of `size` (a multiple of 16) contiguous floats. `zeros` may be 0 (none).
 * `flags`: one byte for each four blocks. Returns how many were flagged (and not written).
 */
export function rowBlocks(
  values: usize,
  blocks: i32,
  size: i32,
  rule: i32,
  bits: i32,
  symmetric: i32,
  half: i32,
  codes: usize,
  scales: usize,
  zeros: usize,
  flags: usize,
): i32 {
  const bytes = <usize>size << 2;
  const top = f32x4.splat(<f32>((1 << bits) - 1));
  const mid = f32x4.splat(<f32>(1 << (bits - 1)));
  const mask = i32x4.splat((1 << bits) - 1);
  const fullHalf = rule == GATHER && half != 0;
  let flagged = 0;
  for (let block = 0; block < blocks; block += 4, values += bytes << 2, codes += size << 2, scales += 16) {
    let n0 = f32x4.splat(Infinity);
    let n1 = n0;
    let n2 = n0;
    let n3 = n0;
    let x0 = f32x4.splat(-Infinity);
    let x1 = x0;
    let x2 = x0;
    let x3 = x0;
    let s0 = f32x4.splat(0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    const b1 = bytes;
    const b2 = bytes * 2;
    const b3 = bytes * 3;
    for (let p = values, end = values + bytes; p < end; p += 16) {
      const a = v128.load(p);
      const b = v128.load(p + b1);
      const c = v128.load(p + b2);
      const d = v128.load(p + b3);
      n0 = f32x4.pmin(n0, a);
      n1 = f32x4.pmin(n1, b);
      n2 = f32x4.pmin(n2, c);
      n3 = f32x4.pmin(n3, d);
      x0 = f32x4.pmax(x0, a);
      x1 = f32x4.pmax(x1, b);
      x2 = f32x4.pmax(x2, c);
      x3 = f32x4.pmax(x3, d);
      s0 = f32x4.add(s0, a);
      s1 = f32x4.add(s1, b);
      s2 = f32x4.add(s2, c);
      s3 = f32x4.add(s3, d);
    }
    const flag = flags + (block >> 2);
    if (!(allFinite(s0) && allFinite(s1) && allFinite(s2) && allFinite(s3))) {
      store<u8>(flag, 1);
      flagged++;
      continue;
    }
    let mn = foldMin(n0, n1, n2, n3);
    let mx = foldMax(x0, x1, x2, x3);
    let s: v128;
    let z: v128;
    if (symmetric) {
      let extreme = extremeOf(mn, mx);
      // In a block of zeros the first one's sign decides the sign of the scale, as in a scan by order.
      const empty = v128.and(f32x4.eq(mn, f32x4.splat(0)), f32x4.eq(mx, f32x4.splat(0)));
      if (v128.any_true(empty)) {
        let first = f32x4.splat(load<f32>(values));
        first = f32x4.replace_lane(first, 1, load<f32>(values + b1));
        first = f32x4.replace_lane(first, 2, load<f32>(values + b2));
        first = f32x4.replace_lane(first, 3, load<f32>(values + b3));
        extreme = v128.bitselect(first, extreme, empty);
      }
      s = symmetricScale(extreme, mid, <bool>half);
      z = rule == QDQ ? f32x4.splat(0) : mid;
    } else {
      mn = f32x4.pmin(f32x4.splat(0), mn);
      mx = f32x4.pmax(f32x4.splat(0), mx);
      if (fullHalf) {
        s = roundToHalf(f32x4.div(roundToHalf(f32x4.sub(mx, mn)), top));
      } else {
        s = asymmetricScale(mn, mx, top);
      }
      if (rule == GATHER) {
        z = f32x4.div(f32x4.neg(mn), s);
        if (half) z = roundToHalf(z);
        z = f32x4.pmin(top, f32x4.pmax(f32x4.splat(0), f32x4.nearest(z)));
      } else {
        z = zeroPoint(mn, s, top);
      }
      if (half) s = roundToHalf(s);
    }
    const r = reciprocalOf(s);
    const zeroScale = rule == GATHER && v128.any_true(f32x4.eq(s, f32x4.splat(0)));
    if (zeroScale || !allFinite(r) || !allFinite(s)) {
      store<u8>(flag, 1);
      flagged++;
      continue;
    }
    v128.store(scales, s);
    if (zeros) {
      const code = toCode(z, mask);
      store<u8>(zeros + block, i32x4.extract_lane(code, 0));
      store<u8>(zeros + block, i32x4.extract_lane(code, 1), 1);
      store<u8>(zeros + block, i32x4.extract_lane(code, 2), 2);
      store<u8>(zeros + block, i32x4.extract_lane(code, 3), 3);
    }
    let low = f32x4.splat(0);
    let high = top;
    if (rule == QDQ) {
      low = symmetric ? f32x4.neg(mid) : f32x4.neg(z);
      high = symmetric ? f32x4.sub(mid, f32x4.splat(1)) : f32x4.sub(top, z);
    } else if (rule == GATHER && symmetric) {
      low = f32x4.neg(mid);
      high = f32x4.sub(mid, f32x4.splat(1));
    }
    encodeWith(values, codes, size, lane(r, 0), lane(s, 0), lane(z, 0), lane(low, 0), lane(high, 0), mask, rule, symmetric, half);
    encodeWith(values + b1, codes + size, size, lane(r, 1), lane(s, 1), lane(z, 1), lane(low, 1), lane(high, 1), mask, rule, symmetric, half);
    encodeWith(values + b2, codes + 2 * size, size, lane(r, 2), lane(s, 2), lane(z, 2), lane(low, 2), lane(high, 2), mask, rule, symmetric, half);
    encodeWith(values + b3, codes + 3 * size, size, lane(r, 3), lane(s, 3), lane(z, 3), lane(low, 3), lane(high, 3), mask, rule, symmetric, half);
  }
  return flagged;
}

// @ts-ignore: decorator
@inline
function qdqCode(p: usize, r: v128, low: v128, high: v128, z: v128, mask: v128): v128 {
  const v = f32x4.pmin(high, f32x4.pmax(low, f32x4.mul(v128.load(p), r)));
  return toCode(f32x4.add(roundAway(v), z), mask);
}

/**
 * QDQ blocks down the columns of a row-major tile, codes row-major one a byte, scales and zeros [block, column]: `blocks`
 * blocks of `size` rows (`lastSize` in the last), groups of four columns, columns ≥ 4. Flags as in nbitsColumnBlocks.
 */
export function qdqColumnBlocks(
  tile: usize,
  columns: i32,
  blocks: i32,
  size: i32,
  lastSize: i32,
  bits: i32,
  symmetric: i32,
  half: i32,
  codes: usize,
  scales: usize,
  zeros: usize,
  flags: usize,
): i32 {
  const rowBytes = <usize>columns << 2;
  const groups = (columns + 3) >> 2;
  const top = f32x4.splat(<f32>((1 << bits) - 1));
  const mid = f32x4.splat(<f32>(1 << (bits - 1)));
  const mask = i32x4.splat((1 << bits) - 1);
  let flagged = 0;
  for (let block = 0; block < blocks; block++) {
    const length = block == blocks - 1 ? lastSize : size;
    const start = <usize>block * <usize>size;
    for (let g = 0; g < groups; g++) {
      const column: usize = min(g << 2, columns - 4);
      const from = tile + start * rowBytes + (column << 2);
      const end = from + <usize>length * rowBytes;
      let mn = f32x4.splat(Infinity);
      let mx = f32x4.splat(-Infinity);
      let sum = f32x4.splat(0);
      for (let p = from; p < end; p += rowBytes) {
        const a = v128.load(p);
        mn = f32x4.pmin(mn, a);
        mx = f32x4.pmax(mx, a);
        sum = f32x4.add(sum, a);
      }
      let s: v128;
      let z: v128;
      let low: v128;
      let high: v128;
      if (symmetric) {
        s = symmetricScale(extremeOf(mn, mx), mid, <bool>half);
        z = f32x4.splat(0);
        low = f32x4.neg(mid);
        high = f32x4.sub(mid, f32x4.splat(1));
      } else {
        mn = f32x4.pmin(f32x4.splat(0), mn);
        mx = f32x4.pmax(f32x4.splat(0), mx);
        s = asymmetricScale(mn, mx, top);
        z = zeroPoint(mn, s, top);
        if (half) s = roundToHalf(s);
        low = f32x4.neg(z);
        high = f32x4.sub(top, z);
      }
      const r = reciprocalOf(s);
      if (!allFinite(sum) || !allFinite(r)) {
        store<u8>(flags + block * groups + g, 1);
        flagged++;
        continue;
      }
      const at = <usize>block * <usize>columns + column;
      v128.store(scales + (at << 2), s);
      if (zeros) {
        const code = toCode(z, mask);
        const narrow = i16x8.narrow_i32x4_u(code, code);
        v128.store_lane<i32>(zeros + at, i8x16.narrow_i16x8_u(narrow, narrow), 0);
      }
      let to = codes + start * <usize>columns + column;
      for (let p = from; p < end; p += rowBytes, to += columns) {
        const code = qdqCode(p, r, low, high, z, mask);
        const narrow = i16x8.narrow_i32x4_u(code, code);
        v128.store_lane<i32>(to, i8x16.narrow_i16x8_u(narrow, narrow), 0);
      }
    }
  }
  return flagged;
}
