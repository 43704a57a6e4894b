/**
 * Two models side by side: every weight of both under the name it had as a float, with the error of b as an approximation of
 * a, the outputs of both on the same inputs, and on request every inner value that both compute. Weights are read and dequantized in pieces; where both sides are
 * quantized, one of them is held in memory, one weight at a time.
 */

import { graphHints, NO_HINTS } from '../calibration/data/graph-hints.ts';
import type { RunOptions } from '../core/progress.ts';
import type { Shape } from '../core/shape.ts';
import { WhittleError } from '../errors.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import { openOnnx } from '../formats/onnx/open.ts';
import { type Kernels, selectKernels } from '../kernels/index.ts';
import type { ErrorSums } from '../kernels/kernels.ts';
import type { DequantizeOperation } from '../numerics/dequantize-operation.ts';
import { errorMetrics } from '../numerics/index.ts';
import { hasOnnxruntimeNode, onnxruntimeNode } from '../runtime/onnxruntime-node.ts';
import { onnxruntimeWeb } from '../runtime/onnxruntime-web.ts';
import { proveModel } from '../verify/prove.ts';
import { type ActivationReport, type ActivationSettings, compareInside } from './compare-activations.ts';
import type { Verification, VerifyOptions } from './options.ts';
import { modelBytes } from './size.ts';
import {
  floatReader,
  memoryReader,
  type NamedWeight,
  namedWeights,
  orientedOperation,
  type ReadValues,
  streamStored,
  turnedOperation,
} from './stored-values.ts';
import { pairWeights, type WeightPair } from './weight-pairs.ts';

export interface CompareOptions extends RunOptions {
  /** Compare the weights. Default true. */
  readonly weights?: boolean | undefined;
  /** Run both models on the same inputs. Default: in onnxruntime-node, where it is installed. */
  readonly verify?: boolean | VerifyOptions | undefined;
  /** Compare inner values too, run on data. Default false. */
  readonly activations?: boolean | ActivationSettings | undefined;
  readonly threads?: number | undefined;
}

export interface WeightComparison {
  /** Name in a, after the path of its subgraph. */
  readonly name: string;
  readonly shape: Shape;
  readonly count: number;
  /** Type, or form of storage, in each model. */
  readonly formA: string;
  readonly formB: string;
  /** dB; Infinity where nothing differs, −Infinity where only one side is finite somewhere. */
  readonly sqnr: number;
  readonly cosine: number;
  readonly maxAbs: number;
  readonly rmse: number;
}

export interface Comparison {
  readonly a: { readonly file: string; readonly bytes: number };
  readonly b: { readonly file: string; readonly bytes: number };
  /** In the order of a. */
  readonly weights: readonly WeightComparison[];
  /** Weights (of more than one number) without a counterpart of that name and shape. */
  readonly onlyInA: readonly string[];
  readonly onlyInB: readonly string[];
  /** Absent where the models were not run; a note says why. */
  readonly verification?: Verification | undefined;
  /** Absent unless asked for. */
  readonly activations?: ActivationReport | undefined;
  readonly notes: readonly string[];
  readonly seconds: number;
}

/**
 * @throws WhittleError for everything that is wrong with the files and, where activations are asked for, with data and runs; else a
 *   model that does not run is a note
 */
export async function compareModels(a: string, b: string, options: CompareOptions = {}): Promise<Comparison> {
  const started = performance.now();
  const notes: string[] = [];
  await using modelA = await openOnnx(a);
  await using modelB = await openOnnx(b);
  const [bytesA, bytesB] = [await modelBytes(modelA), await modelBytes(modelB)];
  const compared =
    options.weights === false
      ? { weights: [], onlyInA: [], onlyInB: [] }
      : await compareWeights(modelA, modelB, options);
  const verification = await runBoth(modelA, b, options, notes);
  const activations = await inside(modelA, modelB, options);
  return {
    a: { file: a, bytes: bytesA },
    b: { file: b, bytes: bytesB },
    ...compared,
    ...(verification && { verification }),
    ...(activations && { activations }),
    notes: [...notes, ...(activations?.notes ?? [])],
    seconds: (performance.now() - started) / 1000,
  };
}

