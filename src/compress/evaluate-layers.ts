/**
 * Which layers of a result hurt, and what each would cost to keep. Three looks at each weight that the result stores in another
 * form: how far its values are, how far what is computed with it is where the whole result runs, and what this weight alone
 * does to the answer: the original with the result's values in this one place, over a part of the data. The last is what the
 * table is sorted by, since a weight may be far off where nothing depends on it.
 *
 * Effects of single weights add up to about the whole at small errors only (the cross terms are of higher order): the sums are
 * an estimate. (Leave-one-in sensitivity as in Z. Dong et al., HAWQ, 2019, by measuring instead of by curvature.)
 */

import { copyModel, openTapped } from '../calibration/collect/tapped-model.ts';
import type { Dataset, Sample } from '../calibration/data/dataset.ts';
import { makeTensor } from '../calibration/data/tensor-values.ts';
import type { RunOptions } from '../core/progress.ts';
import { WhittleError } from '../errors.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import { pruneToOutputs } from '../formats/onnx/taps/prune.ts';
import { type Kernels, selectKernels } from '../kernels/index.ts';
import { errorMetrics } from '../numerics/index.ts';
import type { Runtime, RuntimeTensor } from '../runtime/runtime.ts';
import { compareActivations } from '../verify/evaluate/activations.ts';
import { addUp } from '../verify/evaluate/on-data.ts';
import { feedsOf } from '../verify/evaluate/same-interface.ts';
import { freeWeights, weightsAsInputs } from './evaluate-inputs.ts';
import { changedWeights, type LayerPair, type LayerValues, layerValues } from './evaluate-weights.ts';
import { pairTensors, type TensorPair } from './tensor-pairs.ts';

export interface LayerOptions extends RunOptions {
  readonly runtime: Runtime;
  readonly threads?: number | undefined;
  /** Output with scores, where there is one, else those to compare. */
  readonly scores: string | undefined;
  readonly outputs: readonly string[];
  /** Layers that are tried alone, the worst weights first; the others are measured without running. Default 64. */
  readonly layers?: number | undefined;
}

/** What this weight alone does to the answers of the original. */
export interface LayerHarm {
  /** Nats per row; absent where the model gives no scores. */
  readonly klDivergence?: number | undefined;
  readonly agreement?: number | undefined;
  /** Of the worst output, dB. */
  readonly sqnr: number;
}

export interface LayerQuality {
  readonly weight: string;
  /** Form in the result. */
  readonly form: string;
  readonly count: number;
  /** Of the values, dB. */
  readonly weightSqnr: number;
  readonly weightCosine: number;
  /** Of the first tensor that is computed with it, both models run whole. */
  readonly activation?:
    | { readonly tensor: string; readonly sqnr: number; readonly cosine: number }
    | undefined;
  readonly harm?: LayerHarm | undefined;
  /** Bytes more where the weight is kept as it was. */
  readonly keepBytes: number;
}

export interface LayerReport {
  /** Worst first: by divergence, else by output error, else by the error of the weight. */
  readonly layers: readonly LayerQuality[];
  /** Samples that the harm was measured on. */
  readonly samples: number;
  /** Values of the worst layers in both models. */
  readonly distributions: readonly Distribution[];
  readonly notes: readonly string[];
}

/** How often values fall into each of the bins between the smallest and the largest value of both. */
export interface Distribution {
  readonly weight: string;
  readonly low: number;
  readonly high: number;
  readonly before: readonly number[];
  readonly after: readonly number[];
}

const DEFAULT_LAYERS = 64;
const EIGHT_BITS = /^u?int8\b/;
/** dB; rounding to 8 bits leaves more than 25 of any weight without extreme outliers. */
const ROUNDED_TO_EIGHT = 12;
const SHOWN_DISTRIBUTIONS = 4;
const BINS = 160;
/** A few numbers (norms, biases) cost nothing to keep and are not tried. */
const MIN_COUNT = 256;
/** Values of weights that are tried in one session. */
const GROUP_BYTES = 256 * 1024 * 1024;
/** Answers of the original that are kept rather than computed again, bytes. */
const KEEP_BYTES = 512 * 1024 * 1024;

/**
 * @param dataset A part of the data: every layer is run on all of it.
 * @throws WhittleError E_RUNTIME, E_NONFINITE, E_VERIFICATION, E_ABORTED, and what is wrong with the files
 */
