/**
 * Learned rounding of one layer: codes, scales and zeros of a start (GPTQ's) are improved in turn until the layer's output error no
 * longer falls.
 *
 * Minimises E = tr((Ŵ − T) H (Ŵ − T)ᵀ), T = W or the float model's goal (asymmetric-target.ts): the objective of "AdaRound" (M. Nagel et al. 2020) and, for one
 * layer, "AutoRound" (W. Cheng et al. 2023). Its gradient 2 (Ŵ − T) H needs no differentiation and no inputs, so codes descend on it
 * exactly, by single moves and pairs (learned-rounding-row.ts, several rows together: row-set.ts), instead of by a relaxation; scales,
 * and zeros where they are real, are refitted to codes by least squares over all groups of a row at once (refit.ts), and rows are
 * rounded anew on the refitted grid (babai.ts). The best of each row is kept, the start included, so no row's error rises. Cost: some 4 · rounds · rows · n² multiplications.
 */

import type { InputStatistics } from '../calibration/statistics/input-statistics.ts';
import { WhittleError } from '../errors.ts';
import type { AlgebraKernels } from '../kernels/algebra/index.ts';
import { compensationRows, roundColumns } from './babai.ts';
import { type RoundingProblem, roundingProblem } from './gptq.ts';
import { checkMatrix } from './grid.ts';
import type { QuantizedMatrix, WeightMatrix } from './matrix.ts';
import { createRefits, type StoredForm } from './refit.ts';
import { descendRows, giveRow, openRowSet, restateRows, rowOf, takeRows } from './row-set.ts';

export interface RefineOptions {
  /** Share of H's mean diagonal that is added to it; default 0.01. */
  readonly damping?: number | undefined;
  /** How far the float model's values are the goal, 0 (default) to 1; above 0 it needs `drift` or `cross` in the statistics. */
  readonly asymmetric?: number | undefined;
  /** Times that all rows are rounded anew on refitted grids; default 4. */
  readonly rounds?: number | undefined;
  /** Type in which scales will be stored; default f32. */
  readonly scaleType?: 'f32' | 'f16' | undefined;
  /** What `roundingProblem` made of the same weight, statistics and options, where that was done before. */
  readonly problem?: RoundingProblem | undefined;
  /** 'real' refits zeros as any numbers; default: they stay integers where the start's are. */
  readonly zeroPoints?: 'integer' | 'real' | undefined;
}

const SWEEPS = 20;
const PAIR_PASSES = 3;

/**
 * @param start - codes on a grid
 * @returns codes whose output error, with damping, is not above the start's in any row
 * @throws WhittleError as gptq, and E_SHAPE where the start is of another weight
 */
export function refineRounding(
  weight: WeightMatrix,
  start: QuantizedMatrix,
  statistics: InputStatistics,
  options: RefineOptions = {},
  algebra?: AlgebraKernels,
): QuantizedMatrix {
  checkStart(weight, start);
  const { rounds = 4 } = options;
  const ordered = { ...options, activationOrder: true };
  const problem = options.problem ?? roundingProblem(weight, statistics, ordered, algebra);
  const { factor, target } = problem;
  const compensation = compensationRows(factor);
  const { outputs, inputs: n, groupSize, bits } = start;
  const best = copyOf(start);
  const trial = copyOf(start);
  const errors = new Float64Array(outputs).fill(Number.POSITIVE_INFINITY);
  const real = options.zeroPoints === 'real' && !start.symmetric;
  const stored: StoredForm = { scaleType: options.scaleType, zeroPoints: real ? 'real' : 'integer' };
  const fixedZeros = start.symmetric || real || !start.zeroPoints.every(Number.isInteger);
  const top = 2 ** bits - 1;
  const refits = createRefits(factor.gram, n, groupSize);
  const set = openRowSet({ gram: factor.gram, n, groupSize, top }, algebra);
  const found = new Float64Array(set.rows);
  const moved = new Uint8Array(set.rows);

  for (let round = 0; round <= rounds; round++) {
    if (round > 0) trial.codes.set(roundColumns(target, trial, factor.order, compensation, algebra));
    for (let first = 0; first < outputs; first += set.rows) {
      const count = takeRows(set, trial, first);
      const goals = target.subarray(first * n, (first + count) * n);
      restateRows(set, goals, n, groupSize, found);
      if (round === 0) errors.set(found.subarray(0, count), first);
      set.gains.fill(0);
      set.active.fill(1, 0, count);
      set.descendSingly(SWEEPS);
      for (let r = 0; r < count; r++) found[r] = found[r]! - set.gains[r]!;
      refits.grids(set, goals, stored, found);
      if (!fixedZeros) {
        for (let r = 0; r < count; r++) moved[r] = Number(refits.zeros(rowOf(set, r, n), top));
        if (moved.includes(1)) restateRows(set, goals, n, groupSize, found, moved);
      }
      descendRows(set, count, PAIR_PASSES, SWEEPS);
      restateRows(set, goals, n, groupSize, found);
      refits.grids(set, goals, stored, found);
      for (let r = 0; r < count; r++) {
        // The next round goes on from here, better or not.
        giveRow(set, r, trial, first + r);
        if (!(found[r]! < errors[first + r]!)) continue;
        errors[first + r] = found[r]!;
        giveRow(set, r, best, first + r);
      }
    }
  }
  return best;
}

function copyOf(start: QuantizedMatrix): QuantizedMatrix {
  const { outputs, inputs, bits, groupSize, symmetric, codes, scales, zeroPoints } = start;
  return {
    outputs,
    inputs,
    bits,
    groupSize,
    symmetric,
    codes: codes.slice(),
    scales: scales.slice(),
    zeroPoints: zeroPoints.slice(),
  };
}

function checkStart(weight: WeightMatrix, start: QuantizedMatrix): void {
  checkMatrix(weight, start);
  const groups = Math.ceil(start.inputs / start.groupSize);
  const sound =
    start.outputs === weight.outputs &&
    start.inputs === weight.inputs &&
    start.codes.length === weight.values.length &&
    start.scales.length === start.outputs * groups &&
    start.zeroPoints.length === start.scales.length;
  if (sound) return;
  throw new WhittleError('E_SHAPE', 'the start of the refinement is of another weight', {
    expected: `${weight.outputs} × ${weight.inputs} codes in groups of ${start.groupSize}`,
    found: `${start.outputs} × ${start.inputs}, ${start.codes.length} codes, ${start.scales.length} scales`,
  });
}
