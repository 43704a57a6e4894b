/**
 * The story of `whittle calibrate`: data through a model, statistics of every product's inputs into a file. The file is renewed as
 * the samples go by, so that a run that was stopped goes on where it was; and the same sums may be written as an importance
 * matrix for the GGUF file of the same model.
 */

import { basename, dirname } from 'node:path';
import { collectInputStatistics } from '../calibration/collect/collect-inputs.ts';
import { collectTensorStatistics } from '../calibration/collect/collect-tensors.ts';
import { findProducts, findUncollected, type Uncollected } from '../calibration/collect/find-products.ts';
import type { Collected, Product } from '../calibration/collect/products.ts';
import type { DataSpec, DatasetOptions } from '../calibration/data/data-spec.ts';
import type { Dataset } from '../calibration/data/dataset.ts';
import { ggufNames } from '../calibration/statistics/gguf-names.ts';
import { toImatrix } from '../calibration/statistics/imatrix.ts';
import { loadStatistics, saveStatistics } from '../calibration/statistics/statistics-file.ts';
import { mergeSets, type StatisticsSet } from '../calibration/statistics/statistics-set.ts';
import type { RunOptions } from '../core/progress.ts';
import { isWhittleError, WhittleError } from '../errors.ts';
import { executeFiles } from '../execution/execute.ts';
import { layoutImatrix } from '../formats/gguf/imatrix-writer.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import { openOnnx } from '../formats/onnx/open.ts';
import { inferElementTypes } from '../formats/onnx/types.ts';
import { assertMayWrite } from '../io/atomic-file.ts';
import { compileGlobs } from '../planning/glob.ts';
import { onnxruntimeNode } from '../runtime/onnxruntime-node.ts';
import type { Runtime } from '../runtime/runtime.ts';
import { openModelData } from './calibration-data.ts';
import { modelFormat } from './model-format.ts';
import type { CalibrationData } from './options.ts';

export interface CalibrateOptions extends RunOptions {
  /** Where the data is; absent: made-up inputs. */
  readonly data?: string | undefined;
  readonly tokenizer?: string | undefined;
  /** Of pictures; as in `CalibrationData`. */
  readonly preprocessing?: CalibrationData['preprocessing'];
  /** The statistics file. */
  readonly output: string;
  /** Importance matrix to be written as well. */
  readonly imatrix?: string | undefined;
  /** Also H = Σ x xᵀ, which GPTQ and its kin need. Default: sums and extremes only. */
  readonly gram?: boolean | undefined;
  /** Values of the graph, by globs over their names, of which figures are wanted for themselves. */
  readonly tensors?: TensorWishes | undefined;
  readonly dataset?: Omit<DatasetOptions, 'signal' | 'hints' | 'vocabulary'> | undefined;
  readonly force?: boolean | undefined;
  /** Go on with the samples that the output has not seen; an output of other data is refused. */
  readonly resume?: boolean | undefined;
  readonly threads?: number | undefined;
  readonly runtime?: Runtime | undefined;
}

export interface TensorWishes {
  readonly names: readonly string[];
  /** Figures for each place along this axis. Default: for the value as a whole. */
  readonly axis?: number | undefined;
  readonly histograms?: boolean | undefined;
}

export interface CalibrateReport {
  readonly output: string;
  readonly imatrix: string | undefined;
  readonly samples: number;
  /** Samples that were in the file before. */
  readonly resumed: number;
  readonly weights: number;
  /** Values that were asked for by name. */
  readonly tensors: number;
  /** Rows of the weight that saw the most. */
  readonly rows: number;
  readonly data: string;
  readonly synthetic: boolean;
  readonly notes: readonly string[];
  /** Weights of products that cannot be tapped. */
  readonly uncollected: readonly Uncollected[];
}

/** The file is renewed this often. */
const CHECKPOINTS = 8;
const FEWEST_SAMPLES = 8;

/**
 * @throws WhittleError E_OUTPUT_EXISTS, E_NOTHING_TO_DO (no products), E_RESUME (the output is of other data), and what opening model
 *   and data, `collectInputStatistics` and `saveStatistics` throw
 */
