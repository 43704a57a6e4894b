/**
 * A model over a data set, alone or beside the original it was made from: both get the same samples, and what they answer is
 * added up as it comes, so that memory does not grow with the data. Both are loaded at once, as running the original first
 * would mean to keep its answers (for text 4 bytes for each token of the vocabulary at each place).
 */

import type { Dataset, Sample } from '../../calibration/data/dataset.ts';
import { tensorValues } from '../../calibration/data/tensor-values.ts';
import type { RunOptions } from '../../core/progress.ts';
import { WhittleError } from '../../errors.ts';
import type { Runtime, RuntimeSession, RuntimeTensor } from '../../runtime/runtime.ts';
import { createSimilarity, type OutputComparison, type SimilarityAccumulator } from '../similarity.ts';
import { assertComparable, feedsOf } from './same-interface.ts';
import { findScores, isFloat, scoreKind, scoreRows } from './score-rows.ts';
import { createScoreSums, type ScoreResult, type ScoreSums } from './score-sums.ts';

export interface OnDataOptions extends RunOptions {
  readonly runtime: Runtime;
  readonly threads?: number | undefined;
  /** Output whose last axis holds scores; default: found by name and shape. `false`: there are none. */
  readonly scores?: string | false | undefined;
}

export interface DataQuality {
  readonly samples: number;
  /** Of each output that both models have; empty without an original. */
  readonly outputs: readonly OutputComparison[];
  /** The worst of the outputs of float type (of all where none is); absent without an original. */
  readonly cosine?: number | undefined;
  readonly sqnr?: number | undefined;
  /** Output that holds scores, and what they are worth. */
  readonly scores?: (ScoreResult & { readonly output: string }) | undefined;
  readonly notes: readonly string[];
}

export type RunSample = (sample: Sample) => Promise<ReadonlyMap<string, RuntimeTensor>>;

/**
 * @throws WhittleError E_USAGE (no samples, inputs or outputs that differ, labels that do not fit), E_NONFINITE (scores that are
 *   not finite, with the number of the sample), E_VERIFICATION (an output is broken where the original's is not), E_RUNTIME,
 *   E_ABORTED
 */
export async function evaluateOnData(
  file: string,
  dataset: Dataset,
  options: OnDataOptions,
  original?: string | undefined,
): Promise<DataQuality> {
  const { runtime, threads, signal } = options;
  const session = await runtime.load(file, { threads });
  let reference: RuntimeSession | undefined;
  try {
    reference = original === undefined ? undefined : await runtime.load(original, { threads });
    const runner =
      (from: RuntimeSession, name: string): RunSample =>
      (sample) =>
        from.run(feedsOf(from.inputs, sample, name), { signal });
    const common =
      reference === undefined || original === undefined
        ? { outputs: [], notes: [] }
        : assertComparable({ file, ...interfaceOf(session) }, { file: original, ...interfaceOf(reference) });
    const scores = options.scores === false ? undefined : findScores(session.outputs, options.scores);
    const quality = await addUp(dataset, {
      file,
      run: runner(session, file),
      original: reference && { file: original ?? '', run: runner(reference, original ?? '') },
      compared: common.outputs,
      scores,
      options,
    });
    return { ...quality, notes: [...common.notes, ...quality.notes] };
  } finally {
    await session.close();
    await reference?.close();
  }
}

function interfaceOf({ inputs, outputs }: RuntimeSession): Pick<RuntimeSession, 'inputs' | 'outputs'> {
  return { inputs, outputs };
}

export interface AddUpOptions {
  readonly file: string;
  readonly run: RunSample;
  readonly original?: { readonly file: string; readonly run: RunSample } | undefined;
  /** Outputs to compare. */
  readonly compared: readonly string[];
  readonly scores: string | undefined;
  readonly options: RunOptions;
}

