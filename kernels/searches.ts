/**
 * SYM and ASYM (src/kernels/ggml/searches.ts) over lanes: eight groups of values at once, one in each lane of two vectors, so that
 * every group's sums run in its own order while the two vectors hide each other's latency. Callers inline them with constants.
 *
 * A frame holds the groups' elements: element i of groups 0–3 at 32·i, of groups 4–7 at 32·i + 16, in up to 32 elements for each
 * of the planes X (values), W (weights) and L (scratch). Results follow in RESULT: one f32 for each group, in order.
 *
 * Exactness. Codes are f32 integers. `f32x4.nearest` equals ggml's rounding below 2^22; groups that might leave that range (reciprocals
 * of subnormal ranges, ranges that overflow) are reported as irregular and left to the definition. A product with a reciprocal
 * is monotone in x, so bounds of the largest values hold for all: where they show that no code leaves its range, clamps are left out.
 * Codes of an accepted fit are not kept: its reciprocal and minimum are, which give them again.
 */

// @ts-ignore: decorator
@inline
export const X: usize = 0;
// @ts-ignore: decorator
@inline
export const W: usize = 1024;
// @ts-ignore: decorator
@inline
export const L: usize = 2048;
// @ts-ignore: decorator
@inline
export const RESULT: usize = 3072;
/** Eight f32 each. */
// @ts-ignore: decorator
@inline
export const SCALE: usize = 3072;
/** −minimum, ≥ 0. */
// @ts-ignore: decorator
@inline
export const OFFSET: usize = 3104;
/** What gave the codes: l = rint(INVERSE · (x − BASE)). INVERSE is 0 where all codes are 0. */
// @ts-ignore: decorator
@inline
export const INVERSE: usize = 3136;
// @ts-ignore: decorator
@inline
export const BASE: usize = 3168;
// @ts-ignore: decorator
@inline
export const FRAME_BYTES: i32 = 3200;

// @ts-ignore: decorator
@inline
function transposeFour(from: usize, stride: usize, to: usize): void {
  const a = v128.load(from);
  const b = v128.load(from + stride);
  const c = v128.load(from + 2 * stride);
  const d = v128.load(from + 3 * stride);
  const ab0 = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
  const cd0 = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  const ab1 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
  const cd1 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i64>(ab0, cd0, 0, 2));
  v128.store(to, v128.shuffle<i64>(ab0, cd0, 1, 3), 32);
  v128.store(to, v128.shuffle<i64>(ab1, cd1, 0, 2), 64);
  v128.store(to, v128.shuffle<i64>(ab1, cd1, 1, 3), 96);
}

/** Eight groups of `n` contiguous f32, `stride` bytes apart, to a plane: [n][8]. */
export function toLanes(from: usize, stride: usize, n: i32, plane: usize): void {
  const end = plane + (<usize>n << 5);
  for (; plane < end; plane += 128, from += 16) {
    transposeFour(from, stride, plane);
    transposeFour(from + 4 * stride, stride, plane + 16);
  }
}

// @ts-ignore: decorator
@inline
function upTo(levels: v128, code: v128, clamped: bool): v128 {
  return clamped ? f32x4.pmin(levels, code) : code;
}

// @ts-ignore: decorator
@inline
function codeAt(x: v128, min: v128, inverse: v128, levels: v128, clamped: bool): v128 {
  const code = f32x4.nearest(f32x4.mul(inverse, f32x4.sub(x, min)));
  return upTo(levels, f32x4.pmax(f32x4.splat(0), code), clamped);
}

// @ts-ignore: decorator
@inline
function weightedError(x: v128, w: v128, l: v128, scale: v128, min: v128, absolute: bool): v128 {
  const e = f32x4.sub(f32x4.add(f32x4.mul(scale, l), min), x);
  return f32x4.mul(w, absolute ? f32x4.abs(e) : f32x4.mul(e, e));
}

/** Lanes whose codes, at any reciprocal up to top / range, stay far below 2^22. */
// @ts-ignore: decorator
@inline
function regular(lowest: v128, min: v128, range: v128, top: f32): v128 {
  const q = f32x4.div(f32x4.splat(top), range);
  const reach = f32x4.mul(q, f32x4.abs(f32x4.sub(lowest, min)));
  return v128.and(f32x4.gt(q, f32x4.splat(0)), f32x4.lt(reach, f32x4.splat(2097152)));
}