export async function measureLayers(
  original: OnnxModel,
  result: OnnxModel,
  dataset: Dataset,
  options: LayerOptions,
): Promise<LayerReport> {
  const { signal, onProgress } = options;
  const kernels = await selectKernels();
  const changed = changedWeights(original, result).filter(({ pair }) => pair.a.count >= MIN_COUNT);
  const notes: string[] = [];
  const layers: { at: LayerPair; quality: LayerQuality }[] = [];
  for (const [index, at] of changed.entries()) {
    if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped');
    const values = await layerValues(original, result, at.pair, kernels, signal);
    layers.push({ at, quality: weightQuality(at, values, kernels) });
    onProgress?.({ phase: 'weights', bytesDone: index + 1, bytesTotal: changed.length });
  }
  const activations = await activationsOf(original, result, changed, dataset, options);
  layers.sort((a, b) => a.quality.weightSqnr - b.quality.weightSqnr);
  const limit = options.layers ?? DEFAULT_LAYERS;
  const { harms, samples } = await harmOf(
    original,
    result,
    layers.slice(0, limit),
    dataset,
    options,
    kernels,
  );
  if (layers.length > limit) {
    notes.push(
      `${layers.length - limit} of ${layers.length} layers, those with the smallest errors, were not tried alone.`,
    );
  }
  const ranked = layers
    .map(({ at, quality }): LayerQuality => {
      const { key } = at.pair.a;
      return { ...quality, activation: activations.get(key), harm: harms.get(key) };
    })
    .sort(worstFirst);
  const other = ranked.filter(
    ({ form, weightSqnr }) => EIGHT_BITS.test(form) && weightSqnr < ROUNDED_TO_EIGHT,
  );
  if (other.length > 0) {
    notes.push(
      `Further from the original than rounding to 8 bits explains: ${other[0]?.weight}${other.length > 1 ? ` and ${other.length - 1} more` : ''}. They were changed on purpose, as where batch norms are folded, and what they do alone says nothing of quantizing; compare --activations and --max-loss do.`,
    );
  }
  const distributions: Distribution[] = [];
  for (const { weight } of ranked.slice(0, SHOWN_DISTRIBUTIONS)) {
    const pair = layers.find(({ at }) => at.pair.a.key === weight)?.at.pair;
    if (pair === undefined) continue;
    distributions.push(distributionOf(weight, await layerValues(original, result, pair, kernels, signal)));
  }
  return {
    layers: ranked,
    samples,
    distributions,
    notes,
  };
}

function weightQuality({ pair, keepBytes }: LayerPair, values: LayerValues, kernels: Kernels): LayerQuality {
  const { sqnr, cosine } = errorMetrics(kernels.errorSums(values.before, values.after), pair.a.count);
  return {
    weight: pair.a.key,
    form: pair.b.form,
    count: pair.a.count,
    weightSqnr: sqnr,
    weightCosine: cosine,
    keepBytes,
  };
}

