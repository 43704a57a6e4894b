/**
 * The coordinate descent of plain Q3_K (`refine` of src/kernels/ggml/k/q3-k.ts), four sub-blocks in the lanes of a vector.
 *
 * Four of five sub-blocks change nothing and few values change at all, so a step only finds out whether any lane wants another
 * code; without one it leaves the running sums alone, and steps do not wait for each other. A lane that has converged makes the
 * same decisions again, so no lane needs a mask of its own. Rounding works on bits as in ggml: any quotient gives its code.
 *
 * Planes of a super-block: element i of sub-block j at 64·i + 4·j.
 */

import { nearestLanes } from '../../block-scales';

/** x; for the present codes l: w·x·l and w·l·l with w = x²; l. */
const VALUES: usize = memory.data(4 * 1024 + 3 * 64, 16);
// @ts-ignore: decorator
@inline
const A_TERMS: usize = 1024;
// @ts-ignore: decorator
@inline
const B_TERMS: usize = 2048;
// @ts-ignore: decorator
@inline
const CODES: usize = 3072;
/** One f32 for each sub-block: Σ w·x·l, Σ w·l·l, the largest |x|. */
// @ts-ignore: decorator
@inline
const SUM_A: usize = 4096;
// @ts-ignore: decorator
@inline
const SUM_B: usize = 4160;
// @ts-ignore: decorator
@inline
const LARGEST: usize = 4224;

// @ts-ignore: decorator
@inline
function nearestCode(v: v128): v128 {
  const clamped = i32x4.max_s(i32x4.splat(-4), i32x4.min_s(i32x4.splat(3), nearestLanes(v)));
  return f32x4.convert_i32x4_s(clamped);
}

function load4(from: usize, to: usize): void {
  for (let i = 0; i < 4; i++, from += 16, to += 256) {
    const a = v128.load(from);
    const b = v128.load(from, 64);
    const c = v128.load(from, 128);
    const d = v128.load(from, 192);
    const ab0 = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
    const cd0 = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
    const ab1 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
    const cd1 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
    v128.store(to, v128.shuffle<i64>(ab0, cd0, 0, 2));
    v128.store(to, v128.shuffle<i64>(ab0, cd0, 1, 3), 64);
    v128.store(to, v128.shuffle<i64>(ab1, cd1, 0, 2), 128);
    v128.store(to, v128.shuffle<i64>(ab1, cd1, 1, 3), 192);
  }
}

/** First codes and their sums of eight sub-blocks, in two vectors that hide each other's latency. */
function begin(plane: usize): void {
  const zero = f32x4.splat(0);
  const end = plane + 1024;
  let m0 = zero;
  let m1 = zero;
  let largest0 = zero;
  let largest1 = zero;
  for (let p = plane; p < end; p += 64) {
    const x0 = v128.load(p);
    const x1 = v128.load(p, 16);
    const magnitude0 = f32x4.abs(x0);
    const magnitude1 = f32x4.abs(x1);
    m0 = v128.bitselect(x0, m0, f32x4.gt(magnitude0, largest0));
    m1 = v128.bitselect(x1, m1, f32x4.gt(magnitude1, largest1));
    largest0 = f32x4.pmax(largest0, magnitude0);
    largest1 = f32x4.pmax(largest1, magnitude1);
  }
  const inverse0 = f32x4.div(f32x4.splat(-4), m0);
  const inverse1 = f32x4.div(f32x4.splat(-4), m1);
  let a0 = zero;
  let a1 = zero;
  let b0 = zero;
  let b1 = zero;
  for (let p = plane; p < end; p += 64) {
    const x0 = v128.load(p);
    const x1 = v128.load(p, 16);
    // |inverse · x| stays below 5 where codes matter.
    const l0 = f32x4.pmin(f32x4.splat(3), f32x4.pmax(f32x4.splat(-4), f32x4.nearest(f32x4.mul(inverse0, x0))));
    const l1 = f32x4.pmin(f32x4.splat(3), f32x4.pmax(f32x4.splat(-4), f32x4.nearest(f32x4.mul(inverse1, x1))));
    const w0 = f32x4.mul(x0, x0);
    const w1 = f32x4.mul(x1, x1);
    const at0 = f32x4.mul(f32x4.mul(w0, x0), l0);
    const at1 = f32x4.mul(f32x4.mul(w1, x1), l1);
    const bt0 = f32x4.mul(f32x4.mul(w0, l0), l0);
    const bt1 = f32x4.mul(f32x4.mul(w1, l1), l1);
    v128.store(p, at0, A_TERMS);
    v128.store(p, at1, A_TERMS + 16);
    v128.store(p, bt0, B_TERMS);
    v128.store(p, bt1, B_TERMS + 16);
    v128.store(p, l0, CODES);
    v128.store(p, l1, CODES + 16);
    a0 = f32x4.add(a0, at0);
    a1 = f32x4.add(a1, at1);
    b0 = f32x4.add(b0, bt0);
    b1 = f32x4.add(b1, bt1);
  }
  v128.store(plane, a0, SUM_A);
  v128.store(plane, a1, SUM_A + 16);
  v128.store(plane, b0, SUM_B);
  v128.store(plane, b1, SUM_B + 16);
  v128.store(plane, largest0, LARGEST);
  v128.store(plane, largest1, LARGEST + 16);
}

