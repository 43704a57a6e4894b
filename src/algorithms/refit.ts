/**
 * Scales (and zeros) refitted to codes that stand: with u = code − zero the values of a row are Σ_g s_g u_g, so that the error
 * (v − t) H (v − t)ᵀ is a quadratic in the scales of all its groups at once, A s = b with A_gh = u_g H u_hᵀ and b_g = u_g H tᵀ: least
 * squares in the metric of the outputs. A zero that moves by one shifts its group by a scale; the move is kept where it gains.
 * Cost: n² multiplications a row.
 */

import { storedScale } from '../kernels/grid/group.ts';
import { factorise, solveFactorised } from './cholesky.ts';
import { type RowState, restate } from './learned-rounding-row.ts';

/**
 * Gives the row the scales that fit its codes best, where that lowers its error.
 * @param half - scales are stored as f16
 * @param error - the row's error now
 * @returns its error then
 */
export function refitScales(
  row: RowState,
  target: Float64Array,
  gram: Float64Array,
  groupSize: number,
  half: boolean,
  error: number,
): number {
  const { codes, scales, zeros, values, gradient } = row;
  const n = codes.length;
  const groups = scales.length;
  const normal = new Float64Array(groups * groups);
  const wanted = new Float64Array(groups);
  const product = new Float64Array(n);
  for (let g = 0; g < groups; g++) {
    const end = Math.min(n, (g + 1) * groupSize);
    product.fill(0);
    let slope = 0;
    for (let j = g * groupSize; j < end; j++) {
      const u = codes[j]! - zeros[g]!;
      // b − A s = −u H (v − t): the step from the present scales needs no product with the target.
      slope -= u * gradient[j]!;
      if (u === 0) continue;
      for (let k = 0, at = j * n; k < n; k++, at++) product[k] = product[k]! + u * gram[at]!;
    }
    wanted[g] = slope;
    for (let h = 0; h <= g; h++) {
      let sum = 0;
      for (let k = h * groupSize; k < Math.min(n, (h + 1) * groupSize); k++)
        sum += (codes[k]! - zeros[h]!) * product[k]!;
      normal[g * groups + h] = sum;
    }
    // A group whose codes all stand at the zero has no say.
    if (!(normal[g * groups + g]! > 0)) normal[g * groups + g] = 1;
  }
  for (let g = 0; g < groups; g++) normal[g * groups + g] = normal[g * groups + g]! * (1 + 1e-9);
  if (factorise(normal, groups) >= 0) return error;
  solveFactorised(normal, groups, wanted);
  const before = { scales: scales.slice(), values: values.slice(), gradient: gradient.slice() };
  for (let g = 0; g < groups; g++) {
    const fitted = storedScale(scales[g]! + wanted[g]!, half);
    // The sign of a scale is part of the encoding, and a scale of 0 would lose the codes.
    if (fitted * scales[g]! > 0) scales[g] = fitted;
  }
  const after = restate(row, target, gram, groupSize);
  if (after < error) return after;
  scales.set(before.scales);
  values.set(before.values);
  gradient.set(before.gradient);
  return error;
}

/** Moves zeros by one where that lowers the row's error. @returns whether any moved; values and gradient are then out of date */
export function moveZeros(row: RowState, gram: Float64Array, groupSize: number, top: number): boolean {
  const { codes, scales, zeros, gradient } = row;
  const n = codes.length;
  let moved = false;
  for (let g = 0; g < scales.length; g++) {
    const start = g * groupSize;
    const end = Math.min(n, start + groupSize);
    let slope = 0;
    let curvature = 0;
    for (let j = start; j < end; j++) {
      slope += gradient[j]!;
      for (let k = start; k < end; k++) curvature += gram[j * n + k]!;
    }
    const way = slope > 0 === scales[g]! > 0 ? 1 : -1;
    const change = -way * scales[g]!;
    const zero = zeros[g]! + way;
    if (zero < 0 || zero > top || change * (2 * slope + change * curvature) >= 0) continue;
    zeros[g] = zero;
    moved = true;
    // The gradient of later groups must know of it.
    for (let j = start; j < end; j++) {
      for (let k = 0, at = j * n; k < n; k++, at++) gradient[k] = gradient[k]! + change * gram[at]!;
    }
  }
  return moved;
}
