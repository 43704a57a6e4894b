/**
 * Min-max observers (docs/onnx.md 3.7): the plain one keeps the extremes of everything seen; the moving average follows them
 * slowly, new = old + c · (batch − old) in f32 after each batch with c = 0.01, so that one odd batch does not set the range.
 * NaN is ignored, ±Inf is not (a range that is not finite is refused where the scale is made).
 */

import type { ValueRange } from '../../numerics/affine.ts';
import type { RangeObserver } from './observer.ts';

export class MinMaxObserver implements RangeObserver {
  #range: ValueRange | undefined;

  observe(values: Float32Array): void {
    const batch = rangeSkippingNaN(values);
    if (batch === undefined) return;
    this.#range =
      this.#range === undefined
        ? batch
        : { min: Math.min(this.#range.min, batch.min), max: Math.max(this.#range.max, batch.max) };
  }

  range(): ValueRange {
    return this.#range ?? { min: 0, max: 0 };
  }
}

export class MovingAverageObserver implements RangeObserver {
  readonly #constant: number;
  #range: ValueRange | undefined;

  constructor(options: { readonly averagingConstant?: number | undefined } = {}) {
    this.#constant = Math.fround(options.averagingConstant ?? 0.01);
  }

  observe(values: Float32Array): void {
    const batch = rangeSkippingNaN(values);
    if (batch === undefined) return;
    const old = this.#range;
    this.#range =
      old === undefined
        ? batch
        : { min: this.#follow(old.min, batch.min), max: this.#follow(old.max, batch.max) };
  }

  range(): ValueRange {
    return this.#range ?? { min: 0, max: 0 };
  }

  #follow(old: number, next: number): number {
    return Math.fround(old + Math.fround(this.#constant * Math.fround(next - old)));
  }
}

function rangeSkippingNaN(values: Float32Array): ValueRange | undefined {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return min <= max ? { min, max } : undefined;
}