function distributionOf(weight: string, { before, after }: LayerValues): Distribution {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const values of [before, after]) {
    for (const value of values) {
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  const width = (high - low) / BINS;
  const count = (values: Float32Array): number[] => {
    const counts = new Array<number>(BINS).fill(0);
    for (const value of values) {
      const bin = width > 0 ? Math.min(BINS - 1, Math.floor((value - low) / width)) : 0;
      if (bin >= 0) counts[bin]!++;
    }
    return counts;
  };
  return { weight, low, high, before: count(before), after: count(after) };
}

/** Weights that do nothing to the answer stand last, those that were not run after all that were. */
function worstFirst(a: LayerQuality, b: LayerQuality): number {
  if ((a.harm === undefined) !== (b.harm === undefined)) return a.harm === undefined ? 1 : -1;
  const kl = (b.harm?.klDivergence ?? 0) - (a.harm?.klDivergence ?? 0);
  if (kl !== 0 && !Number.isNaN(kl)) return kl;
  const [x, y] = [a.harm?.sqnr ?? a.weightSqnr, b.harm?.sqnr ?? b.weightSqnr];
  return x === y ? 0 : x - y;
}

async function activationsOf(
  original: OnnxModel,
  result: OnnxModel,
  changed: readonly LayerPair[],
  dataset: Dataset,
  { runtime, threads, signal, onProgress }: LayerOptions,
): Promise<Map<string, LayerQuality['activation']>> {
  const keys = new Set(changed.map(({ pair }) => pair.a.key));
  const wanted = new Map<string, TensorPair>();
  for (const pair of pairTensors(original, result)) {
    const { weight } = pair;
    if (weight !== undefined && keys.has(weight) && !wanted.has(weight)) wanted.set(weight, pair);
  }
  const { compared } = await compareActivations(
    asCalibration(original),
    asCalibration(result),
    [...wanted.values()],
    dataset,
    { runtime, threads, signal, onProgress },
  );
  return new Map(
    [...wanted].map(([key, { a: tensor }]) => {
      const found = compared.get(tensor);
      return [key, found && { tensor, sqnr: found.sqnr, cosine: found.cosine }];
    }),
  );
}

function asCalibration({ proto, tensorBytes }: OnnxModel) {
  return { proto, resolve: tensorBytes };
}

async function harmOf(
  original: OnnxModel,
  result: OnnxModel,
  layers: readonly { readonly at: LayerPair }[],
  dataset: Dataset,
  options: LayerOptions,
  kernels: Kernels,
): Promise<{ harms: Map<string, LayerHarm>; samples: number }> {
  const { runtime, threads, signal, onProgress, scores } = options;
  const outputs = scores === undefined ? options.outputs : [scores];
  const harms = new Map<string, LayerHarm>();
  const copy = await copyModel(asCalibration(original));
  pruneToOutputs(copy, outputs);
  await using reference = await openTapped(copy, runtime, { threads });
  const run = keeping((sample) =>
    reference.run({ inputs: feedsOf(reference.inputs, sample, original.file) }),
  );
  const free = freeWeights(copy);
  let samples = 0;
  let tried = 0;
  for (const group of groupsOf(layers.filter(({ at }) => free.has(at.pair.a.key)))) {
    const keys = group.map(({ at }) => at.pair.a.key);
    const befores = new Map<string, RuntimeTensor>();
    const afters = new Map<string, RuntimeTensor>();
    for (const { at } of group) {
      const weight = free.get(at.pair.a.key);
      if (weight === undefined) continue;
      const { name, dtype, shape } = weight;
      const { before, after } = await layerValues(original, result, at.pair, kernels, signal);
      befores.set(name, makeTensor(dtype, shape, before));
      afters.set(at.pair.a.key, makeTensor(dtype, shape, after));
    }
    await using session = await openTapped(weightsAsInputs(copy, keys), runtime, { threads });
    for (const key of keys) {
      const name = free.get(key)?.name ?? key;
      onProgress?.({
        phase: `layer ${tried + 1} of ${layers.length} alone`,
        bytesDone: tried,
        bytesTotal: layers.length,
        tensor: name,
      });
      tried++;
      const after = afters.get(key);
      if (after === undefined) continue;
      const quality = await addUp(dataset, {
        file: original.file,
        run: ({ inputs }) => {
          const all = new Map([...inputs, ...befores, [name, after]]);
          return session.run({ inputs: feedsOf(session.inputs, { inputs: all }, original.file) });
        },
        original: { file: original.file, run },
        compared: outputs,
        scores,
        options: { signal },
      });
      samples = quality.samples;
      harms.set(key, {
        klDivergence: quality.scores?.distance?.klDivergence,
        agreement: quality.scores?.distance?.agreement,
        sqnr: quality.sqnr ?? Number.NaN,
      });
    }
  }
  return { harms, samples };
}

/** In groups whose values take no more than `GROUP_BYTES` in each model; a larger weight is a group by itself. */
function groupsOf<T extends { readonly at: LayerPair }>(layers: readonly T[]): T[][] {
  const groups: T[][] = [];
  let room = 0;
  for (const layer of layers) {
    const bytes = layer.at.pair.a.count * Float32Array.BYTES_PER_ELEMENT;
    if (bytes > room || groups.length === 0) {
      groups.push([]);
      room = GROUP_BYTES;
    }
    groups.at(-1)?.push(layer);
    room -= bytes;
  }
  return groups;
}

type Run = (sample: Sample) => Promise<ReadonlyMap<string, RuntimeTensor>>;

/** Remembers what was answered to a sample, as far as there is room. The data set must give the same objects again. */
function keeping(run: Run): Run {
  const known = new Map<Sample, ReadonlyMap<string, RuntimeTensor>>();
  let room = KEEP_BYTES;
  return async (sample) => {
    const before = known.get(sample);
    if (before !== undefined) return before;
    const outputs = await run(sample);
    const bytes = [...outputs.values()].reduce((sum, { data }) => sum + data.length, 0);
    if (bytes <= room) {
      room -= bytes;
      known.set(sample, outputs);
    }
    return outputs;
  };
}
