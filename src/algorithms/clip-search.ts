/**
 * Clip search: for each group, the shrunk range whose grid loses least. Outliers are clipped where that makes the steps of all
 * other weights finer by more than it costs. With statistics the error of a weight counts by E[x²] of its input.
 *
 * Minimises Σ_j a_j (w_j − ŵ_j)² over `points` factors of the range and, with `reach`, over zeros near that of the range, which moves
 * the two ends apart; a = E[x²] or 1. Cost: points · (2 reach + 1) roundings of the weight.
 * The search is that of "OPTQ" (E. Frantar et al., 2022) implementations' `mse` option with p = 2, and of the clipping step of
 * "AWQ" (J. Lin et al., 2023).
 */

import type { InputStatistics } from '../calibration/statistics/input-statistics.ts';
import { type GridKernels, referenceGridKernels } from '../kernels/grid/index.ts';
import { importanceOf, quantizeWith } from './grid.ts';
import type { GridOptions, QuantizedMatrix, WeightMatrix } from './matrix.ts';

export interface ClipSearchOptions {
  /** Factors that are tried, from 1 down; default 20. */
  readonly points?: number | undefined;
  /** The smallest factor; default 0.5 up to 2 bits, rising to 0.7 from 4 bits on. */
  readonly least?: number | undefined;
  /** Zeros tried on either side of that of the range (asymmetric grids); default 0. */
  readonly reach?: number | undefined;
  /** Weighs errors by E[x²]. */
  readonly statistics?: InputStatistics | undefined;
}

/** Factors from 1 down to `least`, evenly. */
export function shrinkFactors(points: number, least: number): Float32Array {
  return Float32Array.from({ length: points }, (_, k) => 1 - ((1 - least) * k) / Math.max(1, points - 1));
}

/** Below it, nothing is gained: a b-bit grid of a bell-shaped group clips less, the more codes it has. */
export function leastFactor(bits: number): number {
  return bits <= 2 ? 0.5 : bits === 3 ? 0.6 : 0.7;
}

/** The best of a group's shrunk ranges. @throws WhittleError as checkMatrix and importanceOf */
export function clipSearch(
  matrix: WeightMatrix,
  options: GridOptions,
  search: ClipSearchOptions = {},
  kernels: GridKernels = referenceGridKernels(),
): QuantizedMatrix {
  const factors = shrinkFactors(search.points ?? 20, search.least ?? leastFactor(options.bits));
  return quantizeWith(matrix, options, (shape, target) => {
    const importance =
      search.statistics === undefined ? undefined : importanceOf(search.statistics, matrix.inputs);
    kernels.search(
      matrix.values,
      shape,
      importance,
      { factors, reach: search.reach ?? 0, refits: 0, coherence: 0, realZeros: false },
      target,
    );
  });
}
