/**
 * The two growing histograms of onnxruntime's calibrators (docs/onnx.md 3.7), f32 edges and all.
 *   CentredHistogram    values on [−T, T], T = the largest magnitude so far; a later batch that exceeds T widens it by
 *                       whole bins on both sides
 *   MagnitudeHistogram  |x| on [min|x|, max|x|] of the first batch; later batches add bins of the first bin's width
 *                       above (smaller magnitudes than the first batch had are not counted, as in the original)
 * A later batch that is thousands of times larger would need millions of bins: E_LIMIT instead of exhausted memory.
 */

import { WhittleError } from '../../errors.ts';
import type { ValueRange } from '../../numerics/affine.ts';
import { arange, edgeHistogram, floorDivide, uniformHistogram } from './numpy-arithmetic.ts';
import { assertFinite, type Extent, finiteRange } from './observer.ts';

const f = Math.fround;

/** The entropy search is quadratic in the bins: 32,768 take seconds. */
const MOST_CENTRED_BINS = 1 << 15;
/** Eight megabytes of counts. */
const MOST_MAGNITUDE_BINS = 1 << 20;

function limitBins(bins: number, most: number): void {
  // Also catches NaN and Infinity, from a first batch of no width.
  if (bins <= most) return;
  throw new WhittleError('E_LIMIT', 'a calibration batch is far larger than the first one', {
    expected: `a histogram of at most ${most} bins`,
    found: `${bins} bins of the width that the first batch set`,
    hint: 'Show the observer a typical batch first, or use the min-max or mean-squared-error observer.',
  });
}

export interface CalibrationHistogram {
  readonly counts: Float64Array;
  readonly edges: Float32Array;
  readonly observed: ValueRange;
}

export class CentredHistogram {
  readonly #bins: number;
  #state: (CalibrationHistogram & { readonly threshold: number }) | undefined;

  constructor(bins: number) {
    this.#bins = bins;
  }

  get current(): CalibrationHistogram | undefined {
    return this.#state;
  }

  /** Empty bins for values of this extent. */
  prepare(whole: Extent): void {
    assertFinite(whole);
    const threshold = Math.max(Math.abs(whole.min), Math.abs(whole.max));
    const empty = uniformHistogram(new Float32Array(0), this.#bins, -threshold, threshold);
    this.#state = { ...empty, observed: { min: whole.min, max: whole.max }, threshold };
  }

  add(values: Float32Array): void {
    if (values.length === 0) return;
    const batch = finiteRange(values);
    const threshold = Math.max(Math.abs(batch.min), Math.abs(batch.max));
    const old = this.#state;
    if (old === undefined) {
      const histogram = uniformHistogram(values, this.#bins, -threshold, threshold);
      this.#state = { ...histogram, observed: batch, threshold };
      return;
    }
    const observed = {
      min: Math.min(old.observed.min, batch.min),
      max: Math.max(old.observed.max, batch.max),
    };
    const bins = old.counts.length;
    if (threshold <= old.threshold) {
      const { counts } = uniformHistogram(values, bins, -old.threshold, old.threshold);
      this.#state = { ...old, counts: counts.map((count, i) => count + old.counts[i]!), observed };
      return;
    }
    if (old.threshold === 0) {
      const { counts, edges } = uniformHistogram(values, bins, -threshold, threshold);
      this.#state = { counts: counts.map((count, i) => count + old.counts[i]!), edges, observed, threshold };
      return;
    }
    const stride = f(f(2 * old.threshold) / bins);
    const added = Math.trunc(f(floorDivide(f(threshold - old.threshold), stride) + 1));
    limitBins(bins + 2 * added, MOST_CENTRED_BINS);
    const widened = f(f(added * stride) + old.threshold);
    const { counts, edges } = uniformHistogram(values, bins + 2 * added, -widened, widened);
    old.counts.forEach((count, i) => {
      counts[added + i]! += count;
    });
    this.#state = { counts, edges, observed, threshold: widened };
  }
}

export class MagnitudeHistogram {
  readonly #bins: number;
  #state: CalibrationHistogram | undefined;
  #whole: ValueRange | undefined;

  constructor(bins: number) {
    this.#bins = bins;
  }

  get current(): CalibrationHistogram | undefined {
    return this.#state;
  }

  /** Empty bins for values of this extent. */
  prepare(whole: Extent): void {
    assertFinite(whole);
    const { min, max, smallest } = whole;
    this.#whole = { min: smallest, max: Math.max(Math.abs(min), Math.abs(max)) };
    const empty = uniformHistogram(new Float32Array(0), this.#bins, this.#whole.min, this.#whole.max);
    this.#state = { ...empty, observed: { min, max } };
  }

  add(values: Float32Array): void {
    if (values.length === 0) return;
    const batch = finiteRange(values);
    const magnitudes = values.map(Math.abs);
    const { min, max } = finiteRange(magnitudes);
    const old = this.#state;
    if (old === undefined) {
      this.#state = { ...uniformHistogram(magnitudes, this.#bins, min, max), observed: batch };
      return;
    }
    const whole = this.#whole;
    if (whole !== undefined && min >= whole.min && max <= whole.max) {
      const { counts } = uniformHistogram(magnitudes, this.#bins, whole.min, whole.max);
      this.#state = { ...old, counts: counts.map((count, i) => count + old.counts[i]!) };
      return;
    }
    let { edges } = old;
    const last = edges[edges.length - 1]!;
    if (max > last) {
      const width = f(edges[1]! - edges[0]!);
      limitBins(edges.length + (max - last) / width, MOST_MAGNITUDE_BINS);
      edges = Float32Array.from([...edges, ...arange(f(last + width), f(max + width), width)]);
    }
    const counts = edgeHistogram(magnitudes, edges);
    old.counts.forEach((count, i) => {
      counts[i]! += count;
    });
    const observed = {
      min: Math.min(old.observed.min, batch.min),
      max: Math.max(old.observed.max, batch.max),
    };
    this.#state = { counts, edges, observed };
  }
}
