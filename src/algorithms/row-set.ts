/**
 * Several rows of a weight whose codes are moved together: plain loops over the moves of one row (learned-rounding-row.ts), or the kernels that
 * give the same bits. Rows are independent of each other, so together only means that H is read once for all of them.
 */

import type { AlgebraKernels, RowProblem, RowSet } from '../kernels/algebra/index.ts';
import { restoredValue } from './babai.ts';
import { addRow, descendInPairs, descendSingly, type RowState } from './learned-rounding-row.ts';
import type { QuantizedMatrix } from './matrix.ts';

/** Rows that go together: what belongs to them stays in the second-level cache. */
export const ROWS_TOGETHER = 8;

/** Room for rows over one H; with kernels only until the next call. */
export function openRowSet(problem: RowProblem, algebra?: AlgebraKernels): RowSet {
  return algebra?.rowSet(problem, ROWS_TOGETHER) ?? plainRowSet(problem, ROWS_TOGETHER);
}

/** One row of a set, as views. */
export function rowOf(set: RowSet, row: number, n: number): RowState {
  const groups = set.scales.length / set.rows;
  const from = row * set.stride;
  return {
    codes: set.codes.subarray(from, from + n),
    scales: set.scales.subarray(row * groups, (row + 1) * groups),
    zeros: set.zeros.subarray(row * groups, (row + 1) * groups),
    values: set.values.subarray(from, from + n),
    gradient: set.gradients.subarray(from, from + n),
  };
}

type Rows = Pick<QuantizedMatrix, 'outputs' | 'inputs' | 'codes' | 'scales' | 'zeroPoints'>;

/** Takes rows of a matrix into the set, from `first` on. @returns how many there were */
export function takeRows(set: RowSet, matrix: Rows, first: number): number {
  const { outputs, inputs: n, codes, scales, zeroPoints } = matrix;
  const count = Math.min(set.rows, outputs - first);
  const groups = set.scales.length / set.rows;
  for (let row = 0; row < count; row++)
    set.codes.set(codes.subarray((first + row) * n, (first + row + 1) * n), row * set.stride);
  set.scales.set(scales.subarray(first * groups, (first + count) * groups));
  set.zeros.set(zeroPoints.subarray(first * groups, (first + count) * groups));
  return count;
}

/** Writes a row of the set to row `to` of a matrix. */
export function giveRow(set: RowSet, row: number, matrix: Rows, to: number): void {
  const { codes, scales, zeros } = rowOf(set, row, matrix.inputs);
  matrix.codes.set(codes, to * codes.length);
  matrix.scales.set(scales, to * scales.length);
  matrix.zeroPoints.set(zeros, to * zeros.length);
}

/**
 * Values and gradients of the first rows, from their codes, scales and zeros.
 * @param goals - what the values are to be, f64 [rows, n] @param errors - [rows], written
 * @param which - rows that this is done for, where not for all
 */
export function restateRows(
  set: RowSet,
  goals: Float64Array,
  n: number,
  groupSize: number,
  errors: Float64Array,
  which?: Uint8Array,
): void {
  const count = goals.length / n;
  set.differences.fill(0);
  for (let r = 0; r < count; r++) {
    if (which?.[r] === 0) continue;
    const { codes, scales, zeros, values, gradient } = rowOf(set, r, n);
    const differences = set.differences.subarray(r * set.stride, r * set.stride + n);
    for (let j = 0; j < n; j++) {
      const group = Math.floor(j / groupSize);
      values[j] = restoredValue(codes[j]!, scales[group]!, zeros[group]!);
      differences[j] = values[j]! - goals[r * n + j]!;
    }
    gradient.fill(0);
  }
  set.addProducts();
  for (let r = 0; r < count; r++) {
    if (which?.[r] === 0) continue;
    let error = 0;
    for (let at = r * set.stride; at < r * set.stride + n; at++)
      error += set.gradients[at]! * set.differences[at]!;
    errors[r] = error;
  }
}

/** Pair moves and single moves in turn, until a row gains nothing or `passes` are done. */
export function descendRows(set: RowSet, count: number, passes: number, sweeps: number): void {
  const left = new Uint8Array(set.rows).fill(1, 0, count);
  for (let pass = 0; pass < passes && left.includes(1); pass++) {
    set.gains.fill(0);
    set.active.set(left);
    set.descendInPairs();
    set.active.set(left);
    set.descendSingly(sweeps);
    for (let r = 0; r < count; r++) if (!(set.gains[r]! > 0)) left[r] = 0;
  }
}

/** The definition of a row set. */
export function plainRowSet({ gram, n, groupSize, top }: RowProblem, rows: number): RowSet {
  const groups = Math.ceil(n / groupSize);
  const grid = { groupSize, top };
  const set: RowSet = {
    rows,
    stride: n,
    codes: new Uint8Array(rows * n),
    scales: new Float32Array(rows * groups),
    zeros: new Float32Array(rows * groups),
    values: new Float64Array(rows * n),
    differences: new Float64Array(rows * n),
    gradients: new Float64Array(rows * n),
    active: new Uint8Array(rows),
    gains: new Float64Array(rows),
    addProducts(from = 0, to = n, columns = n) {
      for (let row = 0; row < rows; row++) {
        const gradient = set.gradients.subarray(row * n, row * n + columns);
        for (let j = from; j < to; j++) addRow(gradient, gram, j, set.differences[row * n + j]!, n);
      }
    },
    descendSingly(sweeps) {
      for (let row = 0; row < rows; row++) {
        if (set.active[row] === 0) continue;
        set.gains[row]! += descendSingly(rowOf(set, row, n), gram, grid, sweeps);
        set.active[row] = 0;
      }
    },
    descendInPairs() {
      for (let row = 0; row < rows; row++) {
        if (set.active[row] === 0) continue;
        set.gains[row]! += descendInPairs(rowOf(set, row, n), gram, grid);
      }
    },
  };
  return set;
}
