/**
 * Statistics of a tensor that is never whole in memory: `add` chunks in any sizes, `merge` accumulators of other workers,
 * read `result`. One pass. Counts, min, max and the histogram are exact and independent of the cutting; mean and moments
 * agree up to f64 rounding. Moments describe the finite values only; NaN and ±Inf are counted apart.
 */

import { WhittleError } from '../../errors.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import { kernelsOf } from '../weights.ts';
import {
  type EffectiveRank,
  effectiveRank,
  outlierShare,
  type Percentile,
  percentileOf,
} from './distribution.ts';
import { type Histogram, StreamingHistogram } from './histogram.ts';
import { combineMoments, type Moments, momentsFromSums, NO_MOMENTS } from './moments.ts';

export interface TensorStatistics {
  /** All values. */
  readonly count: number;
  readonly finite: number;
  readonly nan: number;
  readonly positiveInfinity: number;
  readonly negativeInfinity: number;
  readonly zeros: number;
  /** Of the finite values, as everything below; 0 where there is none. */
  readonly min: number;
  readonly max: number;
  /** max − min. */
  readonly range: number;
  readonly absmax: number;
  /** Smallest magnitude that is not zero; 0 where there is none. */
  readonly absmin: number;
  readonly mean: number;
  /** Of the population: √(M2 / n). */
  readonly std: number;
  /** M3/n / std³; 0 for constants. */
  readonly skewness: number;
  /** Excess: M4/n / std⁴ − 3; 0 for a normal distribution and for constants. */
  readonly kurtosis: number;
  /** From the histogram, even spread within a bin. */
  readonly percentiles: readonly Percentile[];
  /** Share of values more than 6 standard deviations from the mean. */
  readonly outlierShare: number;
  readonly effectiveRank: EffectiveRank;
  /** At most `bins` bins. */
  readonly histogram: Histogram;
}

export interface StatisticsOptions {
  /** Most bins of the histogram that is returned. Default 64. */
  readonly bins?: number | undefined;
  /** Most bins kept inside; the resolution of the percentiles. Default 4096. */
  readonly resolution?: number | undefined;
  /** Default 0.1, 1, 5, 25, 50, 75, 95, 99, 99.9. */
  readonly percentiles?: readonly number[] | undefined;
  /** Default 6. */
  readonly outlierSigmas?: number | undefined;
  readonly kernels?: Kernels | undefined;
}

/** The code book of 8 bits, against which the effective rank is read. */
const RANK_BINS = 256;
/** More would tell values apart that an f32 does not. */
const MOST_BINS = 1 << 24;
const PERCENTILES = [0.1, 1, 5, 25, 50, 75, 95, 99, 99.9];

export class StatisticsAccumulator {
  readonly #options: StatisticsOptions;
  readonly #kernels: Kernels;
  readonly #histogram: StreamingHistogram;
  #count = 0;
  #nan = 0;
  #positiveInfinity = 0;
  #negativeInfinity = 0;
  #zeros = 0;
  #min = Number.POSITIVE_INFINITY;
  #max = Number.NEGATIVE_INFINITY;
  #absmin = Number.POSITIVE_INFINITY;
  #moments: Moments = NO_MOMENTS;

  /** Throws E_USAGE for options that are not numbers of their kind. */
  constructor(options: StatisticsOptions = {}) {
    checkOptions(options);
    this.#options = options;
    this.#kernels = kernelsOf(options);
    this.#histogram = new StreamingHistogram(options.resolution ?? 4096, this.#kernels);
  }

  add(values: Float32Array): void {
    if (values.length === 0) return;
    const shift = roughMean(values);
    const sums = this.#kernels.powerSums(values, shift);
    const finite = values.length - sums.nonFinite;
    this.#count += values.length;
    this.#nan += sums.nan;
    this.#zeros += sums.zeros;
    if (sums.nonFinite > sums.nan) {
      for (const value of values) {
        if (value === Number.POSITIVE_INFINITY) this.#positiveInfinity++;
        else if (value === Number.NEGATIVE_INFINITY) this.#negativeInfinity++;
      }
    }
    if (finite === 0) return;
    this.#min = Math.min(this.#min, sums.min);
    this.#max = Math.max(this.#max, sums.max);
    this.#absmin = Math.min(this.#absmin, sums.absMin);
    this.#moments = combineMoments(this.#moments, momentsFromSums(finite, shift, sums));
    this.#histogram.add(values, sums.min, sums.max);
  }

