/**
 * The error of a layer's output in terms of its weights: ‖(W − Ŵ) X‖² = tr((W − Ŵ) H (W − Ŵ)ᵀ) with H = Σ x xᵀ, which is all that
 * calibration has to keep of the inputs. And what checks such an H.
 */

import type { InputStatistics } from '../calibration/statistics/input-statistics.ts';
import { WhittleError } from '../errors.ts';
import type { AlgebraKernels } from '../kernels/algebra/index.ts';
import { dequantizeMatrix, type QuantizedMatrix, type WeightMatrix } from './matrix.ts';

/**
 * tr((W − Ŵ) H (W − Ŵ)ᵀ): the summed squared error of the outputs over all inputs that were seen.
 * @param quantized - codes on a grid, or the restored values themselves, f32 [outputs, inputs]
 * @param gram - H, [inputs, inputs]
 * @throws WhittleError E_SHAPE
 */
export function layerError(
  { values, outputs, inputs }: WeightMatrix,
  quantized: QuantizedMatrix | Float32Array,
  gram: Float32Array | Float64Array,
): number {
  const restored = quantized instanceof Float32Array ? quantized : dequantizeMatrix(quantized);
  if (restored.length !== values.length || gram.length !== inputs * inputs) {
    throw new WhittleError('E_SHAPE', 'weight, quantized weight and Gram matrix do not belong together', {
      expected: `${outputs} × ${inputs} values and ${inputs} × ${inputs} sums`,
      found: `${restored.length} values and ${gram.length} sums`,
    });
  }
  const difference = new Float64Array(inputs);
  let total = 0;
  for (let row = 0; row < outputs; row++) {
    for (let i = 0; i < inputs; i++) difference[i] = values[row * inputs + i]! - restored[row * inputs + i]!;
    total += quadraticForm(difference, gram);
  }
  return total;
}

/** x H xᵀ for a symmetric H; reads its lower half. */
export function quadraticForm(x: Float64Array, gram: Float32Array | Float64Array): number {
  const n = x.length;
  let total = 0;
  for (let i = 0; i < n; i++) {
    let rest = 0;
    for (let j = 0, at = i * n; j < i; j++, at++) rest += gram[at]! * x[j]!;
    total += x[i]! * (gram[i * n + i]! * x[i]! + 2 * rest);
  }
  return total;
}

/** The same of each row. @param rows - f64 [rows, n] @param algebra - SIMD kernels, which give the same numbers */
export function quadraticForms(
  rows: Float64Array,
  gram: Float32Array | Float64Array,
  n: number,
  algebra?: AlgebraKernels,
): Float64Array {
  if (algebra !== undefined) return algebra.quadraticForms(rows, gram, n);
  return Float64Array.from({ length: n === 0 ? 0 : rows.length / n }, (_, row) =>
    quadraticForm(rows.subarray(row * n, (row + 1) * n), gram),
  );
}

/**
 * The Gram matrix of statistics that fit the product.
 * @throws WhittleError E_SHAPE where they are of another product or have several groups, E_DATA where there is no Gram matrix,
 * E_NONFINITE where it holds NaN or Infinity
 */
export function gramOf(statistics: InputStatistics, inputs: number): Float32Array {
  const { gram, groups = 1 } = statistics;
  if (statistics.inputs !== inputs || groups !== 1) {
    throw new WhittleError('E_SHAPE', 'the statistics are of another product', {
      expected: `${inputs} inputs in one group`,
      found: `${statistics.inputs} inputs in ${groups} groups`,
    });
  }
  if (gram === undefined) {
    throw new WhittleError('E_DATA', 'the statistics have no Gram matrix', {
      expected: "statistics that were collected with 'gram'",
      hint: 'Calibrate again, or take an algorithm that needs less: clip search, AWQ.',
    });
  }
  checkSquare('Gram', gram, inputs);
  return gram;
}

/** The asymmetric term Σ (x_float − x) xᵀ. @throws WhittleError as gramOf */
export function crossOf({ cross }: InputStatistics, inputs: number): Float32Array {
  if (cross === undefined) {
    throw new WhittleError('E_DATA', "the statistics have no products with the float model's inputs", {
      expected: "statistics that were collected with 'cross'",
      hint: 'Calibrate again, or leave the asymmetric term out.',
    });
  }
  checkSquare('cross', cross, inputs);
  return cross;
}

function checkSquare(name: string, matrix: Float32Array, n: number): void {
  if (matrix.length !== n * n) {
    throw new WhittleError('E_SHAPE', `the ${name} matrix is not square`, {
      expected: `${n} × ${n} sums`,
      found: `${matrix.length} sums`,
    });
  }
  for (let i = 0; i < matrix.length; i++) {
    if (Number.isFinite(matrix[i]!)) continue;
    throw new WhittleError(
      'E_NONFINITE',
      `the ${name} matrix holds ${matrix[i]} at [${Math.floor(i / n)}, ${i % n}]`,
      {
        expected: 'finite sums',
        found: String(matrix[i]),
        hint: 'Calibrate again with data that the model computes without NaN or Infinity.',
      },
    );
  }
}
