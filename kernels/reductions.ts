/**
 * Whole-array reductions. Sums follow the lane order of src/kernels/reference/reductions.ts: element i in lane i mod 4,
 * lanes 0 and 1 in one f64x2, lanes 2 and 3 in another; the caller adds the lanes up.
 *
 * Approach: chunks of 1,024 values that stay in the first cache. A first pass adds the chunk up: a finite sum proves
 * that all its values are finite and the fast loop needs no masks; otherwise the scalar loop decides for each value.
 */

import { allFinite } from './vectors';

// @ts-ignore: decorator
@inline
const CHUNK: usize = 4096;

// @ts-ignore: decorator
@inline
function lanesMin(x: v128): f32 {
  const a = f32x4.pmin(x, v128.shuffle<i32>(x, x, 2, 3, 0, 1));
  return min(f32x4.extract_lane(a, 0), f32x4.extract_lane(a, 1));
}

// @ts-ignore: decorator
@inline
function lanesMax(x: v128): f32 {
  const a = f32x4.pmax(x, v128.shuffle<i32>(x, x, 2, 3, 0, 1));
  return max(f32x4.extract_lane(a, 0), f32x4.extract_lane(a, 1));
}

/** out: f32 min, f32 max, i32 count of non-finite values. */
export function range(values: usize, count: usize, out: usize): void {
  let lowest: f32 = Infinity;
  let highest: f32 = -Infinity;
  let nonFinite: i32 = 0;
  const end = values + (count << 2);
  let p = values;
  while (p < end) {
    const stop = min(p + CHUNK, end);
    const whole = p + ((stop - p) & ~63);
    let q = p;
    let n0 = f32x4.splat(Infinity);
    let n1 = n0;
    let x0 = f32x4.splat(-Infinity);
    let x1 = x0;
    let s0 = f32x4.splat(0);
    let s1 = s0;
    for (; q < whole; q += 64) {
      const a = v128.load(q);
      const b = v128.load(q, 16);
      const c = v128.load(q, 32);
      const d = v128.load(q, 48);
      n0 = f32x4.pmin(f32x4.pmin(n0, a), c);
      n1 = f32x4.pmin(f32x4.pmin(n1, b), d);
      x0 = f32x4.pmax(f32x4.pmax(x0, a), c);
      x1 = f32x4.pmax(f32x4.pmax(x1, b), d);
      s0 = f32x4.add(f32x4.add(s0, a), c);
      s1 = f32x4.add(f32x4.add(s1, b), d);
    }
    if (allFinite(s0) && allFinite(s1)) {
      lowest = min(lowest, lanesMin(f32x4.pmin(n0, n1)));
      highest = max(highest, lanesMax(f32x4.pmax(x0, x1)));
    } else {
      q = p;
    }
    for (; q < stop; q += 4) {
      const x = load<f32>(q);
      if (x - x != 0) {
        nonFinite++;
      } else {
        lowest = min(lowest, x);
        highest = max(highest, x);
      }
    }
    p = stop;
  }
  store<f32>(out, lowest);
  store<f32>(out, highest, 4);
  store<i32>(out, nonFinite, 8);
}

/** Two f32 at `p` as f64. */
// @ts-ignore: decorator
@inline
function two(p: usize): v128 {
  return f64x2.promote_low_f32x4(v128.load64_zero(p));
}

/** Whether both sums are finite. */
// @ts-ignore: decorator
@inline
function sumsFinite(a: v128, b: v128): bool {
  const s = f64x2.add(a, b);
  return i64x2.all_true(f64x2.eq(f64x2.sub(s, s), f64x2.splat(0)));
}

/**
 * Adds to `sums`: f64[16] = four lanes of each power, zeroed by the caller before the first call.
 * `out`: f32 min, f32 max, f32 smallest magnitude but zero, i32 nonFinite, i32 nan, i32 zeros of this call.
 * The lane of the first value is 0, so calls other than the last take a multiple of 4 values.
 */
