/**
 * What is in a GGUF file: its metadata, and the statistics of every tensor as the runtime sees it (quantized ones dequantized). With
 * `statistics: false` no tensor byte is read, so a model of any size takes milliseconds.
 */

import type { GgmlType } from '../../core/ggml-types.ts';
import type { RunOptions } from '../../core/progress.ts';
import { WhittleError } from '../../errors.ts';
import type { GgufEntry, GgufModel, GgufTensor, GgufValue, GgufValueType } from '../../formats/gguf/gguf.ts';
import { selectKernels } from '../../kernels/index.ts';
import { StatisticsAccumulator, type TensorStatistics } from '../../numerics/index.ts';
import { fileTypeName } from '../../planning/gguf/file-types.ts';
import { byBytes, type TypeShare } from './type-shares.ts';
import { hasValues, tensorPieces, valueCount } from './values.ts';

export interface InspectGgufOptions extends RunOptions {
  /** Default true. */
  readonly statistics?: boolean | undefined;
  /** Only these tensors. */
  readonly tensors?: readonly string[] | undefined;
  /** Most bins of every histogram. Default 64. */
  readonly bins?: number | undefined;
}

export interface GgufTensorSummary {
  readonly name: string;
  readonly type: GgmlType;
  /** Fastest dimension first, as the file has it. */
  readonly shape: readonly number[];
  readonly count: number;
  readonly bytes: number;
  /** Index of the shard. */
  readonly shard: number;
  readonly statistics?: TensorStatistics | undefined;
}

export interface GgufMetadataSummary {
  readonly key: string;
  readonly type: GgufValueType;
  /** A scalar's value, or the first elements of an array. */
  readonly value: GgufValue | readonly GgufValue[];
  /** Of an array. */
  readonly elementType?: GgufValueType | undefined;
  readonly count?: number | undefined;
}

export interface GgufSummary {
  readonly file: string;
  readonly format: 'gguf';
  readonly version: 2 | 3;
  readonly alignment: number;
  readonly architecture: string | undefined;
  /** Name of `general.file_type`, where it has one. */
  readonly fileType: string | undefined;
  /** Of all shards. */
  readonly fileBytes: number;
  readonly shards: readonly string[];
  readonly weightBytes: number;
  readonly parameters: number;
  readonly bitsPerWeight: number;
  /** What each type takes, the largest share first. */
  readonly types: readonly TypeShare[];
  readonly metadata: readonly GgufMetadataSummary[];
  readonly tensors: readonly GgufTensorSummary[];
  readonly notes: readonly string[];
}

/** Elements of an array that the summary shows. */
const SHOWN_ELEMENTS = 6;

/** @throws WhittleError E_USAGE where a tensor that was asked for does not exist; what reading throws */
export async function summarizeGguf(
  model: GgufModel,
  options: InspectGgufOptions = {},
): Promise<GgufSummary> {
  const tensors = await summarizeTensors(model, selectTensors(model, options.tensors), options);
  const parameters = model.tensors.reduce((sum, tensor) => sum + valueCount(tensor), 0);
  const weightBytes = model.tensors.reduce((sum, { data }) => sum + data.length, 0);
  const fileType = Number(model.value('general.file_type') ?? Number.NaN);
  return {
    file: model.file,
    format: 'gguf',
    version: model.version,
    alignment: model.alignment,
    architecture: model.architecture,
    fileType: Number.isSafeInteger(fileType) ? fileTypeName(fileType) : undefined,
    fileBytes: model.bytes,
    shards: model.sources.map(({ name }) => name),
    weightBytes,
    parameters,
    bitsPerWeight: parameters === 0 ? 0 : (weightBytes * 8) / parameters,
    types: byBytes(
      model.tensors.map((tensor) => ({
        type: tensor.type,
        bytes: tensor.data.length,
        weights: valueCount(tensor),
      })),
    ),
    metadata: await Promise.all(model.metadata.map((entry) => summarizeEntry(model, entry))),
    tensors,
    notes: model.notes,
  };
}

async function summarizeEntry(model: GgufModel, entry: GgufEntry): Promise<GgufMetadataSummary> {
  const { key, type } = entry;
  if (entry.type !== 'array') return { key, type, value: entry.value };
  const { elementType, count } = entry;
  return { key, type, elementType, count, value: await model.readArray(entry, 0, SHOWN_ELEMENTS) };
}

function selectTensors(model: GgufModel, wanted: readonly string[] | undefined): readonly GgufTensor[] {
  if (wanted === undefined) return model.tensors;
  return wanted.map((name) => {
    const found = model.tensors.find((tensor) => tensor.name === name);
    if (found !== undefined) return found;
    throw new WhittleError('E_USAGE', `the model has no tensor named ${name}`, {
      file: model.file,
      tensor: name,
      hint: 'Run `whittle inspect <model> --no-stats` to list the tensors.',
    });
  });
}

async function summarizeTensors(
  model: GgufModel,
  tensors: readonly GgufTensor[],
  { statistics = true, signal, onProgress, bins }: InspectGgufOptions,
): Promise<GgufTensorSummary[]> {
  const summaries: GgufTensorSummary[] = [];
  const bytesTotal = tensors.reduce((sum, { data }) => sum + data.length, 0);
  let bytesDone = 0;
  const kernels = statistics ? await selectKernels() : undefined;
  for (const tensor of tensors) {
    const { name, type, shape, shard, data } = tensor;
    const summary = { name, type, shape, count: valueCount(tensor), bytes: data.length, shard };
    if (kernels === undefined || !hasValues(type)) {
      summaries.push(summary);
      continue;
    }
    const accumulator = new StatisticsAccumulator({ kernels, bins });
    for await (const piece of tensorPieces(tensor, kernels)) {
      if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request', { file: model.file });
      accumulator.add(piece);
    }
    bytesDone += data.length;
    onProgress?.({ phase: 'measuring', bytesDone, bytesTotal, tensor: name });
    summaries.push({ ...summary, statistics: accumulator.result() });
  }
  return summaries;
}