// @ts-ignore: decorator
@inline
function accumulate(
  frame: usize,
  end: usize,
  inverse0: v128,
  inverse1: v128,
  min0: v128,
  min1: v128,
  levels: v128,
  clamped: bool,
): void {
  let l0 = f32x4.splat(0);
  let l1 = l0;
  let q0 = l0;
  let q1 = l0;
  let p0 = l0;
  let p1 = l0;
  for (let p = frame; p < end; p += 64) {
    let x0 = v128.load(p, X);
    let x1 = v128.load(p, X + 16);
    let c0 = codeAt(x0, min0, inverse0, levels, clamped);
    let c1 = codeAt(x1, min1, inverse1, levels, clamped);
    v128.store(p, c0, L);
    v128.store(p, c1, L + 16);
    let t0 = f32x4.mul(v128.load(p, W), c0);
    let t1 = f32x4.mul(v128.load(p, W + 16), c1);
    l0 = f32x4.add(l0, t0);
    l1 = f32x4.add(l1, t1);
    q0 = f32x4.add(q0, f32x4.mul(t0, c0));
    q1 = f32x4.add(q1, f32x4.mul(t1, c1));
    p0 = f32x4.add(p0, f32x4.mul(t0, x0));
    p1 = f32x4.add(p1, f32x4.mul(t1, x1));
    x0 = v128.load(p, X + 32);
    x1 = v128.load(p, X + 48);
    c0 = codeAt(x0, min0, inverse0, levels, clamped);
    c1 = codeAt(x1, min1, inverse1, levels, clamped);
    v128.store(p, c0, L + 32);
    v128.store(p, c1, L + 48);
    t0 = f32x4.mul(v128.load(p, W + 32), c0);
    t1 = f32x4.mul(v128.load(p, W + 48), c1);
    l0 = f32x4.add(l0, t0);
    l1 = f32x4.add(l1, t1);
    q0 = f32x4.add(q0, f32x4.mul(t0, c0));
    q1 = f32x4.add(q1, f32x4.mul(t1, c1));
    p0 = f32x4.add(p0, f32x4.mul(t0, x0));
    p1 = f32x4.add(p1, f32x4.mul(t1, x1));
  }
  // Sums leave through the results' room, which is free until the end.
  v128.store(frame, l0, RESULT);
  v128.store(frame, l1, RESULT + 16);
  v128.store(frame, q0, RESULT + 32);
  v128.store(frame, q1, RESULT + 48);
  v128.store(frame, p0, RESULT + 64);
  v128.store(frame, p1, RESULT + 80);
}

// @ts-ignore: decorator
@inline
function fitScale(sumW: v128, sumX: v128, l: v128, q: v128, p: v128, d: v128): v128 {
  return f32x4.div(f32x4.sub(f32x4.mul(sumW, p), f32x4.mul(sumX, l)), d);
}

// @ts-ignore: decorator
@inline
function fitMin(sumW: v128, sumX: v128, l: v128, q: v128, p: v128, d: v128): v128 {
  return f32x4.div(f32x4.sub(f32x4.mul(q, sumX), f32x4.mul(l, p)), d);
}

// Functions of their own: the loop of the search keeps too much in registers for them to be inlined.
function accumulateFree(frame: usize, end: usize, i0: v128, i1: v128, min0: v128, min1: v128, levels: v128): void {
  accumulate(frame, end, i0, i1, min0, min1, levels, false);
}

function accumulateClamped(frame: usize, end: usize, i0: v128, i1: v128, min0: v128, min1: v128, levels: v128): void {
  accumulate(frame, end, i0, i1, min0, min1, levels, true);
}

/** Σ w·e of one fit; leaves it in RESULT. */
// @ts-ignore: decorator
@inline
function errorSums(frame: usize, end: usize, s0: v128, s1: v128, m0: v128, m1: v128, absolute: bool): void {
  let e0 = f32x4.splat(0);
  let e1 = e0;
  for (let p = frame; p < end; p += 64) {
    e0 = f32x4.add(e0, weightedError(v128.load(p, X), v128.load(p, W), v128.load(p, L), s0, m0, absolute));
    e1 = f32x4.add(
      e1,
      weightedError(v128.load(p, X + 16), v128.load(p, W + 16), v128.load(p, L + 16), s1, m1, absolute),
    );
    e0 = f32x4.add(
      e0,
      weightedError(v128.load(p, X + 32), v128.load(p, W + 32), v128.load(p, L + 32), s0, m0, absolute),
    );
    e1 = f32x4.add(
      e1,
      weightedError(v128.load(p, X + 48), v128.load(p, W + 48), v128.load(p, L + 48), s1, m1, absolute),
    );
  }
  v128.store(frame, e0, RESULT);
  v128.store(frame, e1, RESULT + 16);
}