async function compareWeights(
  modelA: OnnxModel,
  modelB: OnnxModel,
  options: CompareOptions,
): Promise<Pick<Comparison, 'weights' | 'onlyInA' | 'onlyInB'>> {
  const { signal, onProgress } = options;
  const { pairs, onlyInA, onlyInB } = pairWeights(namedWeights(modelA), namedWeights(modelB));
  const kernels = await selectKernels();
  const bytesTotal = pairs.reduce((sum, { a }) => sum + a.count * 4, 0);
  let bytesDone = 0;
  const weights: WeightComparison[] = [];
  for (const pair of pairs) {
    if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
    const { count, ...sums } = await pairError(modelA, modelB, pair, kernels, signal);
    const { sqnr, cosine, maxAbs, rmse } = errorMetrics(sums, count);
    const { a, b } = pair;
    // Only one side is finite somewhere.
    const broken = sums.squaredError === Infinity;
    const { key: name, shape } = a;
    weights.push({
      name,
      shape,
      count: a.count,
      formA: a.form,
      formB: b.form,
      sqnr: broken ? -Infinity : sqnr,
      cosine: broken ? 0 : cosine,
      maxAbs,
      rmse,
    });
    bytesDone += a.count * 4;
    onProgress?.({ phase: 'comparing', bytesDone, bytesTotal, tensor: a.name });
  }
  return { weights, onlyInA, onlyInB };
}

/** Below this a weight is no approximation of the other: a square matrix may be stored the other way round. */
const UNRELATED_DB = 1;
/** Values of one step of a comparison of floats. */
const STEP = 1 << 20;

async function pairError(
  modelA: OnnxModel,
  modelB: OnnxModel,
  { a, b }: WeightPair,
  kernels: Kernels,
  signal: AbortSignal | undefined,
): Promise<ErrorSums> {
  if (b.content.kind === 'stored') {
    const { stored } = b.content;
    const reader = await readerOf(modelA, a, kernels, signal);
    return nearestLayout(orientedOperation(stored, a.shape) ?? stored.operation, a.shape, (operation) =>
      streamError(modelB, stored, operation, reader, (x, y) => sumsOf(kernels, y, x), signal),
    );
  }
  const reader = await readerOf(modelB, b, kernels, signal);
  if (a.content.kind === 'stored') {
    const { stored } = a.content;
    return nearestLayout(orientedOperation(stored, b.shape) ?? stored.operation, b.shape, (operation) =>
      streamError(modelA, stored, operation, reader, (x, y) => sumsOf(kernels, x, y), signal),
    );
  }
  const other = await readerOf(modelA, a, kernels, signal);
  let sums = NO_SUMS;
  for (let start = 0; start < a.count; start += STEP) {
    const x = new Float32Array(Math.min(STEP, a.count - start));
    const y = new Float32Array(x.length);
    await other(start, x);
    await reader(start, y);
    sums = plus(sums, sumsOf(kernels, x, y));
  }
  return sums;
}

/** For a square matrix the shape does not tell the layout: where the values do not fit, the other one is tried. */
async function nearestLayout(
  operation: DequantizeOperation,
  shape: Shape,
  measure: (operation: DequantizeOperation) => Promise<ErrorSums>,
): Promise<ErrorSums> {
  const sums = await measure(operation);
  const square = shape.length >= 2 && shape.at(-1) === shape.at(-2);
  const turned = square ? turnedOperation(operation) : undefined;
  if (turned === undefined || errorMetrics(sums, sums.count).sqnr > UNRELATED_DB) return sums;
  const other = await measure(turned);
  return other.squaredError < sums.squaredError ? other : sums;
}

async function streamError(
  model: OnnxModel,
  stored: Parameters<typeof streamStored>[1],
  operation: DequantizeOperation,
  reader: ReadValues,
  compare: (stored: Float32Array, other: Float32Array) => ErrorSums,
  signal: AbortSignal | undefined,
): Promise<ErrorSums> {
  let sums = NO_SUMS;
  const take = async (start: number, values: Float32Array): Promise<void> => {
    const other = new Float32Array(values.length);
    await reader(start, other);
    sums = plus(sums, compare(values, other));
  };
  await streamStored(model, stored, operation, take, signal);
  return sums;
}