export async function calibrate(file: string, options: CalibrateOptions): Promise<CalibrateReport> {
  const { output, signal, threads, onProgress, runtime = onnxruntimeNode() } = options;
  if ((await modelFormat(file)) === 'gguf') {
    throw new WhittleError('E_UNSUPPORTED', 'a GGUF file cannot be calibrated', {
      file,
      expected: 'the ONNX file of the same model',
      hint: "Calibrate that with --imatrix, or make the matrix with llama.cpp's llama-imatrix.",
    });
  }
  await using model = await openOnnx(file);
  const products = findProducts(model.proto);
  if (products.length === 0) {
    throw new WhittleError('E_NOTHING_TO_DO', 'the model multiplies with no constant weights', { file });
  }
  if (options.imatrix !== undefined) await assertMayWrite(options.imatrix, { force: options.force });
  const wanted = options.tensors === undefined ? [] : matchingValues(model, options.tensors.names);
  const names = options.imatrix === undefined ? undefined : ggufNames(model.proto);
  const { data, tokenizer, preprocessing } = options;
  const source: string | DataSpec = data ?? { kind: 'synthetic' };
  const dataset = await openModelData(
    model,
    { ...options.dataset, source, tokenizer, preprocessing },
    { runtime, signal, threads },
  );
  const drawn = describeDraw(dataset, options.dataset?.seed);
  const before = await startingPoint(options, drawn);
  if (before !== undefined) assertContinues(before, products, wanted, options);
  // What the run before it collected stays complete.
  const gram = before === undefined ? options.gram === true : hasGram(before);
  const collect: Collected[] = ['magnitudes', 'sums', 'peaks', ...(gram ? (['gram'] as const) : [])];
  const resumed = before?.samples ?? 0;
  const step = Math.max(FEWEST_SAMPLES, Math.ceil(dataset.count / CHECKPOINTS));
  let set: StatisticsSet = before ?? { entries: new Map(), datasets: [], samples: 0 };
  try {
    for (let from = resumed; from < dataset.count; from += step) {
      const part = slice(dataset, from, Math.min(dataset.count, from + step));
      const entries = await collectInputStatistics(
        { proto: model.proto, resolve: model.tensorBytes },
        part,
        products,
        {
          runtime,
          collect,
          threads,
          signal,
          onProgress:
            onProgress &&
            ((progress) =>
              onProgress({ ...progress, bytesDone: from + progress.bytesDone, bytesTotal: dataset.count })),
        },
      );
      const tensors = await collectTensorStatistics(
        { proto: model.proto, resolve: model.tensorBytes },
        part,
        wanted,
        { runtime, axis: options.tensors?.axis, histograms: options.tensors?.histograms, threads, signal },
      );
      set = mergeSets(set, { entries, tensors, datasets: [drawn], samples: part.count });
      await saveStatistics(output, set, { force: from > 0 || options.force });
    }
  } catch (error) {
    throw stoppedBehind(error, set.samples, dataset.count);
  }
  if (names !== undefined && options.imatrix !== undefined) {
    await writeImatrix(options.imatrix, set, names, options);
  }
  return {
    output,
    imatrix: options.imatrix,
    samples: set.samples,
    resumed,
    weights: set.entries.size,
    tensors: set.tensors?.size ?? 0,
    rows: Math.max(...[...set.entries.values()].map(({ rows }) => rows)),
    data: dataset.description,
    synthetic: dataset.synthetic,
    notes: dataset.notes,
    uncollected: findUncollected(model.proto),
  };
}

/** Names of computed values of float type, and of inputs. @throws WhittleError E_USAGE where a glob matches none */
function matchingValues({ proto, file }: OnnxModel, globs: readonly string[]): string[] {
  const { graph } = proto;
  if (graph === undefined) return [];
  const types = inferElementTypes(proto);
  const constants = new Set(graph.initializer.map(({ name = '' }) => name));
  const names = [...graph.input.map(({ name = '' }) => name), ...graph.node.flatMap(({ output }) => output)];
  const floats = [...new Set(names)].filter((name) => {
    const type = types.typeOf(graph, name);
    return name !== '' && !constants.has(name) && (type === 'f32' || type === 'f16' || type === 'f64');
  });
  for (const glob of globs) {
    if (floats.some(compileGlobs([glob]))) continue;
    throw new WhittleError('E_USAGE', 'no value of float type has such a name', {
      file,
      expected: floats.slice(0, 5).join(', '),
      found: glob,
      hint: '* stands for any characters but /, ** for any.',
    });
  }
  return floats.filter(compileGlobs(globs));
}

