/**
 * Grid fit: scale and zero of each group together. Every candidate (factor of the range, zero near that of the range) is judged with
 * the scale that fits its codes best, whose error follows from the same two sums; then the winner's codes and grid are fitted to
 * each other.
 *
 * Minimises Σ_j a_j (w_j − ŵ_j)² + μ (Σ_j a_j w_j (w_j − ŵ_j))² / Σ_j a_j w_j², a = E[x²] or 1. The second term is the error along the
 * group itself. A least-squares fit (μ = 0) leaves ŵ shorter than w in every group; these errors do not average out as others do
 * but shrink what each layer puts out: at 2 bits μ = 0 loses to plain rounding though its squared error is a third lower.
 * Alternating minimisation as in S. Lloyd, "Least Squares Quantization in PCM" (1957), from many starts.
 *
 * The default without data below 8 bits. Integer zeros suit every encoding; real ones (MatMulNBits) do much better at 2 and 3 bits.
 * Cost: points · (2 reach + 1) + refits roundings of the weight.
 */

import type { InputStatistics } from '../calibration/statistics/input-statistics.ts';
import { type GridKernels, referenceGridKernels } from '../kernels/grid/index.ts';
import { shrinkFactors } from './clip-search.ts';
import { importanceOf, quantizeWith } from './grid.ts';
import type { GridOptions, QuantizedMatrix, WeightMatrix } from './matrix.ts';

export interface GridFitOptions {
  /** Factors of the range that are tried; default 20. */
  readonly points?: number | undefined;
  /** The smallest of them; default 0.5, with real zeros 0.7. */
  readonly least?: number | undefined;
  /** Zeros tried on either side of that of the range, codes or thirds of a code (asymmetric grids); default 1. */
  readonly reach?: number | undefined;
  /** μ ≥ 0; default 4. */
  readonly coherence?: number | undefined;
  /** Zero points: integers (default), or any numbers; a symmetric grid has neither. */
  readonly zeros?: 'integer' | 'real' | undefined;
  /** Weighs errors by E[x²]. */
  readonly statistics?: InputStatistics | undefined;
}

const REFITS = 4;
const COHERENCE = 4;

/** The grid of each group in least squares. @throws WhittleError as checkMatrix and importanceOf */
export function fitGrid(
  matrix: WeightMatrix,
  options: GridOptions,
  fit: GridFitOptions = {},
  kernels: GridKernels = referenceGridKernels(),
): QuantizedMatrix {
  const realZeros = fit.zeros === 'real';
  const search = {
    factors: shrinkFactors(fit.points ?? 20, fit.least ?? (realZeros ? 0.7 : 0.5)),
    reach: fit.reach ?? 1,
    refits: REFITS,
    coherence: fit.coherence ?? COHERENCE,
    realZeros,
  };
  return quantizeWith(matrix, options, (shape, target) => {
    const importance = fit.statistics === undefined ? undefined : importanceOf(fit.statistics, matrix.inputs);
    kernels.search(matrix.values, shape, importance, search, target);
  });
}
