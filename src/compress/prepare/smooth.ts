/**
 * The pass `smooth`: SmoothQuant at every place where a norm or a layer makes channels that only products read
 * (algorithms/smoothquant.ts). Unless an exponent is given, each place has the one that leaves the smallest expected error.
 */

import {
  expectedError,
  readingPeaks,
  type Smoothing,
  searchSmoothing,
  smoothingFactors,
} from '../../algorithms/smoothquant.ts';
import type { InputStatistics } from '../../calibration/statistics/input-statistics.ts';
import { WhittleError } from '../../errors.ts';
import type { FoldSite } from '../../formats/onnx/fold/sites.ts';
import { foldFactors, sitesOf } from './fold-site.ts';
import type { PreparationPass, PreparedPlace } from './pass.ts';
import {
  byChannel,
  productsByWeight,
  readingWeights,
  type SiteWeight,
  siteStatistics,
} from './site-weights.ts';

/** On language models and convolutional networks alike better than any one exponent for all places (docs/prepare.md). */
const DEFAULT_ALPHA = 'auto';

export const smooth: PreparationPass = async (context) => {
  const { model, signal, setting = DEFAULT_ALPHA } = context;
  const products = productsByWeight(model);
  const sites = (await sitesOf(model)).filter(({ takes }) => takes.every(({ isWeight }) => isWeight));
  const read = sites.flatMap(({ takes }) =>
    takes.flatMap(({ tensor }) => products.get(tensor.name ?? '') ?? []),
  );
  const places: PreparedPlace[] = [];
  const statistics =
    read.length === 0 ? new Map<string, InputStatistics>() : await siteStatistics(context, read, ['peaks']);
  for (const site of sites) {
    if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
    const weights = await readingWeights(model, site, products);
    if (weights === undefined) continue;
    const { alpha, factors, share } = smoothing(site, weights, statistics, setting);
    if (alpha === undefined) continue;
    await foldFactors(model, site, factors);
    places.push({
      at: site.value,
      what: `${site.channels} channels, ${weights.length} weights, α = ${alpha}: expected 8-bit error ${percent(share)} of what it was`,
    });
  }
  const summary =
    places.length === 0
      ? 'no place where channels can be divided without changing what the model computes'
      : `${places.length} of ${sites.length} places; α ${setting === 'auto' ? 'chosen for each' : setting}`;
  return { summary, places };
};

function smoothing(
  site: FoldSite,
  weights: readonly SiteWeight[],
  statistics: ReadonlyMap<string, InputStatistics>,
  setting: string,
): Smoothing {
  const peaks = new Float32Array(site.channels);
  const power = new Float64Array(site.channels);
  for (const weight of weights) {
    const found = statistics.get(weight.product.weight);
    if (found?.peaks === undefined) continue;
    const rows = Math.max(1, found.rows);
    byChannel(weight, found.peaks, peaks);
    byChannel(
      weight,
      found.squares.map((sum) => sum / rows),
      power,
    );
  }
  if (setting === 'auto') return searchSmoothing(weights, { peaks, power });
  const alpha = Number(setting);
  const factors = smoothingFactors(peaks, readingPeaks(weights, site.channels), alpha);
  const before = expectedError(weights, { peaks, power }, new Float64Array(site.channels).fill(1));
  return {
    alpha,
    factors,
    share: before > 0 ? expectedError(weights, { peaks, power }, factors) / before : 1,
  };
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
