/**
 * Cholesky factorisation H = L Lᵀ of a symmetric matrix in f64, in place, and solving with it.
 *
 * Right-looking in panels: a panel of columns is factorised, then the rest of the lower triangle loses panel · panelᵀ. Nearly all of the
 * n³/3 multiplications lie in that update, which goes over tiles of 4 × 4 values held in registers, along rows that are
 * contiguous (G. Golub and C. Van Loan, "Matrix Computations", 4.2.6).
 */

/** Columns of a panel: its rows stay in the first-level cache while a tile's two strips are multiplied. */
const PANEL = 64;

/**
 * Replaces the lower triangle of `a`, f64 [n, n], by L; what lies above the diagonal is neither read nor written.
 * @returns the first pivot that is not positive, whereupon `a` is spoilt; −1 where there is none
 */
export function factorise(a: Float64Array, n: number): number {
  for (let start = 0; start < n; start += PANEL) {
    const end = Math.min(n, start + PANEL);
    const failed = factorisePanel(a, n, start, end);
    if (failed >= 0) return failed;
    updateTrailing(a, n, start, end);
  }
  return -1;
}

function factorisePanel(a: Float64Array, n: number, start: number, end: number): number {
  for (let j = start; j < end; j++) {
    const rowJ = j * n;
    let pivot = a[rowJ + j]!;
    for (let k = start; k < j; k++) pivot -= a[rowJ + k]! * a[rowJ + k]!;
    // NaN fails the comparison too.
    if (!(pivot > 0) || pivot === Number.POSITIVE_INFINITY) return j;
    const root = Math.sqrt(pivot);
    a[rowJ + j] = root;
    const inverse = 1 / root;
    for (let i = j + 1; i < n; i++) {
      const rowI = i * n;
      let sum = a[rowI + j]!;
      for (let k = start; k < j; k++) sum -= a[rowI + k]! * a[rowJ + k]!;
      a[rowI + j] = sum * inverse;
    }
  }
  return -1;
}

/** a[i, j] −= Σ_k a[i, k] a[j, k] for end ≤ j ≤ i, start ≤ k < end. */
function updateTrailing(a: Float64Array, n: number, start: number, end: number): void {
  for (let i = end; i < n; i += 4) {
    const rows = Math.min(4, n - i);
    let j = end;
    // Tiles that touch the diagonal spill above it, where nobody looks, but must not leave the matrix.
    if (rows === 4) for (; j + 4 <= Math.min(n, i + 4); j += 4) updateTile(a, n, i, j, start, end);
    for (; j < i + rows; j++) {
      for (let row = Math.max(i, j); row < i + rows; row++) {
        let sum = 0;
        for (let k = start; k < end; k++) sum += a[row * n + k]! * a[j * n + k]!;
        a[row * n + j] = a[row * n + j]! - sum;
      }
    }
  }
}

function updateTile(a: Float64Array, n: number, i: number, j: number, start: number, end: number): void {
  for (let half = 0; half < 4; half += 2) {
    const p0 = (i + half) * n;
    const p1 = p0 + n;
    const q0 = j * n;
    const q1 = q0 + n;
    const q2 = q1 + n;
    const q3 = q2 + n;
    let s00 = 0;
    let s01 = 0;
    let s02 = 0;
    let s03 = 0;
    let s10 = 0;
    let s11 = 0;
    let s12 = 0;
    let s13 = 0;
    for (let k = start; k < end; k++) {
      const x0 = a[p0 + k]!;
      const x1 = a[p1 + k]!;
      const y0 = a[q0 + k]!;
      const y1 = a[q1 + k]!;
      const y2 = a[q2 + k]!;
      const y3 = a[q3 + k]!;
      s00 += x0 * y0;
      s01 += x0 * y1;
      s02 += x0 * y2;
      s03 += x0 * y3;
      s10 += x1 * y0;
      s11 += x1 * y1;
      s12 += x1 * y2;
      s13 += x1 * y3;
    }
    a[p0 + j] = a[p0 + j]! - s00;
    a[p0 + j + 1] = a[p0 + j + 1]! - s01;
    a[p0 + j + 2] = a[p0 + j + 2]! - s02;
    a[p0 + j + 3] = a[p0 + j + 3]! - s03;
    a[p1 + j] = a[p1 + j]! - s10;
    a[p1 + j + 1] = a[p1 + j + 1]! - s11;
    a[p1 + j + 2] = a[p1 + j + 2]! - s12;
    a[p1 + j + 3] = a[p1 + j + 3]! - s13;
  }
}

/** Solves L Lᵀ x = b in place. @param lower - f64 [n, n] as `factorise` leaves it @param b - f64 [n], becomes x */
export function solveFactorised(lower: Float64Array, n: number, b: Float64Array): void {
  for (let i = 0; i < n; i++) {
    let sum = b[i]!;
    for (let k = 0; k < i; k++) sum -= lower[i * n + k]! * b[k]!;
    b[i] = sum / lower[i * n + i]!;
  }
  for (let i = n - 1; i >= 0; i--) {
    const x = b[i]! / lower[i * n + i]!;
    b[i] = x;
    for (let k = 0; k < i; k++) b[k] = b[k]! - lower[i * n + k]! * x;
  }
}
