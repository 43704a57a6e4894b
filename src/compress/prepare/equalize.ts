/**
 * The pass `equalize`: cross-layer equalization of all places between products (algorithms/equalization.ts). Places that share a
 * weight move each other's ranges, so all of them are walked until no factor is far from 1.
 */

import { equalizingFactors, rangeUse } from '../../algorithms/equalization.ts';
import { WhittleError } from '../../errors.ts';
import type { ChannelEnd, FoldSite } from '../../formats/onnx/fold/sites.ts';
import { endPeaks, foldFactors, sitesOf } from './fold-site.ts';
import type { EditableModel, PreparationPass, PreparedPlace } from './pass.ts';

/** Walks over all places at most; chains of ten layers settle in about as many. */
const MOST_WALKS = 20;
/** A walk whose factors are all nearer to 1 than this changes no quantized value worth having. */
const SETTLED = 1.01;

export const equalize: PreparationPass = async ({ model, signal }) => {
  const sites = (await sitesOf(model)).filter(isBetweenProducts);
  // Weights stay as they are until the end: what is written may go to a file, and there are many walks.
  const moved: Moved = new Map(sites.map((site) => [site, new Float64Array(site.channels).fill(1)]));
  const before = await uses(model, moved);
  for (let walk = 0; walk < MOST_WALKS; walk++) {
    let largest = 1;
    for (const [site, total] of moved) {
      if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
      const { gives, takes } = await ranges(model, site, moved);
      for (const [i, factor] of equalizingFactors(gives, takes).entries()) {
        total[i]! *= factor;
        largest = Math.max(largest, factor, 1 / factor);
      }
    }
    if (largest < SETTLED) break;
  }
  const after = await uses(model, moved);
  for (const [site, factors] of moved) await foldFactors(model, site, factors);
  const places: PreparedPlace[] = sites.map((site, i) => ({
    at: site.value,
    what: `${site.channels} channels between ${site.gives.filter(({ isWeight }) => isWeight).length} and ${site.takes.length} weights use ${percent(before[i])} of their range, ${percent(after[i])} after`,
  }));
  const summary =
    sites.length === 0
      ? 'no two layers with nothing but scale-free operators between them'
      : `${sites.length} places between layers; channels use ${percent(mean(before))} of the range of their weights, ${percent(mean(after))} after`;
  return { summary, places };
};

/** Vectors among what gives are biases; a norm's scale has no range that quantization would care for. */
function isBetweenProducts({ gives, takes }: FoldSite): boolean {
  return gives.some(({ isWeight }) => isWeight) && takes.every(({ isWeight }) => isWeight);
}

/** Factors that each site will get. */
type Moved = ReadonlyMap<FoldSite, Float64Array>;

/** Ranges of a site's channels in its weights, as the factors leave them. */
async function ranges(model: EditableModel, site: FoldSite, moved: Moved) {
  const peaksIn = async (ends: readonly ChannelEnd[]): Promise<Float32Array[]> => {
    const peaks: Float32Array[] = [];
    for (const end of ends) if (end.isWeight) peaks.push(await endPeaks(model, end, site.channels, moved));
    return peaks;
  };
  return { gives: await peaksIn(site.gives), takes: await peaksIn(site.takes) };
}

/** Of each site, the mean share of their range that channels use. */
async function uses(model: EditableModel, moved: Moved): Promise<number[]> {
  const shares: number[] = [];
  for (const site of moved.keys()) {
    const { gives, takes } = await ranges(model, site, moved);
    shares.push(mean([...gives, ...takes].map(rangeUse)));
  }
  return shares;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

function percent(share = 0): string {
  return `${Math.round(share * 100)} %`;
}
