/**
 * Scales (and zeros) refitted to codes that stand: with u = code − zero the values of a row are Σ_g s_g u_g, so that the error
 * (v − t) H (v − t)ᵀ is a quadratic in the scales of all its groups at once, A s = b with A_gh = u_g H u_hᵀ and b_g = u_g H tᵀ: least
 * squares in the metric of the outputs. Real zeros are as many unknowns more: a group's values shift together by o_g, and 1_g H 1_hᵀ and
 * the like join A. An integer zero that moves by one shifts its group by a scale; the move is kept where it gains.
 * Cost: n² / 2 multiplications a row, and n² for what the refitted scales give.
 */

import type { RowSet } from '../kernels/algebra/index.ts';
import { storedScale } from '../kernels/grid/group.ts';
import { factorise, solveFactorised } from './cholesky.ts';
import { addRow, type RowState } from './learned-rounding-row.ts';
import type { GridOptions } from './matrix.ts';
import { restateRows, rowOf } from './row-set.ts';

/** How scales and zeros are stored; zeros that are integers stay as they are. */
export type StoredForm = Pick<GridOptions, 'scaleType' | 'zeroPoints'>;

export interface Refits {
  /**
   * Gives rows the scales that fit their codes best, and the real zeros, where that lowers their error.
   * @param goals - f64 [rows, n] @param stored - types and zeros of the form @param errors - of the rows, renewed
   */
  grids(set: RowSet, goals: Float64Array, stored: StoredForm, errors: Float64Array): void;
  /**
   * Moves zeros by one where that lowers the row's error.
   * @returns whether any moved; values and gradient are then out of date
   */
  zeros(row: RowState, top: number): boolean;
}

/** @param gram - H, f64 [n, n] */
export function createRefits(gram: Float64Array, n: number, groupSize: number): Refits {
  const groups = Math.ceil(n / groupSize);
  let sums: GroupSums | undefined;
  return {
    grids(set, goals, { scaleType, zeroPoints }, errors) {
      const count = goals.length / n;
      const half = scaleType === 'f16';
      const real = zeroPoints === 'real';
      if (real) sums ??= groupSums(gram, n, groupSize);
      const size = real ? 2 * groups : groups;
      const before = {
        scales: set.scales.slice(),
        zeros: set.zeros.slice(),
        values: set.values.slice(),
        gradients: set.gradients.slice(),
      };
      const problems = normalEquations(set, count, n, groupSize, real ? sums : undefined);
      for (let r = 0; r < count; r++) {
        const { normal, wanted } = problems[r]!;
        for (let i = 0; i < size; i++) normal[i * size + i] = normal[i * size + i]! * (1 + 1e-9);
        if (factorise(normal, size) >= 0) continue;
        solveFactorised(normal, size, wanted);
        const { scales, zeros } = rowOf(set, r, n);
        for (let g = 0; g < groups; g++) {
          const fitted = storedScale(scales[g]! + wanted[g]!, half);
          // The sign of a scale is part of the encoding, and a scale of 0 would lose the codes.
          if (!(fitted * scales[g]! > 0)) continue;
          scales[g] = fitted;
          // (s + δ)(code − zero) + o: the shift o in steps of the new scale.
          if (real) zeros[g] = storedScale(zeros[g]! - wanted[groups + g]! / fitted, half);
        }
      }
      const after = new Float64Array(set.rows);
      restateRows(set, goals, n, groupSize, after);
      for (let r = 0; r < count; r++) {
        if (after[r]! < errors[r]!) {
          errors[r] = after[r]!;
          continue;
        }
        const from = r * set.stride;
        const to = from + n;
        set.scales.set(before.scales.subarray(r * groups, (r + 1) * groups), r * groups);
        set.zeros.set(before.zeros.subarray(r * groups, (r + 1) * groups), r * groups);
        set.values.set(before.values.subarray(from, to), from);
        set.gradients.set(before.gradients.subarray(from, to), from);
      }
    },
    zeros(row, top) {
      sums ??= groupSums(gram, n, groupSize);
      return moveZeros(row, sums, groupSize, top);
    },
  };
}

/**
 * A and b − A s of each row, from the gradients, which are spoilt.
 * @param shifts - where groups may shift too: the unknowns are the scales, then the shifts
 */
