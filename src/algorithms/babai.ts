/**
 * Rounding the columns of a weight one after the other, each making up for the errors before it: GPTQ without an inverse.
 *
 * With H = R Rᵀ, R upper, and errors e = w − ŵ, the error e H eᵀ = Σ_c (Σ_{j≤c} e_j R_jc)² is a sum of squares of which column c enters
 * none before its own. So column c takes the code nearest to w_c + (Σ_{j<c} e_j R_jc) / R_cc. That is L. Babai's nearest-plane rounding
 * (1986), and gives the codes of "GPTQ" (E. Frantar et al. 2023), for which H⁻¹ = Uᵀ U means U = R⁻¹.
 * Cost: rows · n² / 2 multiplications. Four rows go together, so that each number of R is read once for four; a kernel does that
 * with vectors and adds in the same order, so that the codes are the same.
 */

import type { AlgebraKernels } from '../kernels/algebra/index.ts';
import type { FactorisedGram } from './damping.ts';
import type { QuantizedMatrix } from './matrix.ts';

const ROWS = 4;

/** For step c the row R_jc / R_cc of the steps j < c before it, f64 [n, n]. */
export function compensationRows({ lower, n }: FactorisedGram): Float64Array {
  const rows = new Float64Array(n * n);
  for (let j = 0; j < n; j++) {
    const from = (n - 1 - j) * n;
    for (let c = j + 1; c < n; c++) {
      const i = n - 1 - c;
      rows[c * n + j] = lower[from + i]! / lower[i * n + i]!;
    }
  }
  return rows;
}

/** R_cc² by input: what the square of a rounding error in it costs, once later inputs have made up for what they can. */
export function compensatedImportance({ lower, n, order }: FactorisedGram): Float64Array {
  const importance = new Float64Array(n);
  for (let c = 0; c < n; c++) {
    const i = n - 1 - c;
    importance[order[c]!] = lower[i * n + i]! ** 2;
  }
  return importance;
}

/**
 * Chooses the codes of `grid` for the rows of `target`, f64 [outputs, inputs].
 * @param compensation - of compensationRows @param algebra - SIMD kernels, which give the same codes
 * @returns codes [outputs, inputs]
 */
export function roundColumns(
  target: Float64Array,
  grid: Omit<QuantizedMatrix, 'codes'>,
  order: Int32Array,
  compensation: Float64Array,
  algebra?: AlgebraKernels,
): Uint8Array {
  const { outputs, inputs: n, groupSize, scales, zeroPoints } = grid;
  const groups = Math.ceil(n / groupSize);
  const top = 2 ** grid.bits - 1;
  const codes = new Uint8Array(outputs * n);
  if (algebra !== undefined) {
    const rows = { rows: outputs, n, groupSize, top, scales, zeros: zeroPoints };
    algebra.roundColumns(target, rows, order, compensation, codes);
    return codes;
  }
  // Errors of four rows, those of a step side by side.
  const errors = new Float64Array(n * ROWS);
  const carried = new Float64Array(ROWS);
  for (let first = 0; first < outputs; first += ROWS) {
    const rows = Math.min(ROWS, outputs - first);
    for (let c = 0; c < n; c++) {
      carryErrors(errors, compensation, c, n, carried);
      const column = order[c]!;
      const group = Math.floor(column / groupSize);
      for (let row = 0; row < rows; row++) {
        const at = (first + row) * n + column;
        const scale = scales[(first + row) * groups + group]!;
        const zero = zeroPoints[(first + row) * groups + group]!;
        const code = nearestCode(target[at]! + carried[row]!, scale, zero, top);
        codes[at] = code;
        errors[c * ROWS + row] = target[at]! - restoredValue(code, scale, zero);
      }
    }
  }
  return codes;
}

/** The code whose value is nearest; the zero's where the scale is 0. */
export function nearestCode(value: number, scale: number, zero: number, top: number): number {
  const code = scale === 0 ? Math.round(zero) : Math.round(value / scale + zero);
  return code < 0 ? 0 : Math.min(code, top);
}

/** What the runtime makes of a code, in f32: zeros need not be integers. */
export function restoredValue(code: number, scale: number, zero: number): number {
  return Math.fround(Math.fround(code - zero) * scale);
}

function carryErrors(
  errors: Float64Array,
  compensation: Float64Array,
  c: number,
  n: number,
  carried: Float64Array,
): void {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  const start = c * n;
  for (let j = 0, e = 0; j < c; j++, e += ROWS) {
    const r = compensation[start + j]!;
    s0 += r * errors[e]!;
    s1 += r * errors[e + 1]!;
    s2 += r * errors[e + 2]!;
    s3 += r * errors[e + 3]!;
  }
  carried[0] = s0;
  carried[1] = s1;
  carried[2] = s2;
  carried[3] = s3;
}