export function powerSums(values: usize, count: usize, shift: f64, sums: usize, out: usize): void {
  let lowest: f32 = Infinity;
  let highest: f32 = -Infinity;
  let least: f32 = Infinity;
  let nonFinite: i32 = 0;
  let nan: i32 = 0;
  let zeros: i32 = 0;
  const c = f64x2.splat(shift);
  const end = values + (count << 2);
  let p = values;
  while (p < end) {
    const stop = min(p + CHUNK, end);
    const whole = p + ((stop - p) & ~15);
    let n = f32x4.splat(Infinity);
    let x = f32x4.splat(-Infinity);
    let m = f32x4.splat(Infinity);
    let s = f32x4.splat(0);
    let z = i32x4.splat(0);
    for (let q = p; q < whole; q += 16) {
      const a = v128.load(q);
      const zero = f32x4.eq(a, f32x4.splat(0));
      n = f32x4.pmin(n, a);
      x = f32x4.pmax(x, a);
      s = f32x4.add(s, a);
      // All bits set are NaN, which pmin skips.
      m = f32x4.pmin(m, v128.or(f32x4.abs(a), zero));
      z = i32x4.sub(z, zero);
    }
    let q = p;
    if (allFinite(s)) {
      lowest = min(lowest, lanesMin(n));
      highest = max(highest, lanesMax(x));
      least = min(least, lanesMin(m));
      zeros += i32x4.extract_lane(z, 0) + i32x4.extract_lane(z, 1) + i32x4.extract_lane(z, 2) + i32x4.extract_lane(z, 3);
      let a1 = v128.load(sums);
      let b1 = v128.load(sums, 16);
      let a2 = v128.load(sums, 32);
      let b2 = v128.load(sums, 48);
      let a3 = v128.load(sums, 64);
      let b3 = v128.load(sums, 80);
      let a4 = v128.load(sums, 96);
      let b4 = v128.load(sums, 112);
      for (; q < whole; q += 16) {
        const d = f64x2.sub(two(q), c);
        const e = f64x2.sub(two(q + 8), c);
        const d2 = f64x2.mul(d, d);
        const e2 = f64x2.mul(e, e);
        a1 = f64x2.add(a1, d);
        b1 = f64x2.add(b1, e);
        a2 = f64x2.add(a2, d2);
        b2 = f64x2.add(b2, e2);
        a3 = f64x2.add(a3, f64x2.mul(d2, d));
        b3 = f64x2.add(b3, f64x2.mul(e2, e));
        a4 = f64x2.add(a4, f64x2.mul(d2, d2));
        b4 = f64x2.add(b4, f64x2.mul(e2, e2));
      }
      v128.store(sums, a1);
      v128.store(sums, b1, 16);
      v128.store(sums, a2, 32);
      v128.store(sums, b2, 48);
      v128.store(sums, a3, 64);
      v128.store(sums, b3, 80);
      v128.store(sums, a4, 96);
      v128.store(sums, b4, 112);
    }
    for (; q < stop; q += 4) {
      const v = load<f32>(q);
      if (v - v != 0) {
        nonFinite++;
        if (v != v) nan++;
        continue;
      }
      lowest = min(lowest, v);
      highest = max(highest, v);
      if (v == 0) zeros++;
      else least = min(least, abs(v));
      const lane = sums + (((q - values) >> 2) & 3) * 8;
      const d = <f64>v - shift;
      const d2 = d * d;
      store<f64>(lane, load<f64>(lane) + d);
      store<f64>(lane, load<f64>(lane, 32) + d2, 32);
      store<f64>(lane, load<f64>(lane, 64) + d2 * d, 64);
      store<f64>(lane, load<f64>(lane, 96) + d2 * d2, 96);
    }
    p = stop;
  }
  store<f32>(out, lowest);
  store<f32>(out, highest, 4);
  store<f32>(out, least, 8);
  store<i32>(out, nonFinite, 12);
  store<i32>(out, nan, 16);
  store<i32>(out, zeros, 20);
}

/**
 * Adds to `sums` (as above: error², a², b², a·b) and to `out`: f64 maxAbs (updated), i32 count of this call.
 * The squared error of finite f32 values is far below the largest f64, so a finite sum of it proves that a chunk held
 * finite values only; otherwise the chunk's sums are dropped and the scalar loop decides for each pair.
 */
