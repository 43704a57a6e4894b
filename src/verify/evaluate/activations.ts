/**
 * Inner values of two models on the same inputs: both graphs get them as outputs, run side by side, and what they hold is compared
 * as it comes. The values of one run are kept below a number of bytes: where they are more, the data is walked several times,
 * each time with the graphs reduced to what one part needs. How large they are is asked of the runtimes on the first sample.
 */

import { type CalibrationModel, copyModel, openTapped } from '../../calibration/collect/tapped-model.ts';
import type { Dataset, Sample } from '../../calibration/data/dataset.ts';
import { tensorValues } from '../../calibration/data/tensor-values.ts';
import type { RunOptions } from '../../core/progress.ts';
import { WhittleError } from '../../errors.ts';
import { pruneToOutputs } from '../../formats/onnx/taps/prune.ts';
import { createTapGraph } from '../../formats/onnx/taps/tap-graph.ts';
import type { Runtime } from '../../runtime/runtime.ts';
import { createSimilarity, type OutputComparison, type SimilarityAccumulator } from '../similarity.ts';
import { feedsOf } from './same-interface.ts';

export interface ActivationOptions extends RunOptions {
  readonly runtime: Runtime;
  readonly threads?: number | undefined;
}

/** The same value in two models, by the names that their main graphs have for it. */
export interface ActivationPair {
  readonly a: string;
  readonly b: string;
}

export interface ActivationComparisons {
  /**
   * By the name in a. Where a value is not finite in one model only, its cosine is 0 and its SQNR −Infinity. Values of different
   * size are absent.
   */
  readonly compared: ReadonlyMap<string, OutputComparison>;
  readonly samples: number;
}

/** Values of both models that one run gives. Bytes. */
const AT_ONCE = 256 * 1024 * 1024;
/** Of a value as f64, in which it is compared. */
const ELEMENT_BYTES = 8;
const MOST_AT_ONCE = 400;

/**
 * @throws WhittleError E_EMPTY (no samples), E_RUNTIME, E_USAGE (data that does not fit), E_GRAPH (no such value), E_UNSUPPORTED (a
 *   model below opset 7), E_ABORTED
 */
export async function compareActivations(
  original: CalibrationModel,
  result: CalibrationModel,
  pairs: readonly ActivationPair[],
  dataset: Dataset,
  options: ActivationOptions,
): Promise<ActivationComparisons> {
  const compared = new Map<string, OutputComparison>();
  if (pairs.length === 0) return { compared, samples: 0 };
  const groups = await inGroups(original, result, pairs, dataset, options);
  let samples = 0;
  for (const [index, group] of groups.entries()) {
    const walked = await compareGroup(original, result, group, dataset, options, {
      before: index * dataset.count,
      total: groups.length * dataset.count,
    });
    samples = walked.samples;
    for (const [name, comparison] of walked.compared) compared.set(name, comparison);
  }
  return { compared, samples };
}

async function compareGroup(
  original: CalibrationModel,
  result: CalibrationModel,
  pairs: readonly ActivationPair[],
  dataset: Dataset,
  { runtime, threads, signal, onProgress }: ActivationOptions,
  progress: { readonly before: number; readonly total: number },
): Promise<{ compared: Map<string, OutputComparison>; samples: number }> {
  const names = (side: 'a' | 'b') => pairs.map((pair) => pair[side]);
  await using a = await openTapped(await tapped(original, names('a')), runtime, { threads });
  await using b = await openTapped(await tapped(result, names('b')), runtime, { threads });
  const similarities = new Map<string, SimilarityAccumulator>();
  const left = new Set<string>();
  let samples = 0;
  for await (const sample of dataset.samples()) {
    if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped');
    const before = await a.run({ inputs: feedsOf(a.inputs, sample, 'original') });
    const after = await b.run({ inputs: feedsOf(b.inputs, sample, 'result') });
    for (const pair of pairs) {
      const [x, y] = [before.get(pair.a), after.get(pair.b)];
      if (x === undefined || y === undefined || x.shape.join() !== y.shape.join()) left.add(pair.a);
      if (x === undefined || y === undefined || left.has(pair.a)) continue;
      const similarity = similarities.get(pair.a) ?? createSimilarity(pair.a);
      similarities.set(pair.a, similarity);
      try {
        similarity.add(x, y);
      } catch (error) {
        if (!(error instanceof WhittleError) || error.code !== 'E_VERIFICATION') throw error;
        similarities.set(pair.a, BROKEN(pair.a));
      }
    }
    samples++;
    onProgress?.({
      phase: 'activations',
      bytesDone: progress.before + samples,
      bytesTotal: progress.total,
    });
  }
  const compared = new Map<string, OutputComparison>();
  for (const [name, similarity] of similarities) {
    if (!left.has(name)) compared.set(name, similarity.result());
  }
  return { compared, samples };
}

/** Nothing that follows makes a value better that is finite in one model only. */
const BROKEN = (name: string): SimilarityAccumulator => ({
  add: () => {},
  result: () => ({ name, cosine: 0, sqnr: Number.NEGATIVE_INFINITY, maxAbs: Infinity, equal: 0 }),
});

/** In the given order, each group as large as memory allows; pairs of different size are left out. */
async function inGroups(
  original: CalibrationModel,
  result: CalibrationModel,
  pairs: readonly ActivationPair[],
  dataset: Dataset,
  options: ActivationOptions,
): Promise<ActivationPair[][]> {
  let first: Sample | undefined;
  for await (const sample of dataset.samples()) {
    first = sample;
    break;
  }
  if (first === undefined) {
    throw new WhittleError('E_EMPTY', 'there are no samples to compare on', { found: dataset.description });
  }
  const before = await sizesOf(
    original,
    pairs.map(({ a }) => a),
    first,
    options,
  );
  const after = await sizesOf(
    result,
    pairs.map(({ b }) => b),
    first,
    options,
  );
  const groups: ActivationPair[][] = [];
  let room = 0;
  for (const [index, pair] of pairs.entries()) {
    if (before[index] !== after[index]) continue;
    const bytes = 2 * (before[index] ?? 0) * ELEMENT_BYTES;
    const full = (groups.at(-1)?.length ?? 0) >= MOST_AT_ONCE;
    if (groups.length === 0 || full || bytes > room) {
      groups.push([]);
      room = AT_ONCE;
    }
    groups.at(-1)?.push(pair);
    room -= bytes;
  }
  return groups;
}

/** Elements of each value, on one sample; the values stay in the runtime. */
async function sizesOf(
  model: CalibrationModel,
  names: readonly string[],
  sample: Sample,
  { runtime, threads }: ActivationOptions,
): Promise<Float64Array> {
  const taps = createTapGraph(await tapped(model, names));
  const sizes = taps.concat(
    names.map((name) => taps.reshape(taps.node('Size', [name]), [1])),
    0,
  );
  taps.output(sizes);
  await using session = await openTapped(taps.finish(), runtime, { threads });
  const outputs = await session.run({ inputs: feedsOf(session.inputs, sample, 'model') });
  const found = outputs.get(sizes);
  return found === undefined ? new Float64Array(names.length) : tensorValues(found);
}

async function tapped(model: CalibrationModel, names: readonly string[]) {
  const copy = await copyModel(model);
  pruneToOutputs(copy, names);
  return copy;
}
