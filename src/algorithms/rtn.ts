/**
 * Round to nearest: the grid covers the range of each group, 0 included, and every weight takes the nearest code.
 *
 * Asymmetric: scale = (max − min) / (2^b − 1), zero = round(−min / scale). Symmetric: scale = −extreme / 2^(b−1) with the sign of the
 * extreme, as onnxruntime's block quantizer has it, so that the largest magnitude is exact. Real zeros: zero = −min / scale, over the
 * range of the values alone, so that both its ends are exact.
 * Minimises nothing; bounds the error of a weight by half a scale. Needs the weight only. Cost: one pass.
 */

import { type GridKernels, referenceGridKernels } from '../kernels/grid/index.ts';
import { quantizeWith } from './grid.ts';
import type { GridOptions, QuantizedMatrix, WeightMatrix } from './matrix.ts';

/** No splitting: the range itself. */
const RANGE_ONLY = { norm: 0.7, beta: 10, kappa: 1.01, iterations: 0, roundStart: false };
const WHOLE_RANGE = Float32Array.of(1);

/** Nearest codes on the grid of each group's range. @throws WhittleError as checkMatrix */
export function roundToNearest(
  matrix: WeightMatrix,
  options: GridOptions,
  kernels: GridKernels = referenceGridKernels(),
): QuantizedMatrix {
  return quantizeWith(matrix, options, (shape, target) => {
    if (options.zeroPoints === 'real' && !options.symmetric) {
      kernels.halfQuadratic(matrix.values, shape, RANGE_ONLY, target);
      return;
    }
    kernels.search(
      matrix.values,
      shape,
      undefined,
      { factors: WHOLE_RANGE, reach: 0, refits: 0, coherence: 0, realZeros: false },
      target,
    );
  });
}
