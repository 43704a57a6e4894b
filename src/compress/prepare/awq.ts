/**
 * The pass `awq`: scales of AWQ (algorithms/awq.ts) folded into what produces the inputs, one search for all weights that read them,
 * each on the grid that the plan will store it on. The clip search that the paper ends with follows when the codes are chosen, on the
 * prepared weights (`--algorithm awq`, or any other).
 *
 * One walk over the data collects all places whose Gram matrices fit into memory together; folding changes no other place's inputs, so
 * the order of places does not matter.
 */

import { awq as searchScales } from '../../algorithms/awq.ts';
import type { GridOptions } from '../../algorithms/matrix.ts';
import type { InputStatistics } from '../../calibration/statistics/input-statistics.ts';
import { WhittleError } from '../../errors.ts';
import type { FoldSite } from '../../formats/onnx/fold/sites.ts';
import { algebraKernels, gridKernels } from '../solve/kernels.ts';
import { foldFactors, sitesOf } from './fold-site.ts';
import type { GridOf } from './grids.ts';
import type { PassContext, PreparationPass, PreparedPlace } from './pass.ts';
import { productsByWeight, readingWeights, type SiteWeight, siteStatistics } from './site-weights.ts';

/** Bytes of Gram matrices that are collected in one walk. */
const GRAM_BYTES = 512 << 20;

interface Place {
  readonly site: FoldSite;
  readonly weights: readonly SiteWeight[];
  readonly grid: GridOptions;
}

export const awq: PreparationPass = async (context) => {
  const { model, signal } = context;
  const found = (await sitesOf(model)).filter(({ takes }) => takes.every(({ isWeight }) => isWeight));
  const places = await placesOf(context, found);
  const reports: PreparedPlace[] = [];
  for (const batch of batches(places)) {
    const read = batch.map(({ weights }) => weights[0]!.product);
    const statistics = await siteStatistics(context, read, ['squares', 'magnitudes', 'gram']);
    for (const place of batch) {
      if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
      const seen = statistics.get(place.weights[0]!.product.weight);
      if (seen === undefined) continue;
      const { alpha, factors } = await scalesOf(place, seen);
      if (alpha === 0) continue;
      await foldFactors(model, place.site, factors);
      const what = `${place.site.channels} channels, ${place.weights.length} weights, α = ${alpha}`;
      reports.push({ at: place.site.value, what });
    }
  }
  return { summary: summarize(found.length, places.length, reports.length), places: reports };
};

function summarize(found: number, places: number, folded: number): string {
  if (folded > 0) return `scales folded in ${folded} of ${found} places`;
  if (found === 0) return 'no place where scales can be folded';
  return places === 0
    ? `${found} places where scales can be folded, but no weight there that the mode stores on a grid and whose inputs can be looked at`
    : `${found} places where scales can be folded, and none where they gain something`;
}

/** Places where all weights read the same values in the same order, and the plan has a grid for some of them. */
async function placesOf(context: PassContext, sites: readonly FoldSite[]): Promise<Place[]> {
  const { model } = context;
  const gridOf = gridsFor(context);
  const products = productsByWeight(model);
  const places: Place[] = [];
  for (const site of sites) {
    const all = await readingWeights(model, site, products);
    const [first] = all ?? [];
    if (all === undefined || first === undefined) continue;
    const alike = all.every(
      ({ product, channels, offsets }) =>
        product.input === first.product.input &&
        product.kind === first.product.kind &&
        offsets === undefined &&
        channels.length === first.channels.length &&
        channels.every((channel, j) => channel === first.channels[j]),
    );
    if (!alike || first.product.kind === 'patches') continue;
    const grids = await Promise.all(all.map(({ product, turned }) => gridOf(product.weight, turned)));
    const grid = grids.find((one) => one !== undefined);
    if (grid === undefined) continue;
    const weights = all.filter((_, i) => grids[i] !== undefined);
    places.push({ site, weights, grid });
  }
  return places;
}

/** @throws WhittleError E_USAGE where neither a plan nor the setting says a grid */
function gridsFor({ setting, gridOf }: PassContext): GridOf {
  if (setting !== undefined) {
    const [bits = 4, groupSize = 32] = setting.split('/').map(Number);
    return async () => ({ bits, groupSize, symmetric: false });
  }
  if (gridOf !== undefined) return gridOf;
  throw new WhittleError('E_USAGE', 'awq looks ahead to the grid of the weights, and there is none', {
    hint: 'Say bits and group size: awq=4/32.',
  });
}

function* batches(places: readonly Place[]): Generator<Place[]> {
  let batch: Place[] = [];
  let bytes = 0;
  for (const place of places) {
    const size = 4 * place.weights[0]!.inputs ** 2;
    if (batch.length > 0 && bytes + size > GRAM_BYTES) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(place);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}

async function scalesOf({ site, weights, grid }: Place, seen: InputStatistics) {
  const kernels = [await gridKernels(), await algebraKernels()] as const;
  const { alpha, inputScales } = searchScales(weights, seen, grid, { clip: false }, ...kernels);
  const factors = new Float64Array(site.channels).fill(1);
  const { channels } = weights[0]!;
  for (const [j, scale] of inputScales.entries()) factors[channels[j]!] = scale;
  return { alpha, factors };
}
