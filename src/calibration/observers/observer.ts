/**
 * An observer turns values into a range: show it every batch with `observe`, then ask for `range()`. The range then goes
 * into a scale and a zero point (numerics/affine.ts or numerics/onnxruntime-scale.ts).
 */

import { WhittleError } from '../../errors.ts';
import type { ValueRange } from '../../numerics/affine.ts';

export interface RangeObserver {
  /** One collecting step: a batch of activations, or a weight. Empty arrays change nothing. */
  observe(values: Float32Array): void;
  /** The range so far; 0…0 before anything was seen. */
  range(): ValueRange;
}

/** Smallest, largest and largest magnitude of a batch; throws E_NONFINITE, as a histogram cannot hold NaN or Inf. */
export function finiteRange(values: Float32Array): ValueRange {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (!Number.isFinite(value)) {
      throw new WhittleError('E_NONFINITE', `calibration value ${i} is ${value}`, {
        expected: 'finite values',
        hint: 'Leave this sample out, or use the min-max observer, which skips NaN.',
      });
    }
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { min, max };
}

/** Cuts a chosen range at what was observed. */
export function withinObserved(range: ValueRange, observed: ValueRange): ValueRange {
  return { min: Math.max(range.min, observed.min), max: Math.min(range.max, observed.max) };
}
