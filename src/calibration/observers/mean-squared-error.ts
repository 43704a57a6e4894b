/**
 * Mean-squared-error search: the range whose quantization has the smallest squared error on the values. A narrower range
 * has finer steps but clips; the optimum for bell-shaped weights at 4 bits lies well inside min and max (Banner et al.
 * 2019, "Post training 4-bit quantization", ACIQ; found here by search instead of a distribution's formula).
 *
 * Search: both ends shrunk together by 1, 0.99, … 0.2 of the full range, then each end alone around the best (asymmetric
 * grids). The first of equal candidates wins, so the widest. `mseRange` measures on the values; the observer streams and
 * measures on a histogram of 2048 bins, each bin's values spread over four places in it.
 */

import {
  type AffineGrid,
  affineParameters,
  clamp,
  roundHalfEven,
  type ValueRange,
} from '../../numerics/affine.ts';
import { type Histogram, StreamingHistogram } from '../../numerics/statistics/histogram.ts';
import { finiteRange, type RangeObserver } from './observer.ts';

export interface MseOptions {
  /** 1 to 16. Default 8. */
  readonly bits?: number | undefined;
  readonly signed?: boolean | undefined;
  readonly symmetric?: boolean | undefined;
  readonly restricted?: boolean | undefined;
}

const CANDIDATES = 81;
const STEP = 0.01;

export class MseObserver implements RangeObserver {
  readonly #grid: AffineGrid;
  readonly #histogram = new StreamingHistogram(2048);
  #observed: ValueRange | undefined;

  constructor(options: MseOptions = {}) {
    this.#grid = gridOf(options);
  }

  observe(values: Float32Array): void {
    if (values.length === 0) return;
    const batch = finiteRange(values);
    this.#histogram.add(values, batch.min, batch.max);
    const old = this.#observed;
    this.#observed =
      old === undefined ? batch : { min: Math.min(old.min, batch.min), max: Math.max(old.max, batch.max) };
  }

  range(): ValueRange {
    if (this.#observed === undefined) return { min: 0, max: 0 };
    const { places, counts } = placesOf(this.#histogram.result(), this.#observed);
    return searchRange(places, counts, this.#observed, this.#grid);
  }
}

/** The range that quantizes exactly these values best; usable as `range` of a `TensorScheme`. */
export function mseRange(options: MseOptions = {}): (values: Float32Array) => ValueRange {
  const grid = gridOf(options);
  return (values) =>
    values.length === 0 ? { min: 0, max: 0 } : searchRange(values, undefined, finiteRange(values), grid);
}

function gridOf(options: MseOptions): AffineGrid {
  const { bits = 8, signed = true } = options;
  const symmetric = options.symmetric ?? signed;
  const restricted = options.restricted ?? (symmetric && bits >= 8);
  return { bits, signed, symmetric, restricted, formula: 'round', scaleType: 'f32' };
}

function searchRange(
  values: Float32Array,
  counts: Float64Array | undefined,
  observed: ValueRange,
  grid: AffineGrid,
): ValueRange {
  const min = Math.min(0, observed.min);
  const max = Math.max(0, observed.max);
  let best: ValueRange = { min, max };
  let least = squaredError(values, counts, best, grid);
  const attempt = (candidate: ValueRange): void => {
    const error = squaredError(values, counts, candidate, grid);
    if (error < least) {
      least = error;
      best = candidate;
    }
  };
  for (let i = 1; i < CANDIDATES; i++) {
    const share = 1 - i * STEP;
    attempt({ min: min * share, max: max * share });
  }
  if (grid.symmetric) return best;
  const { min: jointMin, max: jointMax } = best;
  for (let i = 1; i < CANDIDATES; i += 2) {
    const share = 1 - i * STEP;
    attempt({ min: min * share, max: jointMax });
    attempt({ min: jointMin, max: max * share });
  }
  return best;
}

function squaredError(
  values: Float32Array,
  counts: Float64Array | undefined,
  range: ValueRange,
  grid: AffineGrid,
): number {
  const { scale, zeroPoint, low, high } = affineParameters(range, grid);
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const x = values[i]!;
    const code = clamp(roundHalfEven(x / scale) + zeroPoint, low, high);
    const error = x - (code - zeroPoint) * scale;
    sum += error * error * (counts === undefined ? 1 : counts[i]!);
  }
  return sum;
}

/** Four evenly spaced values for each occupied bin, with their counts; end bins are cut at the observed ends. */
function placesOf(
  histogram: Histogram,
  observed: ValueRange,
): { places: Float32Array; counts: Float64Array } {
  const places: number[] = [];
  const counts: number[] = [];
  histogram.counts.forEach((count, i) => {
    if (count === 0) return;
    const from = Math.max(observed.min, histogram.low + i * histogram.width);
    const to = Math.min(observed.max, histogram.low + (i + 1) * histogram.width);
    for (let part = 0; part < 4; part++) {
      places.push(from + ((part + 0.5) / 4) * (to - from));
      counts.push(count / 4);
    }
  });
  return { places: Float32Array.from(places), counts: Float64Array.from(counts) };
}
