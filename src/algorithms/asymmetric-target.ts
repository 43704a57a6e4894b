/**
 * What rounding aims at when the float model's values are to be met, although the inputs are those of the quantized prefix: the
 * weights T that come closest to it were there no grid. With H = Σ x xᵀ
 *
 *     T = W + share · D H⁻¹,   D = W C,  C = Σ (x_float − x) xᵀ          the layer's own outputs ("GPTAQ", Y. Li et al. 2025)
 *     T = W + share · D H⁻¹,   D = Σ (t_float − t) xᵀ                      the sum t that its outputs go into
 *
 * Where a layer ends in a residual sum the second one is taken: it is the same least squares, but what earlier layers lost on their
 * way through the sum counts too, and the layer makes up for as much of it as its inputs tell. The damping of H keeps T near W.
 * Cost: rows · n² multiplications to solve, as much again for W C.
 */

import type { InputStatistics } from '../calibration/statistics/input-statistics.ts';
import { WhittleError } from '../errors.ts';
import { solveFactorised } from './cholesky.ts';
import type { FactorisedGram } from './damping.ts';
import { crossOf } from './linear-algebra.ts';
import type { WeightMatrix } from './matrix.ts';

/**
 * f64 [outputs, inputs].
 * @param share - 0 to 1
 * @throws WhittleError E_DATA where the statistics have neither matrix, E_SHAPE where they are of another product, E_NONFINITE
 */
export function asymmetricTarget(
  weight: WeightMatrix,
  statistics: InputStatistics,
  { lower, order }: FactorisedGram,
  share: number,
): Float64Array {
  const { values, outputs, inputs: n } = weight;
  const lacking = lackingOf(weight, statistics);
  const target = new Float64Array(outputs * n);
  const shift = new Float64Array(n);
  const reversed = new Float64Array(n);
  for (let row = 0; row < outputs; row++) {
    lacking(row, shift);
    for (let i = 0; i < n; i++) reversed[i] = shift[order[n - 1 - i]!]!;
    solveFactorised(lower, n, reversed);
    for (let i = 0; i < n; i++) {
      const at = row * n + order[n - 1 - i]!;
      target[at] = values[at]! + share * reversed[i]!;
    }
  }
  return target;
}

/** Writes a row of D. */
function lackingOf(
  { values, outputs, inputs: n }: WeightMatrix,
  statistics: InputStatistics,
): (row: number, into: Float64Array) => void {
  const { drift } = statistics;
  if (drift === undefined) {
    const cross = crossOf(statistics, n);
    return (row, into) => {
      into.fill(0);
      for (let i = 0; i < n; i++) {
        const w = values[row * n + i]!;
        for (let j = 0; j < n; j++) into[j] = into[j]! + w * cross[i * n + j]!;
      }
    };
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
  return (row, into) => into.set(drift.subarray(row * n, (row + 1) * n));
}