function absoluteErrors(frame: usize, end: usize, s0: v128, s1: v128, m0: v128, m1: v128): void {
  errorSums(frame, end, s0, s1, m0, m1, true);
}

function squaredErrors(frame: usize, end: usize, s0: v128, s1: v128, m0: v128, m1: v128): void {
  errorSums(frame, end, s0, s1, m0, m1, false);
}

/**
 * ASYM over the eight groups of a frame with X and W filled. All parameters but `frame` are constants at the call.
 * @param n - elements of a group, even, up to 32
 * @returns bit i set: group i is irregular, its results are not valid
 */
// @ts-ignore: decorator
@inline
export function asymmetric(
  frame: usize,
  n: i32,
  levels: f32,
  first: f32,
  step: f32,
  count: i32,
  absolute: bool,
): i32 {
  const end = frame + (<usize>n << 5);
  const top = levels + first + step * <f32>count;
  const zero = f32x4.splat(0);
  let lowest0 = v128.load(frame, X);
  let lowest1 = v128.load(frame, X + 16);
  let max0 = lowest0;
  let max1 = lowest1;
  let sumW0 = v128.load(frame, W);
  let sumW1 = v128.load(frame, W + 16);
  let sumX0 = f32x4.mul(sumW0, max0);
  let sumX1 = f32x4.mul(sumW1, max1);
  for (let p = frame + 32; p < end; p += 32) {
    const x0 = v128.load(p, X);
    const x1 = v128.load(p, X + 16);
    const w0 = v128.load(p, W);
    const w1 = v128.load(p, W + 16);
    lowest0 = f32x4.pmin(lowest0, x0);
    lowest1 = f32x4.pmin(lowest1, x1);
    max0 = f32x4.pmax(max0, x0);
    max1 = f32x4.pmax(max1, x1);
    sumW0 = f32x4.add(sumW0, w0);
    sumW1 = f32x4.add(sumW1, w1);
    sumX0 = f32x4.add(sumX0, f32x4.mul(w0, x0));
    sumX1 = f32x4.add(sumX1, f32x4.mul(w1, x1));
  }
  let min0 = f32x4.pmin(lowest0, zero);
  let min1 = f32x4.pmin(lowest1, zero);
  let range0 = f32x4.sub(max0, min0);
  let range1 = f32x4.sub(max1, min1);
  // One value only, and that value is ≤ 0. Nothing is ever accepted there: all codes are 0.
  const flat0 = f32x4.eq(max0, min0);
  const flat1 = f32x4.eq(max1, min1);
  let fine0 = v128.or(flat0, regular(lowest0, min0, range0, top));
  let fine1 = v128.or(flat1, regular(lowest1, min1, range1, top));
  const splatLevels = f32x4.splat(levels);
  let chosen0 = f32x4.div(splatLevels, range0);
  let chosen1 = f32x4.div(splatLevels, range1);
  let base0 = min0;
  let base1 = min1;
  let scale0 = f32x4.div(f32x4.splat(1), chosen0);
  let scale1 = f32x4.div(f32x4.splat(1), chosen1);
  let best0 = zero;
  let best1 = zero;
  for (let p = frame; p < end; p += 32) {
    const x0 = v128.load(p, X);
    const x1 = v128.load(p, X + 16);
    const c0 = codeAt(x0, min0, chosen0, splatLevels, false);
    const c1 = codeAt(x1, min1, chosen1, splatLevels, false);
    best0 = f32x4.add(best0, weightedError(x0, v128.load(p, W), c0, scale0, min0, absolute));
    best1 = f32x4.add(best1, weightedError(x1, v128.load(p, W + 16), c1, scale1, min1, absolute));
  }
  for (let k = 0; k <= count; k++) {
    const numerator = first + step * <f32>k + levels;
    const inverse0 = f32x4.div(f32x4.splat(numerator), range0);
    const inverse1 = f32x4.div(f32x4.splat(numerator), range1);
    // Two roundings cannot carry the largest product from levels + 0.49 to levels + 0.5.
    if (numerator < levels + <f32>0.49) accumulateFree(frame, end, inverse0, inverse1, min0, min1, splatLevels);
    else accumulateClamped(frame, end, inverse0, inverse1, min0, min1, splatLevels);
    const l0 = v128.load(frame, RESULT);
    const l1 = v128.load(frame, RESULT + 16);
    const q0 = v128.load(frame, RESULT + 32);
    const q1 = v128.load(frame, RESULT + 48);
    const p0 = v128.load(frame, RESULT + 64);
    const p1 = v128.load(frame, RESULT + 80);
    const d0 = f32x4.sub(f32x4.mul(sumW0, q0), f32x4.mul(l0, l0));
    const d1 = f32x4.sub(f32x4.mul(sumW1, q1), f32x4.mul(l1, l1));
    let m0 = fitMin(sumW0, sumX0, l0, q0, p0, d0);
    let m1 = fitMin(sumW1, sumX1, l1, q1, p1, d1);
    let s0 = fitScale(sumW0, sumX0, l0, q0, p0, d0);
    let s1 = fitScale(sumW1, sumX1, l1, q1, p1, d1);
    const above0 = f32x4.gt(m0, zero);
    const above1 = f32x4.gt(m1, zero);
    s0 = v128.bitselect(f32x4.div(p0, q0), s0, above0);
    s1 = v128.bitselect(f32x4.div(p1, q1), s1, above1);
    m0 = v128.andnot(m0, above0);
    m1 = v128.andnot(m1, above1);
    if (absolute) absoluteErrors(frame, end, s0, s1, m0, m1);
    else squaredErrors(frame, end, s0, s1, m0, m1);
    const e0 = v128.load(frame, RESULT);
    const e1 = v128.load(frame, RESULT + 16);
    const take0 = v128.and(f32x4.gt(d0, zero), f32x4.lt(e0, best0));
    const take1 = v128.and(f32x4.gt(d1, zero), f32x4.lt(e1, best1));
    if (v128.any_true(v128.or(take0, take1))) {
      best0 = v128.bitselect(e0, best0, take0);
      best1 = v128.bitselect(e1, best1, take1);
      chosen0 = v128.bitselect(inverse0, chosen0, take0);
      chosen1 = v128.bitselect(inverse1, chosen1, take1);
      base0 = v128.bitselect(min0, base0, take0);
      base1 = v128.bitselect(min1, base1, take1);
      scale0 = v128.bitselect(s0, scale0, take0);
      scale1 = v128.bitselect(s1, scale1, take1);
      min0 = v128.bitselect(m0, min0, take0);
      min1 = v128.bitselect(m1, min1, take1);
      range0 = f32x4.sub(max0, min0);
      range1 = f32x4.sub(max1, min1);
      fine0 = v128.and(fine0, v128.or(flat0, regular(lowest0, min0, range0, top)));
      fine1 = v128.and(fine1, v128.or(flat1, regular(lowest1, min1, range1, top)));
    }
  }
  v128.store(frame, v128.andnot(scale0, flat0), SCALE);
  v128.store(frame, v128.andnot(scale1, flat1), SCALE + 16);
  v128.store(frame, f32x4.neg(min0), OFFSET);
  v128.store(frame, f32x4.neg(min1), OFFSET + 16);
  v128.store(frame, v128.andnot(chosen0, flat0), INVERSE);
  v128.store(frame, v128.andnot(chosen1, flat1), INVERSE + 16);
  v128.store(frame, base0, BASE);
  v128.store(frame, base1, BASE + 16);
  return 0xff ^ (i32x4.bitmask(fine0) | (i32x4.bitmask(fine1) << 4));
}

