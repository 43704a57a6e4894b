/**
 * Cholesky factorisation H = L Lᵀ of a symmetric matrix in f64, in place, and solving with it. Large ones go to a kernel.
 *
 * Right-looking in panels: a panel of columns is factorised, then the rest of the lower triangle loses panel · panelᵀ. Nearly all of the
 * n³/3 multiplications lie in that update, which goes over tiles of 2 × 4 values held in registers, along rows that are
 * contiguous (G. Golub and C. Van Loan, "Matrix Computations", 4.2.6).
 */

import type { AlgebraKernels } from '../kernels/algebra/index.ts';

/** Columns of a panel: the strips of a tile stay in the first-level cache. */
const PANEL = 64;
/** From this size on a kernel is worth its overhead. */
const LARGE = 128;

/**
 * Replaces the lower triangle of `a`, f64 [n, n], by L; what lies above the diagonal is not read.
 * @param kernels - factorise large matrices, with products in f32; without them all is f64
 * @returns the first pivot that is not positive, whereupon `a` is spoilt; −1 where there is none
 */
export function factorise(a: Float64Array, n: number, kernels?: AlgebraKernels): number {
  if (kernels !== undefined && n >= LARGE) return kernels.factorise(a, n, factorise);
  // Rows of the panel lie close together here: in `a` their distance may be a power of two, and they would share cache lines.
  const panel = new Float64Array(n * PANEL);
  for (let start = 0; start < n; start += PANEL) {
    const width = Math.min(PANEL, n - start);
    for (let i = start; i < n; i++)
      panel.set(a.subarray(i * n + start, i * n + start + width), (i - start) * PANEL);
    const failed = factorisePanel(panel, n - start, width);
    if (failed >= 0) return start + failed;
    for (let i = start; i < n; i++) {
      const from = (i - start) * PANEL;
      a.set(panel.subarray(from, from + Math.min(width, i - start + 1)), i * n + start);
    }
    updateTrailing(a, n, panel, start, width);
  }
  return -1;
}

/** The first `width` columns of L from those of the matrix, `rows` rows of PANEL values. */
function factorisePanel(panel: Float64Array, rows: number, width: number): number {
  for (let j = 0; j < width; j++) {
    const rowJ = j * PANEL;
    let pivot = panel[rowJ + j]!;
    for (let k = 0; k < j; k++) pivot -= panel[rowJ + k]! * panel[rowJ + k]!;
    // NaN fails the comparison too.
    if (!(pivot > 0) || pivot === Number.POSITIVE_INFINITY) return j;
    panel[rowJ + j] = Math.sqrt(pivot);
    const inverse = 1 / panel[rowJ + j]!;
    for (let i = j + 1; i < rows; i++) {
      const rowI = i * PANEL;
      let even = panel[rowI + j]!;
      let odd = 0;
      let k = 0;
      for (; k + 2 <= j; k += 2) {
        even -= panel[rowI + k]! * panel[rowJ + k]!;
        odd -= panel[rowI + k + 1]! * panel[rowJ + k + 1]!;
      }
      if (k < j) even -= panel[rowI + k]! * panel[rowJ + k]!;
      panel[rowI + j] = (even + odd) * inverse;
    }
  }
  return -1;
}

/** a[i, j] −= Σ_k L[i, k] L[j, k] over the columns of the panel, for start + width ≤ j ≤ i. */
function updateTrailing(a: Float64Array, n: number, panel: Float64Array, start: number, width: number): void {
  const end = start + width;
  for (let block = end; block < n; block += PANEL) {
    for (let i = block; i < n; i += 2) {
      const last = Math.min(n, block + PANEL, i + 2);
      let j = block;
      // A tile may spill above the diagonal, where nobody looks, but must not leave the matrix.
      if (i + 2 <= n) for (; j < last && j + 4 <= n; j += 4) updateTile(a, n, panel, start, width, i, j);
      for (; j < last; j++) {
        for (let row = i; row < Math.min(n, i + 2); row++) updateOne(a, n, panel, start, width, row, j);
      }
    }
  }
}

function updateOne(
  a: Float64Array,
  n: number,
  panel: Float64Array,
  start: number,
  width: number,
  i: number,
  j: number,
): void {
  let sum = 0;
  const p = (i - start) * PANEL;
  const q = (j - start) * PANEL;
  for (let k = 0; k < width; k++) sum += panel[p + k]! * panel[q + k]!;
  a[i * n + j] = a[i * n + j]! - sum;
}

/** Two rows by four columns. */
function updateTile(
  a: Float64Array,
  n: number,
  panel: Float64Array,
  start: number,
  width: number,
  i: number,
  j: number,
): void {
  const p0 = (i - start) * PANEL;
  const p1 = p0 + PANEL;
  const q0 = (j - start) * PANEL;
  const q1 = q0 + PANEL;
  const q2 = q1 + PANEL;
  const q3 = q2 + PANEL;
  let s00 = 0;
  let s01 = 0;
  let s02 = 0;
  let s03 = 0;
  let s10 = 0;
  let s11 = 0;
  let s12 = 0;
  let s13 = 0;
  for (let k = 0; k < width; k++) {
    const x0 = panel[p0 + k]!;
    const x1 = panel[p1 + k]!;
    const y0 = panel[q0 + k]!;
    const y1 = panel[q1 + k]!;
    const y2 = panel[q2 + k]!;
    const y3 = panel[q3 + k]!;
    s00 += x0 * y0;
    s01 += x0 * y1;
    s02 += x0 * y2;
    s03 += x0 * y3;
    s10 += x1 * y0;
    s11 += x1 * y1;
    s12 += x1 * y2;
    s13 += x1 * y3;
  }
  const at = i * n + j;
  a[at] = a[at]! - s00;
  a[at + 1] = a[at + 1]! - s01;
  a[at + 2] = a[at + 2]! - s02;
  a[at + 3] = a[at + 3]! - s03;
  a[at + n] = a[at + n]! - s10;
  a[at + n + 1] = a[at + n + 1]! - s11;
  a[at + n + 2] = a[at + n + 2]! - s12;
  a[at + n + 3] = a[at + n + 3]! - s13;
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

/** The same for each row of `rows`, f64 [rows, n]. @param algebra - SIMD kernels, which give the same numbers */
export function solveRows(
  lower: Float64Array,
  n: number,
  rows: Float64Array,
  algebra?: AlgebraKernels,
): void {
  if (algebra !== undefined) algebra.solveFactorised(lower, n, rows);
  else for (let at = 0; at < rows.length; at += n) solveFactorised(lower, n, rows.subarray(at, at + n));
}
