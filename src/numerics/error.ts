/**
 * How far one tensor is from another: `a` is the original (the signal), `b` the approximation; error e = a − b.
 *   maxAbs  max |e|                          mse     Σe² / n            rmse   √mse
 *   sqnr    10 · log10(Σa² / Σe²) in dB      cosine  Σab / √(Σa² Σb²)
 * Equal tensors have the SQNR +Infinity (also when both are zero); a zero signal with an error has −Infinity. The cosine
 * of two zero tensors is 1, of a zero and a non-zero one 0. Sums are those of the kernels (f64, fixed lane order).
 */

import { WhittleError } from '../errors.ts';
import type { ErrorSums, Kernels } from '../kernels/kernels.ts';
import { kernelsOf } from './weights.ts';

export interface ErrorMetrics {
  readonly count: number;
  readonly maxAbs: number;
  readonly mse: number;
  readonly rmse: number;
  /** Signal to quantization noise, dB. */
  readonly sqnr: number;
  readonly cosine: number;
}

export interface TensorError extends ErrorMetrics {
  /** One row for each run of `groupSize` values, where that was asked for; the last may be shorter. */
  readonly groups?: readonly ErrorMetrics[];
}

export interface ErrorOptions {
  readonly groupSize?: number | undefined;
  readonly kernels?: Kernels | undefined;
}

/** Error of `b` as an approximation of `a`. Throws E_SHAPE when the lengths differ. */
export function measureError(a: Float32Array, b: Float32Array, options: ErrorOptions = {}): TensorError {
  if (a.length !== b.length) {
    throw new WhittleError('E_SHAPE', 'tensors of different sizes cannot be compared', {
      expected: `${a.length} elements`,
      found: `${b.length} elements`,
    });
  }
  const kernels = kernelsOf(options);
  const whole = errorMetrics(kernels.errorSums(a, b), a.length);
  const { groupSize } = options;
  if (groupSize === undefined) return whole;
  if (!Number.isSafeInteger(groupSize) || groupSize < 1) {
    throw new WhittleError('E_USAGE', 'the group size must be a positive integer', {
      found: String(groupSize),
    });
  }
  const groups: ErrorMetrics[] = [];
  for (let start = 0; start < a.length; start += groupSize) {
    const end = Math.min(a.length, start + groupSize);
    groups.push(errorMetrics(kernels.errorSums(a.subarray(start, end), b.subarray(start, end)), end - start));
  }
  return { ...whole, groups };
}

/** Metrics of sums; sums of parts may be added first, which is how errors stream. */
export function errorMetrics(sums: Omit<ErrorSums, 'count'>, count: number): ErrorMetrics {
  const { maxAbs, squaredError, squaredA, squaredB, dot } = sums;
  const mse = count === 0 ? 0 : squaredError / count;
  let sqnr = Number.POSITIVE_INFINITY;
  if (squaredError !== 0) sqnr = 10 * Math.log10(squaredA / squaredError);
  const norms = Math.sqrt(squaredA * squaredB);
  const cosine = norms === 0 ? (squaredA === squaredB ? 1 : 0) : Math.max(-1, Math.min(1, dot / norms));
  return { count, maxAbs, mse, rmse: Math.sqrt(mse), sqnr, cosine };
}
