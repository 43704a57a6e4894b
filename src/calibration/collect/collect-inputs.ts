/**
 * Collects the statistics of the inputs of products: the model, reduced to the nodes that lead to them and with nodes added
 * that sum over rows, runs on every sample; what comes out is added up. Memory is that of the sums, however many samples
 * there are, and activations stay in the runtime. Products that read the same tensor in the same way share their sums.
 *
 * 'cross' and 'drift' need what the float model has at the same places: both versions run as one joint model on the same sample.
 */

import type { RunOptions } from '../../core/progress.ts';
import { isWhittleError, WhittleError } from '../../errors.ts';
import type { ModelProto } from '../../formats/onnx/messages.ts';
import { joinModels } from '../../formats/onnx/taps/join.ts';
import { pruneToOutputs } from '../../formats/onnx/taps/prune.ts';
import { createTapGraph, type TapGraph } from '../../formats/onnx/taps/tap-graph.ts';
import type { Runtime } from '../../runtime/runtime.ts';
import type { Dataset, Sample } from '../data/dataset.ts';
import type { InputStatistics } from '../statistics/input-statistics.ts';
import { mergeStatistics } from '../statistics/merge.ts';
import { broadcastProducts } from './broadcast.ts';
import { sumsKey } from './matrix-bytes.ts';
import { notFiniteError } from './not-finite.ts';
import { type PrefixMemory, reusePrefix } from './prefix.ts';
import { borderOf, type Progress } from './prefix-plan.ts';
import type { Collected, Product } from './products.ts';
import { addRows } from './rows.ts';
import { addSums, type InputSums, type Reference } from './sums.ts';
import { type CalibrationModel, copyModel, openTapped, walkSamples } from './tapped-model.ts';

export interface CollectOptions extends RunOptions {
  readonly runtime: Runtime;
  /** Σ x² is always collected. */
  readonly collect: readonly Collected[];
  /** The float model, for 'cross' and 'drift': the products' inputs must have the same names in it. */
  readonly reference?: CalibrationModel | undefined;
  /** Let the runtime fuse what leads to the taps (default: faster, equal but for rounding). */
  readonly optimize?: boolean | undefined;
  readonly threads?: number | undefined;
}

/** One of several runs over the same data. */
export interface StageOptions extends CollectOptions {
  /** Starts where the run before it, with the same memory and data, got to, and keeps what the next one starts with. */
  readonly prefix?: { readonly progress: Progress; readonly memory: PrefixMemory } | undefined;
}

/**
 * Statistics of each product's inputs, by the key of its weight; a weight that is multiplied at several places has the sums of
 * all of them.
 * @throws WhittleError E_NONFINITE (names the first tensor that is not finite), E_USAGE (no samples, an input without values,
 *   'cross' or 'drift' without a reference), E_GRAPH (a product's input is not in the graph), E_RUNTIME, E_ABORTED
 */
export async function collectInputStatistics(
  model: CalibrationModel,
  dataset: Dataset,
  products: readonly Product[],
  options: CollectOptions,
): Promise<Map<string, InputStatistics>> {
  return collectStage(model, dataset, products, options);
}

/** The same, of one stage of several. @throws WhittleError as collectInputStatistics; E_DATA where the data are not those of the run before */
export async function collectStage(
  model: CalibrationModel,
  dataset: Dataset,
  given: readonly Product[],
  options: StageOptions,
): Promise<Map<string, InputStatistics>> {
  const products = withCommonGoals(given);
  let reached: Sample | undefined;
  const onSample = (sample: Sample): void => {
    reached = sample;
  };
  try {
    return await collectOnce(model, dataset, products, options, onSample);
  } catch (error) {
    // What does not fit is told when the model is loaded where shapes are fixed, else by the first sample of which it is true.
    if (!isWhittleError(error) || error.code !== 'E_RUNTIME' || !options.collect.includes('drift'))
      throw error;
    const sample = reached ?? (await firstSample(dataset));
    if (sample === undefined) throw error;
    const unknown = (): Product[] => [];
    const broadcast = await broadcastProducts(model, sample, products, options).catch(unknown);
    if (broadcast.length === 0) throw error;
    const asked = products.map((product) =>
      broadcast.includes(product) ? { ...product, sum: undefined } : product,
    );
    return collectStage(model, dataset, asked, options);
  }
}