/** Scales of four sub-blocks, after `begin`. */
function refineFour(plane: usize, result: usize): void {
  const zero = f32x4.splat(0);
  const near = f32x4.splat(0.499);
  const end = plane + 1024;
  let a = v128.load(plane, SUM_A);
  let b = v128.load(plane, SUM_B);
  const empty = f32x4.lt(v128.load(plane, LARGEST), f32x4.splat(1e-15));
  for (let sweep = 0; sweep < 5; sweep++) {
    let changed = false;
    for (let p = plane; p < end; p += 64) {
      let xl = f32x4.sub(a, v128.load(p, A_TERMS));
      let l2 = f32x4.sub(b, v128.load(p, B_TERMS));
      const old = v128.load(p, CODES);
      const x = v128.load(p);
      const product = f32x4.mul(x, l2);
      // A quotient within 0.499 of the code rounds to it, whatever the last bits of the division.
      const apart = f32x4.abs(f32x4.sub(product, f32x4.mul(old, xl)));
      const positive = f32x4.gt(xl, zero);
      if (!v128.any_true(v128.andnot(positive, f32x4.lt(apart, f32x4.mul(near, xl))))) continue;
      const l = nearestCode(f32x4.div(product, xl));
      const wanted = v128.and(positive, f32x4.ne(l, old));
      const w = f32x4.mul(x, x);
      const at = f32x4.mul(f32x4.mul(w, x), l);
      const bt = f32x4.mul(f32x4.mul(w, l), l);
      xl = f32x4.add(xl, at);
      l2 = f32x4.add(l2, bt);
      const gain = f32x4.gt(f32x4.mul(f32x4.mul(xl, xl), b), f32x4.mul(f32x4.mul(a, a), l2));
      const take = v128.and(v128.and(wanted, f32x4.gt(l2, zero)), gain);
      v128.store(p, v128.bitselect(l, old, take), CODES);
      v128.store(p, v128.bitselect(at, v128.load(p, A_TERMS), take), A_TERMS);
      v128.store(p, v128.bitselect(bt, v128.load(p, B_TERMS), take), B_TERMS);
      a = v128.bitselect(xl, a, take);
      b = v128.bitselect(l2, b, take);
      changed = v128.any_true(take) || changed;
    }
    if (!changed) break;
  }
  const scale = v128.and(f32x4.div(a, b), f32x4.gt(b, zero));
  v128.store(result, v128.andnot(scale, empty));
  if (!v128.any_true(empty)) return;
  // Codes of sub-blocks without values are stored as 0, which stands for −4.
  for (let p = plane; p < end; p += 64) {
    v128.store(p, v128.bitselect(f32x4.splat(-4), v128.load(p, CODES), empty), CODES);
  }
}

/** Refines the sixteen sub-blocks of a super-block; `results` receives their scales. */
export function refine(x: usize, results: usize): void {
  for (let group: usize = 0; group < 4; group++) {
    load4(x + (group << 8), VALUES + (group << 4));
  }
  begin(VALUES);
  begin(VALUES + 32);
  for (let group: usize = 0; group < 4; group++) {
    refineFour(VALUES + (group << 4), results + (group << 4));
  }
}

/** Codes 0 … 7 that the last `refine` gave sub-block j. */
export function refinedCodes(j: i32, codes: usize): void {
  const from = VALUES + (<usize>j << 2);
  for (let i: usize = 0; i < 16; i++) store<u8>(codes + i, <i32>load<f32>(from + (i << 6), CODES) + 4);
}
