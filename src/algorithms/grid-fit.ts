/**
 * Grid fit: the grid of each group in least squares, scale and zero together. Every candidate (factor of the range, zero near
 * that of the range) is judged with the scale that fits its codes best, s = Σ a u w / Σ a u², u = code − zero, whose error follows from
 * the same two sums; the winner's codes and scale then alternate until they agree.
 *
 * Minimises Σ_j a_j (w_j − ŵ_j)², a = E[x²] or 1, over scale and integer zero: alternating minimisation as in S. Lloyd, "Least Squares
 * Quantization in PCM" (1957), from many starts. Integer zeros, so that every encoding can store it.
 * The default without data below 8 bits. Cost: points · (2 reach + 1) + refits roundings of the weight.
 */

import type { InputStatistics } from '../calibration/statistics/input-statistics.ts';
import { type GridKernels, referenceGridKernels } from '../kernels/grid/index.ts';
import { shrinkFactors } from './clip-search.ts';
import { importanceOf, quantizeWith } from './grid.ts';
import type { GridOptions, QuantizedMatrix, WeightMatrix } from './matrix.ts';

export interface GridFitOptions {
  /** Factors of the range that are tried; default 20. */
  readonly points?: number | undefined;
  /** The smallest of them; default 0.5. */
  readonly least?: number | undefined;
  /** Zeros tried on either side of that of the range (asymmetric grids); default 1. */
  readonly reach?: number | undefined;
  /** Weighs errors by E[x²]. */
  readonly statistics?: InputStatistics | undefined;
}

const REFITS = 4;

/** The grid of each group in least squares. @throws WhittleError as checkMatrix and importanceOf */
export function fitGrid(
  matrix: WeightMatrix,
  options: GridOptions,
  fit: GridFitOptions = {},
  kernels: GridKernels = referenceGridKernels(),
): QuantizedMatrix {
  const search = {
    factors: shrinkFactors(fit.points ?? 20, fit.least ?? 0.5),
    reach: fit.reach ?? 1,
    refits: REFITS,
  };
  return quantizeWith(matrix, options, (shape, target) => {
    const importance = fit.statistics === undefined ? undefined : importanceOf(fit.statistics, matrix.inputs);
    kernels.search(matrix.values, shape, importance, search, target);
  });
}
