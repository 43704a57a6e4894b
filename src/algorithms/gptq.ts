/**
 * GPTQ: codes that make the layer's output right, not the weights: columns are rounded in turn, and each makes up for the errors
 * of those before it as far as their inputs go together.
 *
 * Minimises tr((W − Ŵ) H (W − Ŵ)ᵀ), H = Σ x xᵀ + damping, greedily over columns, on grids that are fixed beforehand (static groups, so
 * that columns may be taken in any order). "GPTQ", E. Frantar et al. 2023, in the form of babai.ts: one Cholesky factorisation,
 * no inverse. With `asymmetric` the values to match are those of the float model, although the inputs are those of the quantized
 * prefix (asymmetric-target.ts). Needs H. Cost: n³/3 + rows · n² / 2 multiplications.
 */

import type { InputStatistics } from '../calibration/statistics/input-statistics.ts';
import { WhittleError } from '../errors.ts';
import type { AlgebraKernels } from '../kernels/algebra/index.ts';
import type { GridKernels } from '../kernels/grid/index.ts';
import { asymmetricTarget } from './asymmetric-target.ts';
import { compensatedImportance, compensationRows, roundColumns } from './babai.ts';
import { type FactorisedGram, factoriseGram } from './damping.ts';
import { checkMatrix } from './grid.ts';
import { fitGrid } from './grid-fit.ts';
import { gramOf } from './linear-algebra.ts';
import type { GridOptions, QuantizedMatrix, WeightMatrix } from './matrix.ts';
import { roundToNearest } from './rtn.ts';

export interface GptqOptions extends GridOptions {
  /** Share of H's mean diagonal that is added to it; default 0.01. */
  readonly damping?: number | undefined;
  /** Takes columns by falling H_jj instead of from first to last; default false. */
  readonly activationOrder?: boolean | undefined;
  /**
   * 'range' (default): the grid of each group covers it. 'fitted': the least-squares grid, errors weighed by what they cost once later
   * columns have made up for them.
   */
  readonly grid?: 'range' | 'fitted' | undefined;
  /** How far the float model's values are the goal, 0 (default) to 1; above 0 it needs `drift` or `cross` in the statistics. */
  readonly asymmetric?: number | undefined;
  /** What `roundingProblem` made of the same weight, statistics and options, where that was done before. */
  readonly problem?: RoundingProblem | undefined;
}

export interface GptqResult extends QuantizedMatrix {
  /** Share of the mean diagonal that was added to H: more than was asked for where H was not positive definite. */
  readonly damping: number;
  /** What was out of the ordinary, in words. */
  readonly notes: readonly string[];
}

/** A weight's problem, ready for rounding: H factorised, and the weights that would be best were there no grid. */
export interface RoundingProblem {
  readonly factor: FactorisedGram;
  /** f64 [outputs, inputs]. */
  readonly target: Float64Array;
  readonly notes: readonly string[];
}

/**
 * @param kernels - of fitted grids @param algebra - SIMD for the factorisation of a large H
 * @throws WhittleError E_SHAPE, E_TENSOR_SIZE, E_NONFINITE for what is not a weight or an option, E_DATA where the statistics
 * lack the Gram matrix (or `drift` and `cross`)
 */
export function gptq(
  weight: WeightMatrix,
  statistics: InputStatistics,
  options: GptqOptions,
  kernels?: GridKernels,
  algebra?: AlgebraKernels,
): GptqResult {
  checkMatrix(weight, options);
  const problem = options.problem ?? roundingProblem(weight, statistics, options, algebra);
  const { factor, target, notes } = problem;
  const grid = gridOf(weight, factor, options, kernels);
  const codes = roundColumns(target, grid, factor.order, compensationRows(factor), algebra);
  return { ...grid, codes, damping: factor.damping, notes };
}

/** @throws WhittleError as gptq */
export function roundingProblem(
  weight: WeightMatrix,
  statistics: InputStatistics,
  options: Pick<GptqOptions, 'damping' | 'activationOrder' | 'asymmetric'>,
  algebra?: AlgebraKernels,
): RoundingProblem {
  const { damping = 0.01, activationOrder = false, asymmetric = 0 } = options;
  requireRange('damping', damping, 0, 100);
  requireRange('asymmetric', asymmetric, 0, 1);
  const gram = gramOf(statistics, weight.inputs);
  const factor = factoriseGram(gram, weight.inputs, damping, activationOrder, algebra);
  const target =
    asymmetric > 0
      ? asymmetricTarget(weight, statistics, factor, asymmetric, algebra)
      : Float64Array.from(weight.values);
  return { factor, target, notes: notesOf(statistics, factor, damping) };
}

function requireRange(what: string, value: number, least: number, most: number): void {
  if (value >= least && value <= most) return;
  throw new WhittleError('E_SHAPE', `'${what}' is out of range`, {
    expected: `a number from ${least} to ${most}`,
    found: String(value),
  });
}

function notesOf({ rows }: InputStatistics, { damping, dead, n }: FactorisedGram, wanted: number): string[] {
  const notes: string[] = [];
  if (damping > wanted) {
    notes.push(
      `the Gram matrix is not positive definite; damping was raised from ${wanted} to ${damping} of its mean diagonal`,
    );
  }
  if (dead.length > 0) notes.push(`${dead.length} of ${n} inputs were zero in all samples`);
  if (rows < n) notes.push(`${rows} rows of inputs were seen, fewer than the ${n} inputs`);
  return notes;
}

function gridOf(
  weight: WeightMatrix,
  factor: FactorisedGram,
  options: GptqOptions,
  kernels: GridKernels | undefined,
): QuantizedMatrix {
  if (options.grid !== 'fitted') return roundToNearest(weight, options, kernels);
  const squares = compensatedImportance(factor);
  // Nothing is known of an input that was never seen: it must not bend the grid of the others.
  for (const i of factor.dead) squares[i] = 0;
  const statistics = { inputs: weight.inputs, rows: 1, squares };
  return fitGrid(weight, options, { statistics }, kernels);
}
