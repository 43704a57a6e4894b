/**
 * The two growing histograms of onnxruntime's calibrators (onnx.md 3.7), f32 edges and all.
 *   CentredHistogram    values on [−T, T], T = the largest magnitude so far; a later batch that exceeds T widens it by
 *                       whole bins on both sides
 *   MagnitudeHistogram  |x| on [min|x|, max|x|] of the first batch; later batches add bins of the first bin's width
 *                       above (smaller magnitudes than the first batch had are not counted, as in the original)
 */

import type { ValueRange } from '../../numerics/affine.ts';
import { arange, edgeHistogram, floorDivide, uniformHistogram } from './numpy-arithmetic.ts';
import { finiteRange } from './observer.ts';

const f = Math.fround;

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

  constructor(bins: number) {
    this.#bins = bins;
  }

  get current(): CalibrationHistogram | undefined {
    return this.#state;
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
    let { edges } = old;
    const last = edges[edges.length - 1]!;
    if (max > last) {
      const width = f(edges[1]! - edges[0]!);
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
