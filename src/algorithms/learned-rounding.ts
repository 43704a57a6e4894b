/**
 * Learned rounding of one layer: codes, scales and zeros of a start (GPTQ's) are improved in turn until the layer's output error no
 * longer falls.
 *
 * Minimises E = tr((Ŵ − T) H (Ŵ − T)ᵀ), T = W, or what GPTAQ's term makes of it: the objective of "AdaRound" (M. Nagel et al. 2020) and, for one
 * layer, "AutoRound" (W. Cheng et al. 2023). Its gradient 2 (Ŵ − T) H needs no differentiation and no inputs, so codes descend on it
 * exactly, by single moves and pairs (learned-rounding-row.ts), instead of by a relaxation; scales are refitted to codes by least
 * squares over all groups of a row at once (refit.ts), and rows are rounded anew on the refitted grid (babai.ts). The best of each
 * row is kept, the start included, so no row's error rises. Cost: some 4 · rounds · rows · n² multiplications.
 */

import type { InputStatistics } from '../calibration/statistics/input-statistics.ts';
import { WhittleError } from '../errors.ts';
import type { AlgebraKernels } from '../kernels/algebra/index.ts';
import { compensationRows, roundColumns } from './babai.ts';
import { roundingProblem } from './gptq.ts';
import { checkMatrix } from './grid.ts';
import { descendInPairs, descendSingly, type RowState, restate } from './learned-rounding-row.ts';
import type { QuantizedMatrix, WeightMatrix } from './matrix.ts';
import { moveZeros, refitScales } from './refit.ts';

export interface RefineOptions {
  /** Share of H's mean diagonal that is added to it; default 0.01. */
  readonly damping?: number | undefined;
  /** Share of GPTAQ's term, 0 (default) to 1; above 0 it needs `cross` in the statistics. */
  readonly asymmetric?: number | undefined;
  /** Times that all rows are rounded anew on refitted grids; default 4. */
  readonly rounds?: number | undefined;
  /** Type in which scales will be stored; default f32. */
  readonly scaleType?: 'f32' | 'f16' | undefined;
}

const SWEEPS = 20;
const PAIR_PASSES = 3;

/**
 * @param start - codes on a grid with integer zeros
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
  const { rounds = 4, scaleType } = options;
  const { factor, target } = roundingProblem(
    weight,
    statistics,
    { ...options, activationOrder: true },
    algebra,
  );
  const compensation = compensationRows(factor);
  const { outputs, inputs: n, groupSize, bits } = start;
  const groups = Math.ceil(n / groupSize);
  const best = copyOf(start);
  const trial = copyOf(start);
  const errors = new Float64Array(outputs).fill(Number.POSITIVE_INFINITY);
  const half = scaleType === 'f16';
  const fixedZeros = start.symmetric || !start.zeroPoints.every(Number.isInteger);
  const grid = { groupSize, top: 2 ** bits - 1 };
  const values = new Float64Array(n);
  const gradient = new Float64Array(n);

  for (let round = 0; round <= rounds; round++) {
    if (round > 0) trial.codes.set(roundColumns(target, trial, factor.order, compensation, algebra));
    for (let output = 0; output < outputs; output++) {
      const row: RowState = {
        codes: trial.codes.subarray(output * n, (output + 1) * n),
        scales: trial.scales.subarray(output * groups, (output + 1) * groups),
        zeros: trial.zeroPoints.subarray(output * groups, (output + 1) * groups),
        values,
        gradient,
      };
      const goal = target.subarray(output * n, (output + 1) * n);
      let error = restate(row, goal, factor.gram, groupSize);
      if (round === 0) errors[output] = error;
      error -= descendSingly(row, factor.gram, grid, SWEEPS);
      error = refitScales(row, goal, factor.gram, groupSize, half, error);
      if (!fixedZeros && moveZeros(row, factor.gram, groupSize, grid.top))
        error = restate(row, goal, factor.gram, groupSize);
      for (let pass = 0; pass < PAIR_PASSES; pass++) {
        const gained = descendInPairs(row, factor.gram, grid) + descendSingly(row, factor.gram, grid, SWEEPS);
        if (gained <= 0) break;
      }
      error = restate(row, goal, factor.gram, groupSize);
      error = refitScales(row, goal, factor.gram, groupSize, half, error);
      if (error < errors[output]!) {
        errors[output] = error;
        keepRow(best, trial, output);
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

function keepRow(best: QuantizedMatrix, trial: QuantizedMatrix, row: number): void {
  const n = best.inputs;
  const groups = Math.ceil(n / best.groupSize);
  best.codes.set(trial.codes.subarray(row * n, (row + 1) * n), row * n);
  best.scales.set(trial.scales.subarray(row * groups, (row + 1) * groups), row * groups);
  best.zeroPoints.set(trial.zeroPoints.subarray(row * groups, (row + 1) * groups), row * groups);
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
