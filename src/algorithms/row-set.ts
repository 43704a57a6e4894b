/**
 * Several rows of a weight whose codes are moved together: plain loops over the moves of one row (learned-rounding-row.ts), or the kernels that
 * give the same bits. Rows are independent of each other, so together only means that H is read once for all of them.
 */

import type { AlgebraKernels, RowProblem, RowSet } from '../kernels/algebra/index.ts';
import { addRow, descendInPairs, descendSingly, type RowState } from './learned-rounding-row.ts';

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
