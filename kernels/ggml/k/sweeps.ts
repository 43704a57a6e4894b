/**
 * The coordinate descent of plain Q3_K (`refine` of src/kernels/ggml/k/q3-k.ts), four sub-blocks in the lanes of a vector.
 *
 * Four of five sub-blocks change nothing and few values change at all, so a step only finds out whether any lane wants another
 * code; without one it leaves the running sums alone, and steps do not wait for each other. A lane that has converged makes the
 * same decisions again, so no lane needs a mask of its own. Rounding works on bits as in ggml: any quotient gives its code.
 *
 * Planes of a super-block: element i of sub-block j at 64·i + 4·j.
 */

/** x, w = x², w·x, and for the present codes l (integers): w·x·l and w·l·l. */
const VALUES: usize = memory.data(5 * 1024 + 1024, 16);
// @ts-ignore: decorator
@inline
const SQUARES: usize = 1024;
// @ts-ignore: decorator
@inline
const CUBES: usize = 2048;
// @ts-ignore: decorator
@inline
const A_TERMS: usize = 3072;
// @ts-ignore: decorator
@inline
const B_TERMS: usize = 4096;
// @ts-ignore: decorator
@inline
const INTEGERS: usize = 5120;

// @ts-ignore: decorator
@inline
function nearestCode(v: v128): v128 {
  const bits = v128.and(f32x4.add(v, f32x4.splat(12582912)), i32x4.splat(0x7fffff));
  const code = i32x4.sub(bits, i32x4.splat(0x400000));
  return i32x4.max_s(i32x4.splat(-4), i32x4.min_s(i32x4.splat(3), code));
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

/** Scales of sub-blocks `group` … `group` + 3, whose values are loaded. */
function refineFour(plane: usize, result: usize): void {
  const zero = f32x4.splat(0);
  const end = plane + 1024;
  let m = zero;
  let largest = zero;
  for (let p = plane; p < end; p += 64) {
    const x = v128.load(p);
    const magnitude = f32x4.abs(x);
    m = v128.bitselect(x, m, f32x4.gt(magnitude, largest));
    largest = f32x4.pmax(largest, magnitude);
  }
  const empty = f32x4.lt(largest, f32x4.splat(1e-15));
  const inverse = f32x4.div(f32x4.splat(-4), m);
  let a = zero;
  let b = zero;
  for (let p = plane; p < end; p += 64) {
    const x = v128.load(p);
    const code = nearestCode(f32x4.mul(inverse, x));
    const l = f32x4.convert_i32x4_s(code);
    const w = f32x4.mul(x, x);
    const wx = f32x4.mul(w, x);
    const at = f32x4.mul(wx, l);
    const bt = f32x4.mul(f32x4.mul(w, l), l);
    v128.store(p, w, SQUARES);
    v128.store(p, wx, CUBES);
    v128.store(p, at, A_TERMS);
    v128.store(p, bt, B_TERMS);
    v128.store(p, code, INTEGERS);
    a = f32x4.add(a, at);
    b = f32x4.add(b, bt);
  }
  for (let sweep = 0; sweep < 5; sweep++) {
    let changed = false;
    for (let p = plane; p < end; p += 64) {
      let xl = f32x4.sub(a, v128.load(p, A_TERMS));
      let l2 = f32x4.sub(b, v128.load(p, B_TERMS));
      const old = v128.load(p, INTEGERS);
      const code = nearestCode(f32x4.div(f32x4.mul(v128.load(p), l2), xl));
      const wanted = v128.and(f32x4.gt(xl, zero), i32x4.ne(code, old));
      if (!v128.any_true(wanted)) continue;
      const l = f32x4.convert_i32x4_s(code);
      const at = f32x4.mul(v128.load(p, CUBES), l);
      const bt = f32x4.mul(f32x4.mul(v128.load(p, SQUARES), l), l);
      xl = f32x4.add(xl, at);
      l2 = f32x4.add(l2, bt);
      const gain = f32x4.gt(f32x4.mul(f32x4.mul(xl, xl), b), f32x4.mul(f32x4.mul(a, a), l2));
      const take = v128.and(v128.and(wanted, f32x4.gt(l2, zero)), gain);
      v128.store(p, v128.bitselect(code, old, take), INTEGERS);
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
    v128.store(p, v128.bitselect(i32x4.splat(-4), v128.load(p, INTEGERS), empty), INTEGERS);
  }
}

/** Refines the sixteen sub-blocks of a super-block; `results` receives their scales. */
export function refine(x: usize, results: usize): void {
  for (let group: usize = 0; group < 4; group++) {
    load4(x + (group << 8), VALUES + (group << 4));
    refineFour(VALUES + (group << 4), results + (group << 4));
  }
}

/** Codes 0 … 7 that the last `refine` gave sub-block j. */
export function refinedCodes(j: i32, codes: usize): void {
  const from = VALUES + (<usize>j << 2);
  for (let i: usize = 0; i < 16; i++) store<u8>(codes + i, load<i32>(from + (i << 6), INTEGERS) + 4);
}
