/**
 * One row of a weight while its codes are improved: the values v = (code − zero) · scale, their error E = (v − t) H (v − t)ᵀ against
 * the row's target t, and the gradient g = (v − t) H, which every move keeps up to date at the cost of one row of H.
 *
 * Moves go down to where none helps. Single: the code that is best while all others stay, whose change δ gains 2 δ g_j + δ² H_jj.
 * Pair: a code goes one step the cheaper way, and the other one that then gains most follows; kept where both together gain.
 */

import { nearestCode, restoredValue } from './babai.ts';

export interface RowGrid {
  readonly groupSize: number;
  /** The largest code. */
  readonly top: number;
}

export interface RowState {
  /** [inputs] */
  readonly codes: Uint8Array;
  /** [groups] */
  readonly scales: Float32Array;
  /** [groups] */
  readonly zeros: Float32Array;
  /** f64 [inputs] */
  readonly values: Float64Array;
  /** f64 [inputs]: (values − target) H. */
  readonly gradient: Float64Array;
}

/** Gains below this share of a value's own error are rounding noise. */
const LEAST_GAIN = 1e-9;

/** Adds a multiple of row j of H, or of its beginning, where the gradient is shorter. */
export function addRow(
  gradient: Float64Array,
  gram: Float64Array,
  j: number,
  factor: number,
  n = gradient.length,
): void {
  if (factor === 0) return;
  const length = gradient.length;
  for (let k = 0, at = j * n; k < length; k++, at++) gradient[k] = gradient[k]! + factor * gram[at]!;
}

function setCode(row: RowState, gram: Float64Array, j: number, code: number, group: number): void {
  const value = restoredValue(code, row.scales[group]!, row.zeros[group]!);
  addRow(row.gradient, gram, j, value - row.values[j]!);
  row.values[j] = value;
  row.codes[j] = code;
}

/** Single moves, over and over, at most `sweeps` times. @returns how much the error fell */
export function descendSingly(row: RowState, gram: Float64Array, grid: RowGrid, sweeps: number): number {
  const { codes, scales, zeros, values, gradient } = row;
  const n = codes.length;
  let gained = 0;
  for (let sweep = 0; sweep < sweeps; sweep++) {
    let moved = false;
    for (let j = 0; j < n; j++) {
      const group = Math.floor(j / grid.groupSize);
      const scale = scales[group]!;
      if (scale === 0) continue;
      const own = gram[j * n + j]!;
      const code = nearestCode(values[j]! - gradient[j]! / own, scale, zeros[group]!, grid.top);
      if (code === codes[j]) continue;
      const change = restoredValue(code, scale, zeros[group]!) - values[j]!;
      const gain = -change * (2 * gradient[j]! + change * own);
      if (gain <= LEAST_GAIN * own * scale * scale) continue;
      setCode(row, gram, j, code, group);
      gained += gain;
      moved = true;
    }
    if (!moved) break;
  }
  return gained;
}

/** One pass of pair moves. @returns how much the error fell */
export function descendInPairs(row: RowState, gram: Float64Array, grid: RowGrid): number {
  const { codes, scales, zeros, values, gradient } = row;
  const n = codes.length;
  let gained = 0;
  for (let j = 0; j < n; j++) {
    const group = Math.floor(j / grid.groupSize);
    const scale = scales[group]!;
    if (scale === 0) continue;
    const step = stepAgainst(gradient[j]!, scale);
    const code = codes[j]! + step;
    if (code < 0 || code > grid.top) continue;
    const change = restoredValue(code, scale, zeros[group]!) - values[j]!;
    const cost = change * (2 * gradient[j]! + change * gram[j * n + j]!);
    let best = -1;
    let bestCost = -LEAST_GAIN * gram[j * n + j]! * scale * scale - cost;
    for (let k = 0; k < n; k++) {
      const other = Math.floor(k / grid.groupSize);
      const size = scales[other]!;
      const slope = gradient[k]! + change * gram[j * n + k]!;
      const way = stepAgainst(slope, size);
      const moved = codes[k]! + way;
      if (k === j || moved < 0 || moved > grid.top) continue;
      const d = way * size;
      const added = d * (2 * slope + d * gram[k * n + k]!);
      if (added < bestCost) {
        bestCost = added;
        best = k;
      }
    }
    if (best < 0) continue;
    const other = Math.floor(best / grid.groupSize);
    const way = stepAgainst(gradient[best]! + change * gram[j * n + best]!, scales[other]!);
    setCode(row, gram, j, code, group);
    setCode(row, gram, best, codes[best]! + way, other);
    gained -= cost + bestCost;
  }
  return gained;
}

/** The step of a code whose value goes against the gradient; scales may be negative. */
function stepAgainst(gradient: number, scale: number): number {
  return gradient > 0 === scale > 0 ? -1 : 1;
}
