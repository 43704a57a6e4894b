/**
 * What calibration knows of any value of a graph: extremes, sums and second moments, for the whole value or for each channel of one
 * axis, and a histogram where it was asked for. All of it merges, so that runs over parts of the data give what one run over all
 * gives: the histogram's bins are 2^e wide and only ever paired (numerics/statistics/histogram.ts).
 */

import { WhittleError } from '../../errors.ts';
import type { ValueRange } from '../../numerics/affine.ts';
import { type Histogram, StreamingHistogram } from '../../numerics/statistics/histogram.ts';

export interface ValueStatistics {
  /** Axis whose places have figures of their own; absent: the value as a whole, one channel. */
  readonly axis?: number | undefined;
  readonly channels: number;
  /** Numbers seen of each channel. */
  readonly count: number;
  /** f32 [channels]. */
  readonly minima: Float32Array;
  readonly maxima: Float32Array;
  /** Σ x, f64 [channels]. */
  readonly sums: Float64Array;
  /** Σ x², f64 [channels]. */
  readonly squares: Float64Array;
  /** Of the whole value. */
  readonly histogram?: Histogram | undefined;
}

/** Bins of a saved histogram at most. */
export const HISTOGRAM_BINS = 2048;

/** @throws WhittleError E_SHAPE where the two are not of the same channels */
export function mergeTensors(a: ValueStatistics, b: ValueStatistics): ValueStatistics {
  if (a.axis !== b.axis || a.channels !== b.channels) {
    const describe = ({ axis, channels }: ValueStatistics): string =>
      axis === undefined ? 'the value as a whole' : `${channels} channels of axis ${axis}`;
    throw new WhittleError('E_SHAPE', 'statistics of different channels cannot be merged', {
      expected: describe(a),
      found: describe(b),
    });
  }
  return {
    ...(a.axis === undefined ? {} : { axis: a.axis }),
    channels: a.channels,
    count: a.count + b.count,
    minima: a.minima.map((value, i) => Math.min(value, b.minima[i]!)),
    maxima: a.maxima.map((value, i) => Math.max(value, b.maxima[i]!)),
    sums: a.sums.map((value, i) => value + b.sums[i]!),
    squares: a.squares.map((value, i) => value + b.squares[i]!),
    histogram:
      a.histogram === undefined || b.histogram === undefined
        ? undefined
        : mergedHistogram(a.histogram, b.histogram),
  };
}

function mergedHistogram(a: Histogram, b: Histogram): Histogram {
  const merged = StreamingHistogram.of(a, HISTOGRAM_BINS);
  merged.merge(StreamingHistogram.of(b, HISTOGRAM_BINS));
  return merged.result();
}

/** Σ x / count of each channel. */
export function meansOf({ sums, count }: ValueStatistics): Float64Array {
  return sums.map((sum) => (count === 0 ? 0 : sum / count));
}

/** max |x| of each channel. */
export function peaksOf({ minima, maxima }: ValueStatistics): Float32Array {
  return minima.map((value, i) => Math.max(Math.abs(value), Math.abs(maxima[i]!)));
}

/**
 * The range that leaves (100 − percentile) / 2 % of the numbers out on each side, to the width of a bin, and within what was seen.
 * @throws WhittleError E_USAGE without a histogram
 */
export function percentileRange(statistics: ValueStatistics, percentile: number): ValueRange {
  const { histogram, minima, maxima } = statistics;
  if (histogram === undefined || !(percentile > 0 && percentile <= 100)) {
    throw new WhittleError('E_USAGE', 'a percentile needs a histogram, and lies between 0 and 100', {
      found: histogram === undefined ? 'statistics without a histogram' : String(percentile),
    });
  }
  const { low, width, counts } = histogram;
  const total = counts.reduce((sum, count) => sum + count, 0);
  const cut = (total * (100 - percentile)) / 200;
  const edge = (from: number, step: 1 | -1): number => {
    let left = 0;
    let at = from;
    for (; at >= 0 && at < counts.length; at += step) {
      left += counts[at]!;
      if (left > cut) break;
    }
    return at;
  };
  const min = low + edge(0, 1) * width;
  const max = low + (edge(counts.length - 1, -1) + 1) * width;
  return {
    min: Math.max(
      min,
      minima.reduce((a, b) => Math.min(a, b), Infinity),
    ),
    max: Math.min(
      max,
      maxima.reduce((a, b) => Math.max(a, b), -Infinity),
    ),
  };
}