function normalEquations(
  set: RowSet,
  count: number,
  n: number,
  groupSize: number,
  shifts: GroupSums | undefined,
) {
  const groups = Math.ceil(n / groupSize);
  const size = shifts === undefined ? groups : 2 * groups;
  const rows = Array.from({ length: count }, (_, r) => {
    const { codes, zeros, gradient } = rowOf(set, r, n);
    const units = new Float64Array(n);
    const wanted = new Float64Array(size);
    for (let j = 0; j < n; j++) {
      const g = Math.floor(j / groupSize);
      units[j] = codes[j]! - zeros[g]!;
      // b − A s = −u H (v − t): the step from the present scales needs no product with the target.
      wanted[g] = wanted[g]! - units[j]! * gradient[j]!;
      if (shifts !== undefined) wanted[groups + g] = wanted[groups + g]! - gradient[j]!;
    }
    const normal = new Float64Array(size * size);
    if (shifts !== undefined) addShifts(normal, units, shifts, groupSize);
    return { units, wanted, normal, gradient };
  });
  set.differences.fill(0);
  for (let g = 0; g < groups; g++) {
    const start = g * groupSize;
    const end = Math.min(n, start + groupSize);
    rows.forEach(({ units, gradient }, r) => {
      gradient.fill(0, 0, end);
      set.differences.set(units.subarray(start, end), r * set.stride + start);
    });
    set.addProducts(start, end, end);
    rows.forEach(({ units, gradient, normal }, r) => {
      set.differences.fill(0, r * set.stride + start, r * set.stride + end);
      for (let h = 0; h <= g; h++) {
        let sum = 0;
        const last = Math.min(n, (h + 1) * groupSize);
        for (let k = h * groupSize; k < last; k++) sum += units[k]! * gradient[k]!;
        normal[g * size + h] = sum;
      }
      // A group whose codes all stand at the zero has no say.
      if (!(normal[g * size + g]! > 0)) normal[g * size + g] = 1;
    });
  }
  return rows;
}

/** The rows of A that belong to shifts: 1_g H u_hᵀ and 1_g H 1_hᵀ. */
function addShifts(normal: Float64Array, units: Float64Array, sums: GroupSums, groupSize: number): void {
  const n = units.length;
  const groups = sums.squares.length;
  for (let g = 0; g < groups; g++) {
    const at = (groups + g) * 2 * groups;
    for (let k = 0; k < n; k++) {
      const h = Math.floor(k / groupSize);
      const sum = sums.rows[g * n + k]!;
      normal[at + h] = normal[at + h]! + sum * units[k]!;
      if (h <= g) normal[at + groups + h] = normal[at + groups + h]! + sum;
    }
  }
}

interface GroupSums {
  /** Σ of the rows of H of each group, f64 [groups, n]. */
  readonly rows: Float64Array;
  /** Σ of H over each group's square, [groups]. */
  readonly squares: Float64Array;
}

function groupSums(gram: Float64Array, n: number, groupSize: number): GroupSums {
  const groups = Math.ceil(n / groupSize);
  const rows = new Float64Array(groups * n);
  const squares = new Float64Array(groups);
  for (let j = 0; j < n; j++) {
    const g = Math.floor(j / groupSize);
    addRow(rows.subarray(g * n, (g + 1) * n), gram, j, 1);
  }
  for (let g = 0; g < groups; g++) {
    for (let k = g * groupSize; k < Math.min(n, (g + 1) * groupSize); k++)
      squares[g] = squares[g]! + rows[g * n + k]!;
  }
  return { rows, squares };
}

function moveZeros(
  { codes, scales, zeros, gradient }: RowState,
  sums: GroupSums,
  groupSize: number,
  top: number,
): boolean {
  const n = codes.length;
  let moved = false;
  for (let g = 0; g < scales.length; g++) {
    let slope = 0;
    for (let j = g * groupSize; j < Math.min(n, (g + 1) * groupSize); j++) slope += gradient[j]!;
    const way = slope > 0 === scales[g]! > 0 ? 1 : -1;
    const change = -way * scales[g]!;
    const zero = zeros[g]! + way;
    if (zero < 0 || zero > top || change * (2 * slope + change * sums.squares[g]!) >= 0) continue;
    zeros[g] = zero;
    moved = true;
    // The gradient of later groups must know of it.
    addRow(gradient, sums.rows, g, change);
  }
  return moved;
}
