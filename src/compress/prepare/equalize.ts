/**
 * The pass `equalize`: cross-layer equalization of all places between products (algorithms/equalization.ts). Places that share a
 * weight move each other's ranges, so all of them are walked until no factor is far from 1.
 */

import { equalizingFactors, rangeUse } from '../../algorithms/equalization.ts';
import { WhittleError } from '../../errors.ts';
import type { FoldSite } from '../../formats/onnx/fold/sites.ts';
import { endPeaks, foldFactors, sitesOf } from './fold-site.ts';
import type { EditableModel, PreparationPass, PreparedPlace } from './pass.ts';

/** Walks over all places at most; chains of ten layers settle in about as many. */
const MOST_WALKS = 20;
/** A walk whose factors are all nearer to 1 than this changes no quantized value worth having. */
const SETTLED = 1.01;

export const equalize: PreparationPass = async ({ model, signal }) => {
  const sites = (await sitesOf(model)).filter(isBetweenProducts);
  const before = await uses(model, sites);
  for (let walk = 0; walk < MOST_WALKS; walk++) {
    let largest = 1;
    for (const site of sites) {
      if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
      const factors = await factorsOf(model, site);
      const most = factors.reduce((found, factor) => Math.max(found, factor, 1 / factor), 1);
      largest = Math.max(largest, most);
      if (most > 1) await foldFactors(model, site, factors);
    }
    if (largest < SETTLED) break;
  }
  const after = await uses(model, sites);
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

async function ranges(model: EditableModel, site: FoldSite) {
  const gives: Float32Array[] = [];
  for (const end of site.gives) if (end.isWeight) gives.push(await endPeaks(model, end, site.channels));
  const takes: Float32Array[] = [];
  for (const end of site.takes) takes.push(await endPeaks(model, end, site.channels));
  return { gives, takes };
}

async function factorsOf(model: EditableModel, site: FoldSite): Promise<Float64Array> {
  const { gives, takes } = await ranges(model, site);
  return equalizingFactors(gives, takes);
}

/** Of each site, the mean share of their range that channels use. */
async function uses(model: EditableModel, sites: readonly FoldSite[]): Promise<number[]> {
  const shares: number[] = [];
  for (const site of sites) {
    const { gives, takes } = await ranges(model, site);
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
