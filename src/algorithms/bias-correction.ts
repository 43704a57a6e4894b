/**
 * Bias correction: a quantized weight shifts the mean of its outputs, since its errors meet inputs whose mean is not zero; the bias takes
 * the shift back. "Data-Free Quantization" (Nagel et al., 2019), section 4.2.
 *
 *   b += (W − Ŵ) E[x]              from the inputs of the float model alone
 *   b += W E[x] − Ŵ E[x̂]           where the inputs x̂ of the quantized prefix are known: what came before is taken back as well
 *
 * Makes the error's mean zero and leaves its variance. E[x] comes from data, or, behind BatchNormalization and ReLU, from the
 * normalization itself (`clippedNormalMean`, appendix C of the paper). Cost: one product of a matrix and a vector.
 */

import type { InputStatistics } from '../calibration/statistics/input-statistics.ts';
import { WhittleError } from '../errors.ts';
import type { WeightMatrix } from './matrix.ts';

/**
 * E[x], f64 [groups · inputs].
 * @throws WhittleError E_DATA where sums were not collected, or there were no rows
 */
export function meanInput({ sums, rows }: InputStatistics): Float64Array {
  if (sums === undefined || rows === 0) {
    throw new WhittleError('E_DATA', 'the statistics have no means', {
      expected: "statistics that were collected with 'sums' on at least one row",
    });
  }
  return sums.map((sum) => sum / rows);
}

/**
 * What has to be added to the bias, f64 [outputs].
 * @param restored - what the runtime multiplies with, f32 [outputs, inputs]
 * @param means - E[x] of the float model, [inputs]; of a grouped convolution [groups, inputs]
 * @param quantized - E[x̂] of the quantized prefix; default: that of the float model
 * @throws WhittleError E_SHAPE
 */
export function biasCorrection(
  { values, outputs, inputs }: WeightMatrix,
  restored: Float32Array,
  means: Float64Array,
  quantized: Float64Array = means,
): Float64Array {
  const groups = means.length / inputs;
  const fits =
    restored.length === values.length && quantized.length === means.length && outputs % groups === 0;
  if (!fits) {
    throw new WhittleError('E_SHAPE', 'weight, quantized weight and means do not belong together', {
      expected: `${outputs} × ${inputs} values and means of ${inputs} inputs`,
      found: `${restored.length} values, ${means.length} and ${quantized.length} means`,
    });
  }
  const perGroup = outputs / groups;
  return Float64Array.from({ length: outputs }, (_, output) => {
    const from = Math.floor(output / perGroup) * inputs;
    const row = output * inputs;
    let sum = 0;
    for (let i = 0; i < inputs; i++)
      sum += values[row + i]! * means[from + i]! - restored[row + i]! * quantized[from + i]!;
    return sum;
  });
}

/**
 * E[min(high, max(low, x))] for x normal with mean β and standard deviation |γ|: the mean of a channel behind BatchNormalization and an
 * activation that clips (ReLU: 0 to ∞, ReLU6: 0 to 6).
 */
export function clippedNormalMean(beta: number, gamma: number, low = 0, high = Infinity): number {
  const sigma = Math.abs(gamma);
  if (sigma === 0) return Math.min(high, Math.max(low, beta));
  const a = (low - beta) / sigma;
  const b = (high - beta) / sigma;
  const inside = cumulative(b) - cumulative(a);
  const ends =
    (low === -Infinity ? 0 : low * cumulative(a)) + (high === Infinity ? 0 : high * (1 - cumulative(b)));
  return ends + beta * inside + sigma * (density(a) - density(b));
}

function density(x: number): number {
  return Number.isFinite(x) ? Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI) : 0;
}

/**
 * Φ(x), to about 1e-7: 1 − Φ(x) = φ(x) · polynomial for x ≥ 0 (Abramowitz and Stegun, 26.2.17).
 */
function cumulative(x: number): number {
  if (x === Infinity) return 1;
  if (x < 0) return 1 - cumulative(-x);
  const t = 1 / (1 + 0.2316419 * x);
  const polynomial =
    t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return 1 - density(x) * polynomial;
}