// @ts-ignore: decorator
@inline
function signedCode(p: v128, low: v128, high: v128, lowClamp: bool, highClamp: bool): v128 {
  let code = f32x4.nearest(p);
  if (highClamp) code = f32x4.pmin(high, code);
  if (lowClamp) code = f32x4.pmax(low, code);
  return code;
}

/** One candidate: sums of w·x·l and w·l·l; leaves them in RESULT. L holds w·x. */
// @ts-ignore: decorator
@inline
function symmetricSums(
  frame: usize,
  end: usize,
  inverse0: v128,
  inverse1: v128,
  levels: f32,
  lowClamp: bool,
  highClamp: bool,
): void {
  const low = f32x4.splat(-levels);
  const high = f32x4.splat(levels - 1);
  let a0 = f32x4.splat(0);
  let a1 = a0;
  let b0 = a0;
  let b1 = a0;
  for (let p = frame; p < end; p += 64) {
    let c0 = signedCode(f32x4.mul(inverse0, v128.load(p, X)), low, high, lowClamp, highClamp);
    let c1 = signedCode(f32x4.mul(inverse1, v128.load(p, X + 16)), low, high, lowClamp, highClamp);
    a0 = f32x4.add(a0, f32x4.mul(v128.load(p, L), c0));
    a1 = f32x4.add(a1, f32x4.mul(v128.load(p, L + 16), c1));
    b0 = f32x4.add(b0, f32x4.mul(f32x4.mul(v128.load(p, W), c0), c0));
    b1 = f32x4.add(b1, f32x4.mul(f32x4.mul(v128.load(p, W + 16), c1), c1));
    c0 = signedCode(f32x4.mul(inverse0, v128.load(p, X + 32)), low, high, lowClamp, highClamp);
    c1 = signedCode(f32x4.mul(inverse1, v128.load(p, X + 48)), low, high, lowClamp, highClamp);
    a0 = f32x4.add(a0, f32x4.mul(v128.load(p, L + 32), c0));
    a1 = f32x4.add(a1, f32x4.mul(v128.load(p, L + 48), c1));
    b0 = f32x4.add(b0, f32x4.mul(f32x4.mul(v128.load(p, W + 32), c0), c0));
    b1 = f32x4.add(b1, f32x4.mul(f32x4.mul(v128.load(p, W + 48), c1), c1));
  }
  v128.store(frame, a0, RESULT);
  v128.store(frame, a1, RESULT + 16);
  v128.store(frame, b0, RESULT + 32);
  v128.store(frame, b1, RESULT + 48);
}

