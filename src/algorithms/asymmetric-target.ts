/**
 * What rounding aims at when the float model's values are to be met, although the inputs are those of the quantized prefix: the
 * weights T that come closest to it were there no grid. With H = Σ x xᵀ
 *
 *     T = W + share · D H⁻¹,   D = W C,  C = Σ (x_float − x) xᵀ          the layer's own outputs ("GPTAQ", Y. Li et al. 2025)
 *     T = W + share · D H⁻¹,   D = Σ (t_float − t) xᵀ                      the sum t that its outputs go into
 *
 * Where a layer ends in a residual sum the second one is taken: it is the same least squares, but what earlier layers lost on their
 * way through the sum counts too, and the layer makes up for as much of it as its inputs tell. The damping of H keeps T near W.
 * Cost: rows · n² multiplications to solve, as much again for W C, whose sums are f32 over 128 inputs each and f64 beyond; in kernels, with the
 * same numbers.
 */

import type { InputStatistics } from '../calibration/statistics/input-statistics.ts';
import { WhittleError } from '../errors.ts';
import type { AlgebraKernels } from '../kernels/algebra/index.ts';
import { solveRows } from './cholesky.ts';
import type { FactorisedGram } from './damping.ts';
import { crossOf } from './linear-algebra.ts';
import type { WeightMatrix } from './matrix.ts';

/** Inputs whose products are summed in f32. */
const SPAN = 128;

/**
 * f64 [outputs, inputs].
 * @param share - 0 to 1
 * @param algebra - SIMD kernels, which give the same numbers
 * @throws WhittleError E_DATA where the statistics have neither matrix, E_SHAPE where they are of another product, E_NONFINITE
 */
export function asymmetricTarget(
  weight: WeightMatrix,
  statistics: InputStatistics,
  { lower, order }: FactorisedGram,
  share: number,
  algebra?: AlgebraKernels,
): Float64Array {
  const { values, outputs, inputs: n } = weight;
  const target = lackingOf(weight, statistics, algebra);
  const shift = new Float64Array(outputs * n);
  for (let at = 0; at < shift.length; at += n)
    for (let i = 0; i < n; i++) shift[at + i] = target[at + order[n - 1 - i]!]!;
  solveRows(lower, n, shift, algebra);
  for (let at = 0; at < shift.length; at += n) {
    for (let i = 0; i < n; i++) {
      const to = at + order[n - 1 - i]!;
      target[to] = values[to]! + share * shift[at + i]!;
    }
  }
  return target;
}

/** D, f64 [outputs, inputs]. */
function lackingOf(
  { values, outputs, inputs: n }: WeightMatrix,
  statistics: InputStatistics,
  algebra: AlgebraKernels | undefined,
): Float64Array {
  const { drift } = statistics;
  if (drift === undefined) {
    const cross = crossOf(statistics, n);
    return algebra === undefined ? multiplyRows(values, cross, n) : algebra.multiply(values, cross, n);
  }
  if (drift.length !== outputs * n) {
    throw new WhittleError('E_SHAPE', 'the statistics are of another product', {
      expected: `${outputs} × ${n} sums`,
      found: `${drift.length} sums`,
    });
  }
  const bad = drift.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new WhittleError('E_NONFINITE', 'the drift matrix holds a value that is not finite', {
      expected: 'finite sums',
      found: `${drift[bad]} at [${Math.floor(bad / n)}, ${bad % n}]`,
      hint: 'Calibrate again with data that the model computes without NaN or Infinity.',
    });
  }
  return Float64Array.from(drift);
}

/** rows · matrix, f64 [rows, n]: sums over spans of inputs are f32, theirs f64. */
function multiplyRows(rows: Float32Array, matrix: Float32Array, n: number): Float64Array {
  const products = new Float64Array(rows.length);
  const sums = new Float32Array(n);
  for (let at = 0; at < rows.length; at += n) {
    for (let span = 0; span < n; span += SPAN) {
      sums.fill(0);
      for (let i = span; i < Math.min(n, span + SPAN); i++) {
        const value = rows[at + i]!;
        for (let j = 0; j < n; j++) sums[j] = sums[j]! + Math.fround(value * matrix[i * n + j]!);
      }
      for (let j = 0; j < n; j++) products[at + j] = products[at + j]! + sums[j]!;
    }
  }
  return products;
}