/** The loop over the samples, for models that are loaded already. @throws WhittleError as `evaluateOnData` */
export async function addUp(dataset: Dataset, wanted: AddUpOptions): Promise<DataQuality> {
  const { file, run, original, compared, scores, options } = wanted;
  const similarities = new Map<string, SimilarityAccumulator>();
  const floats = new Set<string>();
  const state: { sums?: ScoreSums } = {};
  let done = 0;
  let labelled = 0;
  for await (const sample of dataset.samples()) {
    if (options.signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped');
    const outputs = await run(sample);
    const expected = await original?.run(sample);
    if (sample.labels !== undefined) labelled++;
    try {
      if (expected !== undefined) compareOutputs(compared, outputs, expected, similarities, floats);
      if (scores !== undefined) addScores(sample, scores, outputs, expected, state);
    } catch (error) {
      throw error instanceof WhittleError ? inSample(error, file, done + 1) : error;
    }
    done++;
    options.onProgress?.({
      phase: `sample ${done} of ${dataset.count}`,
      bytesDone: done,
      bytesTotal: dataset.count,
    });
  }
  if (done === 0) {
    throw new WhittleError('E_EMPTY', 'there are no samples to evaluate on', {
      expected: 'at least one sample',
      found: dataset.description,
    });
  }
  if (labelled > 0 && labelled < done) {
    throw new WhittleError('E_USAGE', 'some samples have labels and others have none', {
      expected: `labels for ${done} samples`,
      found: `for ${labelled}`,
      hint: 'Give a label for each row, or for none.',
    });
  }
  const found = [...similarities.values()].map((similarity) => similarity.result());
  const judged = found.some(({ name }) => floats.has(name))
    ? found.filter(({ name }) => floats.has(name))
    : found;
  const result = state.sums?.result();
  const notes = [...(result?.notes ?? [])];
  if (labelled > 0 && result?.result?.accuracy === undefined) {
    notes.push(
      'The data has labels, but no output of the model has one row of scores for each: no accuracy.',
    );
  }
  return {
    samples: done,
    outputs: found,
    ...(judged.length === 0
      ? {}
      : {
          cosine: Math.min(...judged.map(({ cosine }) => cosine)),
          sqnr: Math.min(...judged.map(({ sqnr }) => sqnr)),
        }),
    ...(result === undefined || scores === undefined ? {} : { scores: { ...result, output: scores } }),
    notes,
  };
}

function inSample(error: WhittleError, file: string, sample: number): WhittleError {
  const { found } = error.details;
  return new WhittleError(error.code, error.message, {
    ...error.details,
    file,
    found: `${found === undefined ? '' : `${found}, `}sample ${sample}`,
    cause: error,
  });
}

function compareOutputs(
  compared: readonly string[],
  outputs: ReadonlyMap<string, RuntimeTensor>,
  expected: ReadonlyMap<string, RuntimeTensor>,
  similarities: Map<string, SimilarityAccumulator>,
  floats: Set<string>,
): void {
  for (const name of compared) {
    const [original, result] = [expected.get(name), outputs.get(name)];
    if (original === undefined || result === undefined || original.dtype === 'string') continue;
    if (isFloat(original.dtype)) floats.add(name);
    const similarity = similarities.get(name) ?? createSimilarity(name);
    similarities.set(name, similarity);
    similarity.add(original, result);
  }
}

function addScores(
  sample: Sample,
  name: string,
  outputs: ReadonlyMap<string, RuntimeTensor>,
  expected: ReadonlyMap<string, RuntimeTensor> | undefined,
  state: { sums?: ScoreSums },
): void {
  const result = outputs.get(name);
  const original = expected?.get(name);
  if (result === undefined || result.shape.length === 0) return;
  const values = tensorValues(result);
  const others = original && tensorValues(original);
  const rows = scoreRows(sample, name, result.shape);
  state.sums ??= createScoreSums(scoreKind(others ?? values, rows.width));
  state.sums.add(rows, values, others);
}