// Functions of their own: the loop of the search keeps too much in registers for them to be inlined.
function sumsFree(frame: usize, end: usize, i0: v128, i1: v128, levels: f32): void {
  symmetricSums(frame, end, i0, i1, levels, false, false);
}
function sumsHigh(frame: usize, end: usize, i0: v128, i1: v128, levels: f32): void {
  symmetricSums(frame, end, i0, i1, levels, false, true);
}
function sumsLow(frame: usize, end: usize, i0: v128, i1: v128, levels: f32): void {
  symmetricSums(frame, end, i0, i1, levels, true, false);
}
function sumsBoth(frame: usize, end: usize, i0: v128, i1: v128, levels: f32): void {
  symmetricSums(frame, end, i0, i1, levels, true, true);
}

/** Where Σ may be improved: B > 0 and A·A > best·B. */
// @ts-ignore: decorator
@inline
function better(a: v128, b: v128, best: v128): v128 {
  return v128.and(f32x4.gt(b, f32x4.splat(0)), f32x4.gt(f32x4.mul(a, a), f32x4.mul(best, b)));
}

/**
 * SYM over the eight groups of a frame with X and W filled. All parameters but `frame` are constants at the call. Every group is
 * regular. L is overwritten; BASE is 0; OFFSET holds the element of largest magnitude.
 * @param n - elements of a group, even, up to 32
 */
