/**
 * The order in which layers are kept: what each does to the answers by itself, worst first. Where only weights are rounded, the
 * original runs with one weight as the result has it (compress/evaluate-layers.ts), which loads a model once for many; where
 * activations are rounded too, a file is made for each layer in which it alone is quantized.
 *
 * (Leave-one-in sensitivity as in Z. Dong et al., HAWQ, 2019, by measuring instead of by curvature.)
 */

import type { Dataset } from '../../calibration/data/dataset.ts';
import type { RunOptions } from '../../core/progress.ts';
import { WhittleError } from '../../errors.ts';
import type { OnnxModel } from '../../formats/onnx/model.ts';
import { openOnnx } from '../../formats/onnx/open.ts';
import type { Runtime } from '../../runtime/runtime.ts';
import type { DataQuality } from '../../verify/evaluate/on-data.ts';
import { type LayerHarm, measureLayers } from '../evaluate-layers.ts';
import type { KeepableLayer } from './layers.ts';

export interface RankOptions extends RunOptions {
  readonly runtime: Runtime;
  readonly threads?: number | undefined;
}

/** Layers tried alone; those beyond, the cheapest to keep, are not. */
const MOST = 64;

/**
 * For modes that round weights only. Layers that were not tried alone come last, by the error of their weights.
 * @param file - the result with nothing kept
 * @param whole - what it is worth, which tells the outputs
 */
export async function rankWeights(
  model: OnnxModel,
  file: string,
  layers: readonly KeepableLayer[],
  { dataset, whole }: { readonly dataset: Dataset; readonly whole: DataQuality },
  { runtime, threads, signal, onProgress }: RankOptions,
): Promise<KeepableLayer[]> {
  await using result = await openOnnx(file);
  const report = await measureLayers(model, result, dataset, {
    runtime,
    threads,
    scores: whole.scores?.output,
    outputs: whole.outputs.map(({ name }) => name),
    layers: MOST,
    signal,
    onProgress,
  });
  const place = new Map(report.layers.map(({ weight }, index) => [weight, index]));
  const placeOf = ({ key = '' }: KeepableLayer): number => place.get(key) ?? report.layers.length;
  return layers.toSorted((a, b) => placeOf(a) - placeOf(b));
}

/**
 * For modes that round activations too.
 * @param alone - what the result is worth in which this layer alone is quantized; undefined where that is none
 */
export async function rankAlone(
  layers: readonly KeepableLayer[],
  alone: (layer: KeepableLayer) => Promise<DataQuality | undefined>,
  { signal, onProgress }: RunOptions,
): Promise<KeepableLayer[]> {
  // Dear layers hold most numbers, and most of what can be lost.
  const ordered = layers.toSorted((a, b) => b.keepBytes - a.keepBytes);
  const harms = new Map<KeepableLayer, LayerHarm>();
  for (const [index, layer] of ordered.slice(0, MOST).entries()) {
    if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
    onProgress?.({
      phase: `layer ${index + 1} of ${Math.min(MOST, layers.length)} alone`,
      bytesDone: index,
      bytesTotal: Math.min(MOST, layers.length),
      tensor: layer.name,
    });
    const quality = await alone(layer);
    if (quality === undefined) continue;
    harms.set(layer, {
      klDivergence: quality.scores?.distance?.klDivergence,
      sqnr: quality.sqnr ?? Number.POSITIVE_INFINITY,
    });
  }
  return ordered.toSorted((a, b) => byHarm(harms.get(a), harms.get(b)));
}

/** Worst first; layers that were not tried stand behind, in the order in which they came. */
function byHarm(a: LayerHarm | undefined, b: LayerHarm | undefined): number {
  if (a === undefined || b === undefined) return a === b ? 0 : a === undefined ? 1 : -1;
  const divergence = (b.klDivergence ?? 0) - (a.klDivergence ?? 0);
  if (divergence !== 0 && !Number.isNaN(divergence)) return divergence;
  return a.sqnr === b.sqnr ? 0 : a.sqnr - b.sqnr;
}