/** A weight that is multiplied at several places has sums of all of them, or of none: only the same statistics can be added. */
function withCommonGoals(products: readonly Product[]): Product[] {
  const without = new Set(products.filter(({ sum }) => sum === undefined).map(({ weight }) => weight));
  return products.map((product) =>
    product.sum !== undefined && without.has(product.weight) ? { ...product, sum: undefined } : product,
  );
}

async function firstSample(dataset: Dataset): Promise<Sample | undefined> {
  for await (const sample of dataset.samples()) return sample;
  return undefined;
}

async function collectOnce(
  model: CalibrationModel,
  dataset: Dataset,
  products: readonly Product[],
  options: StageOptions,
  onSample: (sample: Sample) => void,
): Promise<Map<string, InputStatistics>> {
  const results = new Map<string, InputStatistics>();
  if (products.length === 0) return results;
  const { proto, taps, ...started } = await buildTapped(model, products, options);
  await using prefix = started.prefix;
  await using session = await openTapped(proto, options.runtime, {
    optimize: options.optimize ?? true,
    threads: options.threads,
  });
  const all = [...taps.values()];
  let done = 0;
  await walkSamples(dataset, options, 'calibrating', async (sample) => {
    onSample(sample);
    const before = (await prefix?.feeds(done++)) ?? [];
    const outputs = await session.run(sample, {
      signal: options.signal,
      state: new Map([...before, ...all.flatMap(({ sums }) => [...sums.feeds()])]),
      into: new Map(all.flatMap(({ sums }) => [...sums.into()])),
    });
    for (const { sums, product } of all) {
      if (!sums.add(outputs)) throw await notFiniteError(model, sample, product.input, options);
    }
    await prefix?.take(outputs);
  });
  await prefix?.finish();
  const sums = new Map([...taps].map(([key, tap]) => [key, tap.sums.result()]));
  for (const product of products) {
    const found = sums.get(sumsKey(product, options.collect))!;
    const before = results.get(product.weight);
    results.set(product.weight, before === undefined ? found : mergeStatistics(before, found));
  }
  return results;
}

interface Tap {
  readonly product: Product;
  readonly sums: InputSums;
}

async function buildTapped(
  model: CalibrationModel,
  products: readonly Product[],
  { collect, reference, prefix }: StageOptions,
) {
  const wanted = new Set(collect);
  const wantsDrift = wanted.has('drift');
  const inputs = [
    ...new Set(products.flatMap(({ input, sum }) => (wantsDrift && sum ? [input, sum.name] : [input]))),
  ];
  const copy = await copyModel(model);
  const border = prefix === undefined ? [] : findBorder(copy, inputs, prefix.progress);
  const ends = [...new Set([...inputs, ...border])];
  pruneToOutputs(copy, ends);
  let names: ReadonlyMap<string, string> | undefined;
  if (wanted.has('cross') || wantsDrift) {
    if (reference === undefined) {
      const what = wantsDrift ? 'drift' : 'cross';
      throw new WhittleError('E_USAGE', `'${what}' compares with a float model`, { expected: 'reference' });
    }
    const float = await copyModel(reference);
    pruneToOutputs(float, ends);
    names = joinModels(copy, float);
  }
  const reuse = prefix && reusePrefix(copy, border, names, prefix.memory);
  const graph = createTapGraph(copy);
  reuse?.addOutputs(graph);
  const taps = new Map<string, Tap>();
  for (const product of products) {
    const key = sumsKey(product, collect);
    if (taps.has(key)) continue;
    const rows = addRows(graph, product);
    const reference = names && addReference(graph, product, wantsDrift, names);
    taps.set(key, { product, sums: addSums(graph, rows, wanted, reference) });
  }
  return { proto: graph.finish(), taps, prefix: reuse?.run };
}

/** Reduces the model to what is needed, now or later. */
function findBorder(copy: ModelProto, inputs: readonly string[], progress: Progress): string[] {
  pruneToOutputs(copy, [...new Set([...inputs, ...progress.later])]);
  return copy.graph === undefined ? [] : borderOf(copy.graph, progress);
}

function addReference(
  graph: TapGraph,
  product: Product,
  drift: boolean,
  names: ReadonlyMap<string, string>,
): Reference {
  const { input, sum } = product;
  if (!drift || sum === undefined) return { kind: 'cross', rows: addRows(graph, product, names.get(input)) };
  const rowsOf = (name: string): string => graph.reshape(graph.asFloat(name), [-1, sum.outputs]);
  const float = rowsOf(names.get(sum.name) ?? sum.name);
  return { kind: 'drift', sum: rowsOf(sum.name), float, outputs: sum.outputs };
}
