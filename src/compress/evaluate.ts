/**
 * What a model is worth: the task's own measure on a data set, its distance from the original that it was made from, what it
 * weighs and what running it costs, and which of its layers hurt. The model runs in a process of its own first; one that
 * the engine does not survive ends there.
 */

import type { Dataset, Sample } from '../calibration/data/dataset.ts';
import type { RunOptions } from '../core/progress.ts';
import { WhittleError } from '../errors.ts';
import { openOnnx } from '../formats/onnx/open.ts';
import { onnxruntimeNode } from '../runtime/onnxruntime-node.ts';
import { onnxruntimeWeb } from '../runtime/onnxruntime-web.ts';
import type { ModelCost } from '../verify/evaluate/cost-messages.ts';
import { type DataQuality, evaluateOnData } from '../verify/evaluate/on-data.ts';
import { openModelData } from './calibration-data.ts';
import { costProcess, measureCost } from './evaluate-cost.ts';
import { type LayerReport, measureLayers } from './evaluate-layers.ts';
import { partOf } from './evaluate-sample.ts';
import { bitsPerWeight } from './evaluate-weights.ts';
import type { CalibrationData } from './options.ts';
import { modelBytes } from './size.ts';

export interface EvaluateOptions extends RunOptions {
  /** The model that it was made from. */
  readonly against?: string | undefined;
  /** Prepared samples, or where they are; without `samples` all of them. They must fit the original, where there is one. */
  readonly data: Dataset | CalibrationData;
  /** Default onnxruntime-node. */
  readonly runtime?: 'onnxruntime-node' | 'onnxruntime-web' | undefined;
  readonly threads?: number | undefined;
  /** Output whose last axis holds scores; default: found by name and shape. `false`: there are none. */
  readonly scores?: string | false | undefined;
  /** Measure load time, latency and memory in processes of their own. Default true. */
  readonly cost?: boolean | undefined;
  /** Timed runs, at least. Default 5. */
  readonly runs?: number | undefined;
  /** Try the changed weights one by one; needs `against`. Default false. */
  readonly layers?: boolean | LayerSettings | undefined;
}

export interface LayerSettings {
  /** Layers to try, the worst weights first. Default 64. */
  readonly limit?: number | undefined;
  /** Samples that each is tried on. Default 8. */
  readonly samples?: number | undefined;
}

export interface ModelFigures {
  readonly file: string;
  readonly bytes: number;
  /** Of all weights, scales included. */
  readonly bitsPerWeight: number;
  readonly cost?: ModelCost | undefined;
}

export interface Evaluation {
  readonly model: ModelFigures;
  readonly against?: ModelFigures | undefined;
  readonly data: { readonly description: string; readonly synthetic: boolean };
  readonly quality: DataQuality;
  readonly layers?: LayerReport | undefined;
  readonly notes: readonly string[];
  readonly seconds: number;
}

const LAYER_SAMPLES = 8;

/**
 * @throws WhittleError E_USAGE (models or data that do not fit together), E_EMPTY (no samples), E_NONFINITE, E_VERIFICATION,
 *   E_RUNTIME (the engine refuses a model or ends its process), E_MISSING_PEER, E_ABORTED, and what is wrong with the files
 */
export async function evaluateModel(file: string, options: EvaluateOptions): Promise<Evaluation> {
  const started = performance.now();
  const { against, threads, signal, onProgress } = options;
  if (options.layers && against === undefined) {
    throw new WhittleError('E_USAGE', 'layers are judged against the original', {
      file,
      hint: 'Name the original model.',
    });
  }
  await using model = await openOnnx(file);
  await using original = against === undefined ? undefined : await openOnnx(against);
  const runtime = options.runtime === 'onnxruntime-web' ? onnxruntimeWeb() : onnxruntimeNode();
  const dataset = await openModelData(
    original ?? model,
    'source' in options.data ? whole(options.data) : options.data,
    { signal, threads, runtime },
  );
  const notes = [...dataset.notes];
  const measure = options.cost !== false;
  if (measure && costProcess() === undefined)
    notes.push('Time and memory are measured by the built program only.');
  const costs =
    measure && costProcess() !== undefined
      ? await costsOf(file, dataset, options)
      : { own: undefined, other: undefined };
  const quality = await evaluateOnData(
    file,
    dataset,
    { runtime, threads, scores: options.scores, signal, onProgress },
    against,
  );
  let layers: LayerReport | undefined;
  if (options.layers && original !== undefined) {
    const settings = options.layers === true ? {} : options.layers;
    layers = await measureLayers(original, model, await partOf(dataset, settings.samples ?? LAYER_SAMPLES), {
      runtime,
      threads,
      scores: quality.scores?.output,
      outputs: quality.outputs.map(({ name }) => name),
      layers: settings.limit,
      signal,
      onProgress,
    });
  }
  const figures = async (of: typeof model, cost: ModelCost | undefined): Promise<ModelFigures> => ({
    file: of.file,
    bytes: await modelBytes(of),
    bitsPerWeight: bitsPerWeight(of),
    ...(cost && { cost }),
  });
  return {
    model: await figures(model, costs.own),
    ...(original && { against: await figures(original, costs.other) }),
    data: { description: dataset.description, synthetic: dataset.synthetic },
    quality,
    ...(layers && { layers }),
    notes: [...notes, ...quality.notes, ...(layers?.notes ?? [])],
    seconds: (performance.now() - started) / 1000,
  };
}

/** Calibration takes a few samples where nothing is said; an evaluation takes all. */
function whole(data: CalibrationData): CalibrationData {
  return data.samples === undefined ? { ...data, samples: 'all' } : data;
}

/** Both on the first sample. */
async function costsOf(
  file: string,
  dataset: Dataset,
  { against, runtime, threads, runs, signal, onProgress }: EvaluateOptions,
): Promise<{ own: ModelCost; other: ModelCost | undefined }> {
  onProgress?.({ phase: 'time and memory', bytesDone: 0, bytesTotal: 0 });
  const { inputs } = await firstOf(dataset);
  const settings = { runtime, threads, runs, signal };
  const other = against === undefined ? undefined : await measureCost(against, inputs, settings);
  return { own: await measureCost(file, inputs, settings), other };
}

async function firstOf(dataset: Dataset): Promise<Sample> {
  for await (const sample of dataset.samples()) return sample;
  throw new WhittleError('E_EMPTY', 'there are no samples to evaluate on', {
    expected: 'at least one sample',
    found: dataset.description,
  });
}
