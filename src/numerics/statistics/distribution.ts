/**
 * What a histogram tells about a distribution: percentiles, the share of outliers, and how much of the range is used.
 * Within a bin the values count as spread evenly; the cut-off ends of the first and last bin are the observed min and max.
 */

import type { Histogram } from './histogram.ts';

export interface Percentile {
  /** 0 to 100. */
  readonly percent: number;
  readonly value: number;
}

/**
 * Effective rank of the range: how many of the equally wide bins between min and max carry the values. With p_i the
 * share of bin i, levels = exp(−Σ p_i ln p_i) (the perplexity: n equally filled bins give n, one filled bin gives 1),
 * bits = log2(levels), share = levels / bins. A low share says that a uniform grid over this range wastes its codes.
 */
export interface EffectiveRank {
  readonly levels: number;
  readonly bits: number;
  readonly share: number;
  readonly bins: number;
}

/** Value below which `percent` % of the values lie; error at most one bin width. */
export function percentileOf(histogram: Histogram, min: number, max: number, percent: number): number {
  const { counts } = histogram;
  let total = 0;
  for (const count of counts) total += count;
  if (total === 0) return Number.NaN;
  const rank = (Math.min(100, Math.max(0, percent)) / 100) * total;
  if (rank <= 0) return min;
  let below = 0;
  for (let i = 0; i < counts.length; i++) {
    const count = counts[i]!;
    if (count > 0 && below + count >= rank) {
      const [from, to] = binEdges(histogram, i, min, max);
      return from + ((rank - below) / count) * (to - from);
    }
    below += count;
  }
  return max;
}

/** Share of the values at or below `value`. */
export function shareBelow(histogram: Histogram, min: number, max: number, value: number): number {
  let total = 0;
  let below = 0;
  histogram.counts.forEach((count, i) => {
    if (count === 0) return;
    total += count;
    const [from, to] = binEdges(histogram, i, min, max);
    if (value >= to) below += count;
    else if (value > from) below += count * ((value - from) / (to - from));
  });
  return total === 0 ? 0 : below / total;
}

/** Share of values further than `sigmas` standard deviations from the mean; exact up to the bins cut by the two limits. */
export function outlierShare(
  histogram: Histogram,
  facts: { readonly min: number; readonly max: number; readonly mean: number; readonly std: number },
  sigmas: number,
): number {
  const { min, max, mean, std } = facts;
  const reach = sigmas * std;
  if (!(std > 0) || (mean - reach <= min && mean + reach >= max)) return 0;
  const above = mean + reach >= max ? 0 : 1 - shareBelow(histogram, min, max, mean + reach);
  const below = mean - reach <= min ? 0 : shareBelow(histogram, min, max, mean - reach);
  return Math.max(0, Math.min(1, above + below));
}

export function effectiveRank(histogram: Histogram): EffectiveRank {
  const { counts } = histogram;
  let total = 0;
  for (const count of counts) total += count;
  if (total === 0) return { levels: 0, bits: 0, share: 0, bins: counts.length };
  let entropy = 0;
  for (const count of counts) {
    if (count === 0) continue;
    const p = count / total;
    entropy -= p * Math.log(p);
  }
  const levels = Math.exp(entropy);
  return { levels, bits: entropy / Math.LN2, share: levels / counts.length, bins: counts.length };
}

function binEdges(histogram: Histogram, bin: number, min: number, max: number): [number, number] {
  const from = histogram.low + bin * histogram.width;
  return [Math.max(from, min), Math.min(from + histogram.width, max)];
}
