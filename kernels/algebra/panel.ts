/**
 * Inner products of the rows of a panel, f32 [rows, 64], with one another: nearly all of the arithmetic of a Cholesky factorisation.
 * Tiles of two rows by four, sums in lanes over the panel's columns.
 */

const ROW_BYTES: usize = 256;

// @ts-ignore: decorator
@inline
function product(sum: v128, a: v128, b: v128): v128 {
  return f32x4.add(sum, f32x4.mul(a, b));
}

/** The totals of four vectors as one. */
// @ts-ignore: decorator
@inline
function totals(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<f64>(ab, cd, 0, 2), v128.shuffle<f64>(ab, cd, 1, 3));
}

/** Columns that stay in the first-level cache while all rows pass. */
const BLOCK = 32;

/**
 * out[r, c] = Σ_k left[r, k] · right[c, k].
 * @param rows - even; @param columns - a multiple of four, which is also the distance of rows of `out`
 */
export function panelProducts(left: usize, rows: i32, right: usize, columns: i32, out: usize): void {
  const stride = <usize>columns << 2;
  for (let first = 0; first < columns; first += BLOCK) {
    const at = out + (<usize>first << 2);
    blockProducts(left, rows, right + <usize>first * ROW_BYTES, min<i32>(BLOCK, columns - first), at, stride);
  }
}

function blockProducts(left: usize, rows: i32, right: usize, columns: i32, out: usize, stride: usize): void {
  for (let r = 0; r < rows; r += 2) {
    const p = left + <usize>r * ROW_BYTES;
    for (let c = 0; c < columns; c += 4) {
      let q = right + <usize>c * ROW_BYTES;
      let s00 = f32x4.splat(0);
      let s01 = s00;
      let s02 = s00;
      let s03 = s00;
      let s10 = s00;
      let s11 = s00;
      let s12 = s00;
      let s13 = s00;
      for (let k: usize = 0; k < ROW_BYTES; k += 16) {
        const x0 = v128.load(p + k);
        const x1 = v128.load(p + k, 256);
        const y0 = v128.load(q);
        const y1 = v128.load(q, 256);
        const y2 = v128.load(q, 512);
        const y3 = v128.load(q, 768);
        q += 16;
        s00 = product(s00, x0, y0);
        s01 = product(s01, x0, y1);
        s02 = product(s02, x0, y2);
        s03 = product(s03, x0, y3);
        s10 = product(s10, x1, y0);
        s11 = product(s11, x1, y1);
        s12 = product(s12, x1, y2);
        s13 = product(s13, x1, y3);
      }
      const at = out + <usize>r * stride + (<usize>c << 2);
      v128.store(at, totals(s00, s01, s02, s03));
      v128.store(at + stride, totals(s10, s11, s12, s13));
    }
  }
}