/** A run that is stopped leaves the samples it has seen in the file, and says so. */
function stoppedBehind(error: unknown, done: number, count: number): unknown {
  if (!isWhittleError(error) || error.code !== 'E_ABORTED' || done === 0) return error;
  return new WhittleError('E_ABORTED', error.message, {
    ...error.details,
    hint: `Run the same command with --resume to continue: ${done} of ${count} samples are done.`,
    cause: error,
  });
}

const ANEW = 'Begin anew with --force and without --resume, or name another file.';

/** The data as the file names it: another seed draws other samples. */
function describeDraw({ description }: Dataset, seed = 1): string {
  return seed === 1 ? description : `${description}, seed ${seed}`;
}

function hasGram({ entries }: StatisticsSet): boolean {
  return [...entries.values()].some(({ gram }) => gram !== undefined);
}

/** @throws WhittleError E_RESUME where the samples seen before lack what is asked for now */
function assertContinues(
  before: StatisticsSet,
  products: readonly Product[],
  values: readonly string[],
  { output, gram, tensors }: CalibrateOptions,
): void {
  const refuse = (message: string, tensor?: string): WhittleError =>
    new WhittleError('E_RESUME', message, { file: output, tensor, hint: ANEW });
  const foreign = products.find(({ weight }) => !before.entries.has(weight))?.weight;
  if (foreign !== undefined)
    throw refuse('the statistics are of another model, without this weight', foreign);
  if (gram === true && !hasGram(before)) {
    throw refuse('the run that was stopped collected no Gram matrices (--gram)');
  }
  for (const name of values) {
    const seen = before.tensors?.get(name);
    if (seen === undefined) throw refuse('the run that was stopped collected no figures of a value', name);
    if ((tensors?.histograms === true) !== (seen.histogram !== undefined)) {
      throw refuse('the run that was stopped differs in whether a value has a histogram', name);
    }
    const axis = tensors?.axis;
    // Negative axes are stored counted from the front.
    if ((axis === undefined) !== (seen.axis === undefined) || ((axis ?? -1) >= 0 && seen.axis !== axis)) {
      throw refuse('the run that was stopped collected figures of a value along another axis', name);
    }
  }
  const forgotten = [...(before.tensors?.keys() ?? [])].find((name) => !values.includes(name));
  if (forgotten !== undefined) {
    throw refuse('the run that was stopped also collected figures of a value (--tensors)', forgotten);
  }
}

/** What the output holds already, where the run is to go on. */
async function startingPoint(
  { output, resume, force }: CalibrateOptions,
  drawn: string,
): Promise<StatisticsSet | undefined> {
  if (resume !== true) {
    await assertMayWrite(output, { force });
    return undefined;
  }
  try {
    const set = await loadStatistics(output);
    if (set.datasets.length === 1 && set.datasets[0] === drawn) return set;
    throw new WhittleError('E_RESUME', 'the statistics are of other data', {
      file: output,
      expected: drawn,
      found: set.datasets.join('; '),
      hint: ANEW,
    });
  } catch (error) {
    if (isWhittleError(error) && error.code === 'E_NOT_FOUND') return undefined;
    throw error;
  }
}

function slice(dataset: Dataset, from: number, to: number): Dataset {
  return {
    ...dataset,
    count: to - from,
    async *samples() {
      let index = 0;
      for await (const sample of dataset.samples()) {
        if (index >= to) return;
        if (index++ >= from) yield sample;
      }
    },
  };
}

async function writeImatrix(
  path: string,
  set: StatisticsSet,
  names: ReadonlyMap<string, string>,
  { force, signal }: CalibrateOptions,
): Promise<void> {
  const rows = Math.max(...[...set.entries.values()].map((entry) => entry.rows));
  const content = toImatrix(set, names, Math.max(1, Math.round(rows / set.samples)));
  await executeFiles({
    files: [layoutImatrix(content, basename(path))],
    tasks: [],
    target: { directory: dirname(path), force },
    inputs: [],
    signal,
    journal: false,
    threads: 1,
  });
}