// @ts-ignore: decorator
@inline
export function symmetric(frame: usize, n: i32, levels: f32): void {
  const end = frame + (<usize>n << 5);
  const zero = f32x4.splat(0);
  let m0 = zero;
  let m1 = zero;
  let largest0 = zero;
  let largest1 = zero;
  let min0 = zero;
  let min1 = zero;
  let max0 = zero;
  let max1 = zero;
  for (let p = frame; p < end; p += 32) {
    const x0 = v128.load(p, X);
    const x1 = v128.load(p, X + 16);
    v128.store(p, f32x4.mul(v128.load(p, W), x0), L);
    v128.store(p, f32x4.mul(v128.load(p, W + 16), x1), L + 16);
    const a0 = f32x4.abs(x0);
    const a1 = f32x4.abs(x1);
    m0 = v128.bitselect(x0, m0, f32x4.gt(a0, largest0));
    m1 = v128.bitselect(x1, m1, f32x4.gt(a1, largest1));
    largest0 = f32x4.pmax(largest0, a0);
    largest1 = f32x4.pmax(largest1, a1);
    min0 = f32x4.pmin(min0, x0);
    min1 = f32x4.pmin(min1, x1);
    max0 = f32x4.pmax(max0, x0);
    max1 = f32x4.pmax(max1, x1);
  }
  const empty0 = f32x4.lt(largest0, f32x4.splat(1e-15));
  const empty1 = f32x4.lt(largest1, f32x4.splat(1e-15));
  // The largest value on the side opposite to m decides whether codes can exceed levels − 1.
  const other0 = f32x4.pmin(f32x4.neg(min0), max0);
  const other1 = f32x4.pmin(f32x4.neg(min1), max1);
  const room = f32x4.splat((levels - <f32>0.51) / (levels + <f32>0.9));
  const free = v128.and(
    v128.or(empty0, f32x4.lt(other0, f32x4.mul(largest0, room))),
    v128.or(empty1, f32x4.lt(other1, f32x4.mul(largest1, room))),
  );
  const highClamp = !i32x4.all_true(free);
  let chosen0 = f32x4.div(f32x4.splat(-levels), m0);
  let chosen1 = f32x4.div(f32x4.splat(-levels), m1);
  if (highClamp) sumsHigh(frame, end, chosen0, chosen1, levels);
  else sumsFree(frame, end, chosen0, chosen1, levels);
  let a0 = v128.load(frame, RESULT);
  let a1 = v128.load(frame, RESULT + 16);
  let b0 = v128.load(frame, RESULT + 32);
  let b1 = v128.load(frame, RESULT + 48);
  let scale0 = v128.andnot(f32x4.div(a0, b0), f32x4.eq(b0, zero));
  let scale1 = v128.andnot(f32x4.div(a1, b1), f32x4.eq(b1, zero));
  let best0 = f32x4.mul(scale0, a0);
  let best1 = f32x4.mul(scale1, a1);
  for (let k = -9; k <= 9; k++) {
    if (k == 0) continue;
    const numerator = f32x4.splat(-(levels + <f32>0.1 * <f32>k));
    const inverse0 = f32x4.div(numerator, m0);
    const inverse1 = f32x4.div(numerator, m1);
    // |s·x| ≤ levels + 0.1·k but for two roundings: below k = 5 no code is under −levels, below k = −5 none is above levels − 1.
    if (k > 4) {
      if (highClamp) sumsBoth(frame, end, inverse0, inverse1, levels);
      else sumsLow(frame, end, inverse0, inverse1, levels);
    } else if (k < -5 || !highClamp) sumsFree(frame, end, inverse0, inverse1, levels);
    else sumsHigh(frame, end, inverse0, inverse1, levels);
    a0 = v128.load(frame, RESULT);
    a1 = v128.load(frame, RESULT + 16);
    b0 = v128.load(frame, RESULT + 32);
    b1 = v128.load(frame, RESULT + 48);
    const take0 = better(a0, b0, best0);
    const take1 = better(a1, b1, best1);
    if (v128.any_true(v128.or(take0, take1))) {
      scale0 = v128.bitselect(f32x4.div(a0, b0), scale0, take0);
      scale1 = v128.bitselect(f32x4.div(a1, b1), scale1, take1);
      best0 = v128.bitselect(f32x4.mul(scale0, a0), best0, take0);
      best1 = v128.bitselect(f32x4.mul(scale1, a1), best1, take1);
      chosen0 = v128.bitselect(inverse0, chosen0, take0);
      chosen1 = v128.bitselect(inverse1, chosen1, take1);
    }
  }
  v128.store(frame, v128.andnot(scale0, empty0), SCALE);
  v128.store(frame, v128.andnot(scale1, empty1), SCALE + 16);
  v128.store(frame, m0, OFFSET);
  v128.store(frame, m1, OFFSET + 16);
  v128.store(frame, v128.andnot(chosen0, empty0), INVERSE);
  v128.store(frame, v128.andnot(chosen1, empty1), INVERSE + 16);
  v128.store(frame, zero, BASE);
  v128.store(frame, zero, BASE + 16);
}
