/**
 * HQQ: half-quadratic quantization (H. Badri and A. Shaji, "Half-Quadratic Quantization of Large Machine Learning Models", 2023).
 *
 * Minimises ‖W − Ŵ‖_p^p, p = 0.7, over the zero of each group by half-quadratic splitting; the scale stays that of the range.
 * Needs the weight only. Cost: up to 20 roundings of the weight.
 * Zeros are real numbers, which MatMulNBits can store and integer encodings cannot: for those see grid-fit.ts.
 */

import { type GridKernels, referenceGridKernels } from '../kernels/grid/index.ts';
import { quantizeWith } from './grid.ts';
import type { GridOptions, QuantizedMatrix, WeightMatrix } from './matrix.ts';

/** The settings of the reference implementation. */
const REFERENCE = { norm: 0.7, beta: 10, kappa: 1.01, iterations: 20 } as const;
/** At 4 bits the splitting sets out from an integer zero, so that 0 is exact. */
const ROUNDED_BITS = 4;

/**
 * Asymmetric grids with real zero points, whatever `options.symmetric` says.
 * @throws WhittleError as checkMatrix
 */
export function halfQuadratic(
  matrix: WeightMatrix,
  options: GridOptions,
  kernels: GridKernels = referenceGridKernels(),
): QuantizedMatrix {
  const asymmetric = { ...options, symmetric: false };
  return quantizeWith(matrix, asymmetric, (shape, target) =>
    kernels.halfQuadratic(
      matrix.values,
      shape,
      { ...REFERENCE, roundStart: options.bits === ROUNDED_BITS },
      target,
    ),
  );
}
