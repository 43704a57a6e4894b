/**
 * Products of rows in f32, subtracted from f64: nearly all of the arithmetic of a Cholesky factorisation (src/kernels/algebra/factorise.ts).
 * Rows lie in strips of eight, side by side, [64][8] f32 for 64 columns of them; tiles of eight rows by four keep their sums in registers.
 * A sum over one or two such segments is f32, term after term; those sums are taken from f64 [strip][column][8].
 */

/** Bytes of a segment: 64 columns of eight values. */
const SEGMENT: usize = 2048;

// @ts-ignore: decorator
@inline
function term(sum: v128, a: v128, b: v128): v128 {
  return f32x4.add(sum, f32x4.mul(a, b));
}

// @ts-ignore: decorator
@inline
function takeOff(to: usize, low: v128, high: v128): void {
  v128.store(to, f64x2.sub(v128.load(to), f64x2.promote_low_f32x4(low)));
  const b = v128.shuffle<f64>(low, low, 1, 1);
  v128.store(to, f64x2.sub(v128.load(to, 16), f64x2.promote_low_f32x4(b)), 16);
  v128.store(to, f64x2.sub(v128.load(to, 32), f64x2.promote_low_f32x4(high)), 32);
  const d = v128.shuffle<f64>(high, high, 1, 1);
  v128.store(to, f64x2.sub(v128.load(to, 48), f64x2.promote_low_f32x4(d)), 48);
}

/**
 * out[s][c][lane] −= Σ_k left[s][k][lane] · right[c][k].
 * @param left - segments of `strips` strips, one after the other @param right - the same of the rows c
 * @param leftNext, rightNext - bytes to the segment with the following columns @param segments - 1 or 2
 * @param columns - rows of `right`, a multiple of eight @param outStep - bytes between strips of `out`
 */
export function subtractProducts(
  left: usize,
  leftNext: usize,
  strips: i32,
  right: usize,
  rightNext: usize,
  columns: i32,
  segments: i32,
  out: usize,
  outStep: usize,
): void {
  for (let s: usize = 0; s < <usize>strips; s++) {
    for (let c: usize = 0; c < <usize>columns; c += 4) {
      const q = right + (c >> 3) * SEGMENT + ((c & 4) << 2);
      tile(left + s * SEGMENT, leftNext, q, rightNext, segments, out + s * outStep + (c << 6));
    }
  }
}

function tile(left: usize, leftNext: usize, right: usize, rightNext: usize, segments: i32, out: usize): void {
  let a0 = f32x4.splat(0);
  let b0 = a0;
  let a1 = a0;
  let b1 = a0;
  let a2 = a0;
  let b2 = a0;
  let a3 = a0;
  let b3 = a0;
  for (let segment = 0; segment < segments; segment++) {
    let p = left;
    let q = right;
    for (const end = p + SEGMENT; p < end; p += 32, q += 32) {
      const x = v128.load(p);
      const y = v128.load(p, 16);
      let r = v128.load32_splat(q);
      a0 = term(a0, x, r);
      b0 = term(b0, y, r);
      r = v128.load32_splat(q, 4);
      a1 = term(a1, x, r);
      b1 = term(b1, y, r);
      r = v128.load32_splat(q, 8);
      a2 = term(a2, x, r);
      b2 = term(b2, y, r);
      r = v128.load32_splat(q, 12);
      a3 = term(a3, x, r);
      b3 = term(b3, y, r);
    }
    left += leftNext;
    right += rightNext;
  }
  takeOff(out, a0, b0);
  takeOff(out + 64, a1, b1);
  takeOff(out + 128, a2, b2);
  takeOff(out + 192, a3, b3);
}

/** to[i] = f32 of from[i]. @param count - a multiple of four */
export function demote(from: usize, count: i32, to: usize): void {
  for (const end = to + (<usize>count << 2); to < end; to += 16, from += 32) {
    const low = f32x4.demote_f64x2_zero(v128.load(from));
    const high = f32x4.demote_f64x2_zero(v128.load(from, 16));
    v128.store(to, v128.shuffle<f64>(low, high, 0, 2));
  }
}
