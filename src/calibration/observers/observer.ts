/**
 * An observer turns values into a range: show it every batch with `observe`, then ask for `range()`. The range then goes
 * into a scale and a zero point (numerics/affine.ts or numerics/onnxruntime-scale.ts).
 */

import { WhittleError } from '../../errors.ts';
import type { ValueRange } from '../../numerics/affine.ts';

/** Extremes of everything that will be shown: of the values, and the smallest magnitude. */
export interface Extent extends ValueRange {
  readonly smallest: number;
}

export interface RangeObserver {
  /**
   * Before the first batch: what all batches together will hold. A histogram then has from the beginning the bins that it
   * would have were all batches one, and the range does not depend on how values come in batches.
   */
  prepare?(whole: Extent): void;
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

/** E_NONFINITE for an extent that no histogram can hold. */
export function assertFinite({ min, max }: ValueRange): void {
  if (Number.isFinite(min) && Number.isFinite(max)) return;
  throw new WhittleError('E_NONFINITE', 'the values are not finite', {
    expected: 'finite values',
    found: `${min} to ${max}`,
    hint: 'Leave this sample out, or use the min-max observer.',
  });
}

/** Cuts a chosen range at what was observed. */
export function withinObserved(range: ValueRange, observed: ValueRange): ValueRange {
  return { min: Math.max(range.min, observed.min), max: Math.min(range.max, observed.max) };
}