  /** Takes over what `other` saw; `other` stays as it is. */
  merge(other: StatisticsAccumulator): void {
    this.#count += other.#count;
    this.#nan += other.#nan;
    this.#positiveInfinity += other.#positiveInfinity;
    this.#negativeInfinity += other.#negativeInfinity;
    this.#zeros += other.#zeros;
    this.#min = Math.min(this.#min, other.#min);
    this.#max = Math.max(this.#max, other.#max);
    this.#absmin = Math.min(this.#absmin, other.#absmin);
    this.#moments = combineMoments(this.#moments, other.#moments);
    this.#histogram.merge(other.#histogram);
  }

  result(): TensorStatistics {
    const { bins = 64, percentiles = PERCENTILES, outlierSigmas = 6 } = this.#options;
    const finite = this.#moments.count;
    const [min, max] = finite === 0 ? [0, 0] : [this.#min, this.#max];
    const { mean, m2, m3, m4 } = this.#moments;
    const constant = min === max;
    const variance = finite === 0 || constant ? 0 : m2 / finite;
    const std = Math.sqrt(variance);
    const fine = this.#histogram.result();
    return {
      count: this.#count,
      finite,
      nan: this.#nan,
      positiveInfinity: this.#positiveInfinity,
      negativeInfinity: this.#negativeInfinity,
      zeros: this.#zeros,
      min,
      max,
      range: max - min,
      absmax: Math.max(Math.abs(min), Math.abs(max)),
      absmin: Number.isFinite(this.#absmin) ? this.#absmin : 0,
      mean: constant ? min : mean,
      std,
      skewness: variance > 0 ? m3 / finite / (variance * std) : 0,
      kurtosis: variance > 0 ? m4 / finite / (variance * variance) - 3 : 0,
      percentiles: percentiles.map((percent) => ({ percent, value: percentileOf(fine, min, max, percent) })),
      outlierShare: outlierShare(fine, { min, max, mean, std }, outlierSigmas),
      effectiveRank: effectiveRank(this.#histogram.result(RANK_BINS)),
      histogram: this.#histogram.result(bins),
    };
  }
}

function checkOptions({
  bins = 1,
  resolution = 2,
  percentiles = [],
  outlierSigmas = 1,
}: StatisticsOptions): void {
  const wrong = (name: string, expected: string, found: unknown): WhittleError =>
    new WhittleError('E_USAGE', `the option ${name} is out of range`, { expected, found: String(found) });
  for (const [name, value] of Object.entries({ bins, resolution })) {
    const sensible = Number.isInteger(value) && value >= 1 && value <= MOST_BINS;
    if (!sensible) throw wrong(name, `a whole number from 1 to ${MOST_BINS}`, value);
  }
  const outside = percentiles.find((percent) => !(percent >= 0 && percent <= 100));
  if (outside !== undefined) throw wrong('percentiles', 'numbers from 0 to 100', outside);
  if (!(outlierSigmas > 0)) throw wrong('outlierSigmas', 'a number above 0', outlierSigmas);
}

/** Mean of up to 64 evenly spaced finite values: close enough that the power sums about it do not cancel. */
function roughMean(values: Float32Array): number {
  const step = Math.max(1, Math.floor(values.length / 64));
  let sum = 0;
  let seen = 0;
  for (let i = 0; i < values.length; i += step) {
    const value = values[i]!;
    if (Number.isFinite(value)) {
      sum += value;
      seen++;
    }
  }
  return seen === 0 ? 0 : Math.fround(sum / seen);
}
