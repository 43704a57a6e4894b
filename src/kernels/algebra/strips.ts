/**
 * The lower half of a square matrix in strips of four rows, as the kernels of rounding and of quadratic forms read it: strip t holds
 * [4t + 4][4], for each column up to its own last one the values of its four rows, so that they are read one after the other.
 */

/** Rows of a strip. */
export const STRIP = 4;

/** Numbers in the strips of a matrix of n rows. */
export function stripsLength(n: number): number {
  const rows = Math.ceil(n / STRIP) * STRIP;
  return (rows / 2) * (rows + STRIP);
}

/** @param strips - zeros, `stripsLength(n)` of them */
export function packStrips(strips: Float64Array, matrix: Float64Array | Float32Array, n: number): void {
  let at = 0;
  for (let first = 0; first < n; first += STRIP) {
    for (let lane = 0; lane < Math.min(STRIP, n - first); lane++) {
      const from = (first + lane) * n;
      for (let j = 0, to = at + lane; j <= first + lane; j++, to += STRIP) strips[to] = matrix[from + j]!;
    }
    at += (first + STRIP) * STRIP;
  }
}

/** The strips of the upper half of Lᵀ read backwards, which is lower too: row c holds L[n−1−j, n−1−c]. */
export function packTransposed(strips: Float64Array, lower: Float64Array, n: number): void {
  let at = 0;
  for (let first = 0; first < n; first += STRIP) {
    const last = Math.min(first + STRIP, n) - 1;
    for (let j = 0; j <= last; j++) {
      const from = (n - 1 - j) * n + n - 1;
      for (let c = Math.max(first, j); c <= last; c++) strips[at + j * STRIP + c - first] = lower[from - c]!;
    }
    at += (first + STRIP) * STRIP;
  }
}