export function errorSums(a: usize, b: usize, count: usize, sums: usize, out: usize): void {
  let largest = load<f64>(out);
  let pairs: i32 = 0;
  const end = a + (count << 2);
  const other = b - a;
  let p = a;
  while (p < end) {
    const stop = min(p + CHUNK, end);
    const whole = p + ((stop - p) & ~15);
    let m0 = f64x2.splat(largest);
    let m1 = m0;
    let a1 = v128.load(sums);
    let b1 = v128.load(sums, 16);
    let a2 = v128.load(sums, 32);
    let b2 = v128.load(sums, 48);
    let a3 = v128.load(sums, 64);
    let b3 = v128.load(sums, 80);
    let a4 = v128.load(sums, 96);
    let b4 = v128.load(sums, 112);
    let q = p;
    for (; q < whole; q += 16) {
      const v0 = two(q);
      const w0 = two(q + other);
      const e0 = f64x2.sub(v0, w0);
      m0 = f64x2.pmax(m0, f64x2.abs(e0));
      a1 = f64x2.add(a1, f64x2.mul(e0, e0));
      a2 = f64x2.add(a2, f64x2.mul(v0, v0));
      a3 = f64x2.add(a3, f64x2.mul(w0, w0));
      a4 = f64x2.add(a4, f64x2.mul(v0, w0));
      const v1 = two(q + 8);
      const w1 = two(q + other + 8);
      const e1 = f64x2.sub(v1, w1);
      m1 = f64x2.pmax(m1, f64x2.abs(e1));
      b1 = f64x2.add(b1, f64x2.mul(e1, e1));
      b2 = f64x2.add(b2, f64x2.mul(v1, v1));
      b3 = f64x2.add(b3, f64x2.mul(w1, w1));
      b4 = f64x2.add(b4, f64x2.mul(v1, w1));
    }
    if (sumsFinite(a1, b1)) {
      pairs += <i32>((whole - p) >> 2);
      v128.store(sums, a1);
      v128.store(sums, b1, 16);
      v128.store(sums, a2, 32);
      v128.store(sums, b2, 48);
      v128.store(sums, a3, 64);
      v128.store(sums, b3, 80);
      v128.store(sums, a4, 96);
      v128.store(sums, b4, 112);
      m0 = f64x2.pmax(m0, m1);
      largest = max(f64x2.extract_lane(m0, 0), f64x2.extract_lane(m0, 1));
    } else {
      q = p;
    }
    for (; q < stop; q += 4) {
      const x = <f64>load<f32>(q);
      const y = <f64>load<f32>(q + other);
      if (x - x != 0 || y - y != 0) continue;
      pairs++;
      const e = x - y;
      largest = max(largest, abs(e));
      const lane = sums + (((q - a) >> 2) & 3) * 8;
      store<f64>(lane, load<f64>(lane) + e * e);
      store<f64>(lane, load<f64>(lane, 32) + x * x, 32);
      store<f64>(lane, load<f64>(lane, 64) + y * y, 64);
      store<f64>(lane, load<f64>(lane, 96) + x * y, 96);
    }
    p = stop;
  }
  store<f64>(out, largest);
  store<i32>(out, pairs, 8);
}

/**
 * Bins of four values, as byte offsets into a table of u32: `top` (the entry past the last bin) where outside or NaN.
 * Adding `origin` = 2^23 − first leaves the bin in the low bits of the significand; whatever is outside, NaN among it, gives
 * other high bits, hence a huge number once those of 2^23 are taken away.
 */
// @ts-ignore: decorator
@inline
function binOffsets(x: v128, scale: v128, origin: v128, top: v128): v128 {
  const bits = f32x4.add(f32x4.floor(f32x4.mul(x, scale)), origin);
  return i32x4.shl(i32x4.min_u(i32x4.sub(bits, i32x4.splat(0x4b000000)), top), 2);
}

// @ts-ignore: decorator
@inline
function countOne(at: usize): void {
  store<u32>(at, load<u32>(at) + 1);
}