async function readerOf(
  model: OnnxModel,
  { content, count }: NamedWeight,
  kernels: Kernels,
  signal: AbortSignal | undefined,
): Promise<ReadValues> {
  if (content.kind === 'float') return floatReader(model, content.tensor, content.dtype, kernels);
  const values = new Float32Array(count);
  const take = async (start: number, piece: Float32Array): Promise<void> => values.set(piece, start);
  await streamStored(model, content.stored, content.stored.operation, take, signal);
  return memoryReader(values);
}

/**
 * Sums leave out places where a side is not finite. Where both hold the same there (masks), nothing differs; else the error is
 * infinite.
 */
function sumsOf(kernels: Kernels, a: Float32Array, b: Float32Array): ErrorSums {
  const sums = kernels.errorSums(a, b);
  if (sums.count === a.length) return sums;
  const same = a.every((value, i) => {
    const other = b[i]!;
    return (Number.isFinite(value) && Number.isFinite(other)) || Object.is(value, other);
  });
  return same ? sums : { ...sums, squaredError: Infinity, maxAbs: Infinity };
}

const NO_SUMS: ErrorSums = { count: 0, maxAbs: 0, squaredError: 0, squaredA: 0, squaredB: 0, dot: 0 };

function plus(a: ErrorSums, b: ErrorSums): ErrorSums {
  return {
    count: a.count + b.count,
    maxAbs: Math.max(a.maxAbs, b.maxAbs),
    squaredError: a.squaredError + b.squaredError,
    squaredA: a.squaredA + b.squaredA,
    squaredB: a.squaredB + b.squaredB,
    dot: a.dot + b.dot,
  };
}

async function inside(
  modelA: OnnxModel,
  modelB: OnnxModel,
  { activations, verify, threads, signal, onProgress }: CompareOptions,
): Promise<ActivationReport | undefined> {
  if (activations === undefined || activations === false) return undefined;
  const wanted: VerifyOptions = typeof verify === 'object' ? verify : {};
  return compareInside(modelA, modelB, activations === true ? {} : activations, {
    runtime: wanted.runtime === 'onnxruntime-web' ? onnxruntimeWeb() : onnxruntimeNode(),
    shapes: wanted.shapes,
    threads,
    signal,
    onProgress,
  });
}

/** Both models on the same inputs; a note where that cannot be done. */
async function runBoth(
  model: OnnxModel,
  result: string,
  options: CompareOptions,
  notes: string[],
): Promise<Verification | undefined> {
  const { verify, signal, threads, onProgress } = options;
  if (verify === false) return undefined;
  const wanted: VerifyOptions = typeof verify === 'object' ? verify : {};
  const web = wanted.runtime === 'onnxruntime-web';
  if (!web && !(await hasOnnxruntimeNode())) {
    notes.push('The models were not run: onnxruntime-node is not installed (npm install onnxruntime-node).');
    return undefined;
  }
  onProgress?.({ phase: 'running both', bytesDone: 0, bytesTotal: 0 });
  try {
    const { outputs, ...proof } = await proveModel(model.file, result, {
      runtime: web ? onnxruntimeWeb() : onnxruntimeNode(),
      signal,
      threads,
      runs: wanted.runs,
      shapes: wanted.shapes,
      inputs: wanted.inputs,
      hints: model.proto.graph === undefined ? NO_HINTS : graphHints(model.proto.graph),
    });
    return {
      ...proof,
      outputs: outputs.map(({ name, cosine, sqnr, maxAbs }) => ({ name, cosine, sqnr, maxAbs })),
    };
  } catch (error) {
    if (!(error instanceof WhittleError) || !NOT_RUN.has(error.code)) throw error;
    const { found } = error.details;
    notes.push(`The outputs were not compared: ${error.message}${found === undefined ? '' : ` (${found})`}.`);
    return undefined;
  }
}

const NOT_RUN: ReadonlySet<string> = new Set(['E_RUNTIME', 'E_MISSING_PEER', 'E_VERIFICATION']);
