/**
 * Rounding in steps where a code stands for several values at once, or for one of uneven levels: the columns of a row are taken in units, each
 * chosen for what its values should be after the errors of those before it.
 *
 * With H = R Rᵀ, R upper, the errors e = w − ŵ of a unit u enter the sum of squares Σ_c (Σ_{j≤c} e_j R_jc)² first in its own columns. So
 * the unit aims at w_u + s with s R_uu = Σ_{j<u} e_j R_ju, and there the error counts by R_uu R_uᵀ, of which the code is chosen by the
 * diagonal: block LDLQ of "QuIP#" (A. Tseng et al. 2024, section 4) with blocks as small as a code. Afterwards units may descend on the exact
 * error: a code that lowers it while all others stay is taken.
 * Cost: n² / 2 multiplications a row and what choosing costs; as much again for each sweep of the descent.
 */

import type { FactorisedGram } from './damping.ts';

/** Codes of one row, whose scales stand. */
export interface UnitChooser {
  /** The values, nearest to `wanted` by `weights`, that a code gives the unit. All arrays hold `width` numbers. */
  propose(unit: number, wanted: Float64Array, weights: Float64Array, values: Float64Array): void;
  /** Gives the unit the code that was proposed last. */
  accept(unit: number): void;
  /** Puts the codes into the row's blocks. */
  finish(): void;
}

/** Gains below this share of the error that a unit makes alone are rounding noise. */
const LEAST_GAIN = 1e-9;

/**
 * Chooses the codes of one row.
 * @param target - f64 [n] @param sweeps - of the descent; 0 for none
 */
export function roundUnits(
  target: Float64Array,
  factor: FactorisedGram,
  width: number,
  chooser: UnitChooser,
  sweeps: number,
): void {
  const n = target.length;
  const errors = new Float64Array(n);
  const wanted = new Float64Array(width);
  const weights = new Float64Array(width);
  const values = new Float64Array(width);
  for (let start = 0; start < n; start += width) {
    carryErrors(errors, factor, start, wanted);
    ownWeights(factor, start, weights);
    for (let i = 0; i < width; i++) wanted[i] = wanted[i]! + target[start + i]!;
    chooser.propose(start / width, wanted, weights, values);
    chooser.accept(start / width);
    for (let i = 0; i < width; i++) errors[start + i] = target[start + i]! - values[i]!;
  }
  if (sweeps > 0) descend(errors, target, factor.gram, width, chooser, sweeps);
  chooser.finish();
}

/** The shift s of a unit: s R_uu = Σ_{j<start} e_j R_ju, solved from its first column on. */
export function carryErrors(
  errors: Float64Array,
  { lower, n }: FactorisedGram,
  start: number,
  shift: Float64Array,
): void {
  shift.fill(0);
  for (let j = 0; j < start; j++) {
    const error = errors[j]!;
    if (error === 0) continue;
    const from = (n - 1 - j) * n + n - 1 - start;
    for (let c = 0; c < shift.length; c++) shift[c] = shift[c]! + error * lower[from - c]!;
  }
  for (let c = 0; c < shift.length; c++) {
    let sum = shift[c]!;
    const column = n - 1 - start - c;
    for (let k = 0; k < c; k++) sum -= shift[k]! * lower[(n - 1 - start - k) * n + column]!;
    shift[c] = sum / lower[column * n + column]!;
  }
}

/** The diagonal of R_uu R_uuᵀ. */
function ownWeights({ lower, n }: FactorisedGram, start: number, weights: Float64Array): void {
  for (let j = 0; j < weights.length; j++) {
    let sum = 0;
    for (let c = j; c < weights.length; c++) sum += lower[(n - 1 - start - j) * n + n - 1 - start - c]! ** 2;
    weights[j] = sum;
  }
}

/** @param errors - target − values, kept up to date */
function descend(
  errors: Float64Array,
  target: Float64Array,
  gram: Float64Array,
  width: number,
  chooser: UnitChooser,
  sweeps: number,
): void {
  const n = errors.length;
  const slopes = new Float64Array(n);
  for (let j = 0; j < n; j++) addRow(slopes, gram, j, errors[j]!);
  const wanted = new Float64Array(width);
  const weights = new Float64Array(width);
  const values = new Float64Array(width);
  const change = new Float64Array(width);
  for (let sweep = 0; sweep < sweeps; sweep++) {
    let moved = false;
    for (let start = 0; start < n; start += width) {
      bestOfOthers(errors, slopes, gram, start, wanted);
      let size = 0;
      for (let i = 0; i < width; i++) {
        const at = start + i;
        weights[i] = gram[at * n + at]!;
        wanted[i] = target[at]! - wanted[i]!;
        size += weights[i]! * errors[at]! ** 2;
      }
      chooser.propose(start / width, wanted, weights, values);
      let differs = false;
      for (let i = 0; i < width; i++) {
        change[i] = target[start + i]! - values[i]! - errors[start + i]!;
        differs ||= change[i] !== 0;
      }
      if (!differs || gainOf(change, slopes, gram, start) <= LEAST_GAIN * size) continue;
      chooser.accept(start / width);
      for (let i = 0; i < width; i++) {
        errors[start + i] = errors[start + i]! + change[i]!;
        addRow(slopes, gram, start + i, change[i]!);
      }
      moved = true;
    }
    if (!moved) break;
  }
}

/** The errors e' of a unit that would be best, were there no codes: e'_u H_uu = e_u H_uu − (e H)_u, by Gauss–Seidel steps. */
function bestOfOthers(
  errors: Float64Array,
  slopes: Float64Array,
  gram: Float64Array,
  start: number,
  best: Float64Array,
): void {
  const n = errors.length;
  for (let i = 0; i < best.length; i++) best[i] = errors[start + i]!;
  for (let step = 0; step < (best.length > 1 ? 4 : 1); step++) {
    for (let i = 0; i < best.length; i++) {
      let slope = slopes[start + i]!;
      for (let k = 0; k < best.length; k++)
        slope += (best[k]! - errors[start + k]!) * gram[(start + i) * n + start + k]!;
      best[i] = best[i]! - slope / gram[(start + i) * n + start + i]!;
    }
  }
}

function gainOf(change: Float64Array, slopes: Float64Array, gram: Float64Array, start: number): number {
  const n = slopes.length;
  let gain = 0;
  for (let i = 0; i < change.length; i++) {
    let own = 0;
    for (let k = 0; k < change.length; k++) own += change[k]! * gram[(start + i) * n + start + k]!;
    gain -= change[i]! * (2 * slopes[start + i]! + own);
  }
  return gain;
}

function addRow(sums: Float64Array, gram: Float64Array, j: number, factor: number): void {
  const n = sums.length;
  if (factor === 0) return;
  for (let k = 0, at = j * n; k < n; k++, at++) sums[k] = sums[k]! + factor * gram[at]!;
}