// @ts-ignore: decorator
@inline
function countFour(at: v128, counts: usize, other: usize): void {
  const low = i64x2.extract_lane(at, 0);
  const high = i64x2.extract_lane(at, 1);
  countOne(counts + <usize><u32>low);
  countOne(other + <usize>(<u64>low >> 32));
  countOne(counts + <usize><u32>high);
  countOne(other + <usize>(<u64>high >> 32));
}

/**
 * Adds to two tables of `bins` + 1 u32 counts each (neighbours go to different tables, so that equal bins do not wait for
 * each other's store); the last entry takes what lies outside. `perUnit` is a power of two of at least 1 (scaling up is exact
 * for every f32), |first| + bins at most 2^22.
 */
export function binCounts(values: usize, count: usize, perUnit: f32, first: f32, bins: i32, counts: usize): void {
  const scale = f32x4.splat(perUnit);
  const origin = f32x4.splat(8388608 - first);
  const top = i32x4.splat(bins);
  const other = counts + ((<usize>bins + 1) << 2);
  const end = values + (count << 2);
  let p = values;
  for (const stop = values + ((count & ~7) << 2); p < stop; p += 32) {
    const a = binOffsets(v128.load(p), scale, origin, top);
    const b = binOffsets(v128.load(p, 16), scale, origin, top);
    countFour(a, counts, other);
    countFour(b, counts, other);
  }
  for (; p < end; p += 4) {
    const at = binOffsets(v128.load32_splat(p), scale, origin, top);
    countOne(counts + <usize>i32x4.extract_lane(at, 0));
  }
}

/** Folds finite values of the columns of a row-major tile into `lows` and `highs`; returns the non-finite count. */
export function columnRange(values: usize, rows: i32, columns: i32, lows: usize, highs: usize): i32 {
  const rowBytes = <usize>columns << 2;
  const wide: usize = rowBytes & ~31;
  let nonFinite = i32x4.splat(0);
  let scalar = 0;
  for (let top = 0; top < rows; top += 128) {
    const from = values + <usize>top * rowBytes;
    const end = from + <usize>min(128, rows - top) * rowBytes;
    let c: usize = 0;
    for (; c < wide; c += 32) {
      let n0 = v128.load(lows + c);
      let n1 = v128.load(lows + c, 16);
      let x0 = v128.load(highs + c);
      let x1 = v128.load(highs + c, 16);
      for (let p = from + c; p < end; p += rowBytes) {
        const a = v128.load(p);
        const b = v128.load(p, 16);
        const fa = f32x4.eq(f32x4.sub(a, a), f32x4.splat(0));
        const fb = f32x4.eq(f32x4.sub(b, b), f32x4.splat(0));
        n0 = f32x4.pmin(n0, v128.bitselect(a, f32x4.splat(Infinity), fa));
        n1 = f32x4.pmin(n1, v128.bitselect(b, f32x4.splat(Infinity), fb));
        x0 = f32x4.pmax(x0, v128.bitselect(a, f32x4.splat(-Infinity), fa));
        x1 = f32x4.pmax(x1, v128.bitselect(b, f32x4.splat(-Infinity), fb));
        nonFinite = i32x4.sub(nonFinite, i32x4.add(i32x4.splat(2), i32x4.add(fa, fb)));
      }
      v128.store(lows + c, n0);
      v128.store(lows + c, n1, 16);
      v128.store(highs + c, x0);
      v128.store(highs + c, x1, 16);
    }
    for (; c < rowBytes; c += 4) {
      let n = load<f32>(lows + c);
      let x = load<f32>(highs + c);
      for (let p = from + c; p < end; p += rowBytes) {
        const a = load<f32>(p);
        if (a - a != 0) {
          scalar++;
        } else {
          if (a < n) n = a;
          if (a > x) x = a;
        }
      }
      store<f32>(lows + c, n);
      store<f32>(highs + c, x);
    }
  }
  const n = nonFinite;
  return scalar - (i32x4.extract_lane(n, 0) + i32x4.extract_lane(n, 1) + i32x4.extract_lane(n, 2) + i32x4.extract_lane(n, 3));
}
