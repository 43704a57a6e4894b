/**
 * What is in a model: its graph in numbers, and the statistics of every weight. With `statistics: false` no tensor byte
 * is read, so a model of any size takes milliseconds.
 */

import { byteLength, type DType, isWeightDType } from '../core/dtype.ts';
import type { RunOptions } from '../core/progress.ts';
import { elementCount, type Shape } from '../core/shape.ts';
import { WhittleError } from '../errors.ts';
import { dtypeOfNumber } from '../formats/onnx/data-types.ts';
import { allGraphs } from '../formats/onnx/graph.ts';
import type { ValueInfoProto } from '../formats/onnx/messages.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import type { Weight } from '../formats/onnx/weights.ts';
import { selectKernels } from '../kernels/index.ts';
import { StatisticsAccumulator, type TensorStatistics } from '../numerics/index.ts';
import { weightChunks } from './weight-values.ts';

export interface InspectOptions extends RunOptions {
  /** Default true. */
  readonly statistics?: boolean | undefined;
  /** Only these weights (by key or name). */
  readonly tensors?: readonly string[] | undefined;
  /** Most bins of every histogram. Default 64. */
  readonly bins?: number | undefined;
}

export interface TensorSummary {
  /** Unique: the name, after the path of its subgraph. */
  readonly key: string;
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  readonly count: number;
  readonly bytes: number;
  /** Held by a Constant node instead of an initializer. */
  readonly constant: boolean;
  readonly uses: readonly { readonly opType: string; readonly node: string; readonly input: number }[];
  readonly statistics?: TensorStatistics | undefined;
}

export interface ValueSummary {
  readonly name: string;
  readonly dtype: DType | undefined;
  readonly shape: readonly (number | string | null)[] | undefined;
}

export interface ModelSummary {
  readonly file: string;
  readonly format: 'onnx';
  /** Of the model file itself. */
  readonly fileBytes: number;
  /** Of all float weights, wherever they are stored. */
  readonly weightBytes: number;
  readonly parameters: number;
  readonly irVersion: number | undefined;
  readonly opsets: Readonly<Record<string, number>>;
  readonly producer: string;
  readonly nodes: number;
  /** Nested graphs of If, Loop and Scan. */
  readonly subgraphs: number;
  readonly operators: Readonly<Record<string, number>>;
  readonly inputs: readonly ValueSummary[];
  readonly outputs: readonly ValueSummary[];
  readonly tensors: readonly TensorSummary[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly notes: readonly string[];
}

/** @throws WhittleError E_USAGE where a weight that was asked for does not exist; what reading throws */
export async function summarizeModel(model: OnnxModel, options: InspectOptions = {}): Promise<ModelSummary> {
  const { proto } = model;
  const all = model.weights();
  const weights = selectWeights(all, options.tensors);
  const tensors = await summarizeWeights(model, weights, options);
  const operators = new Map<string, number>();
  let nodes = 0;
  let graphs = 0;
  for (const { graph } of allGraphs(proto)) {
    graphs++;
    for (const node of graph.node) {
      nodes++;
      const domain =
        node.domain === undefined || node.domain === '' || node.domain === 'ai.onnx' ? '' : `${node.domain}.`;
      const name = domain + (node.opType ?? '?');
      operators.set(name, (operators.get(name) ?? 0) + 1);
    }
  }
  const bytesOf = (weight: Weight): number => byteLength(weight.dtype, elementCount(weight.shape) ?? 0);
  return {
    file: model.file,
    format: 'onnx',
    fileBytes: model.source.size,
    weightBytes: all.reduce((sum, weight) => sum + bytesOf(weight), 0),
    parameters: all.reduce((sum, weight) => sum + (elementCount(weight.shape) ?? 0), 0),
    irVersion: proto.irVersion === undefined ? undefined : Number(proto.irVersion),
    opsets: Object.fromEntries(
      proto.opsetImport.map(({ domain, version }) => [domain || 'ai.onnx', Number(version ?? 0n)]),
    ),
    producer: [proto.producerName, proto.producerVersion].filter((text) => text).join(' '),
    nodes,
    subgraphs: Math.max(0, graphs - 1),
    operators: Object.fromEntries([...operators].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))),
    inputs: runtimeInputs(model).map(summarizeValue),
    outputs: (proto.graph?.output ?? []).map(summarizeValue),
    tensors,
    metadata: Object.fromEntries(proto.metadataProps.map(({ key, value }) => [key ?? '', value ?? ''])),
    notes: model.notes,
  };
}

function selectWeights(weights: readonly Weight[], wanted: readonly string[] | undefined): readonly Weight[] {
  if (wanted === undefined) return weights;
  return wanted.flatMap((name) => {
    const found = weights.filter((weight) => weight.key === name || weight.name === name);
    if (found.length === 0) {
      throw new WhittleError('E_USAGE', `the model has no weight named ${name}`, {
        tensor: name,
        hint: 'Run `whittle inspect <model> --no-stats` to list the weights.',
      });
    }
    return found;
  });
}

async function summarizeWeights(
  model: OnnxModel,
  weights: readonly Weight[],
  options: InspectOptions,
): Promise<TensorSummary[]> {
  const { statistics = true, signal, onProgress, bins } = options;
  const kernels = await selectKernels();
  const bytesTotal = weights.reduce(
    (sum, { dtype, shape }) => sum + byteLength(dtype, elementCount(shape) ?? 0),
    0,
  );
  let bytesDone = 0;
  const summaries: TensorSummary[] = [];
  for (const weight of weights) {
    const count = elementCount(weight.shape) ?? 0;
    const bytes = byteLength(weight.dtype, count);
    const summary: TensorSummary = {
      key: weight.key,
      name: weight.name,
      dtype: weight.dtype,
      shape: weight.shape,
      count,
      bytes,
      constant: weight.origin.kind === 'constant',
      uses: weight.uses.map(({ node, input }) => ({
        opType: node.opType ?? '?',
        node: node.name ?? '',
        input,
      })),
    };
    if (!statistics || !isWeightDType(weight.dtype)) {
      summaries.push(summary);
      continue;
    }
    const accumulator = new StatisticsAccumulator({ kernels, bins });
    const source = await model.tensorBytes(weight.tensor);
    for await (const chunk of weightChunks(source, weight.dtype, count, kernels)) {
      abortIfAsked(signal);
      accumulator.add(chunk);
    }
    bytesDone += bytes;
    onProgress?.({ phase: 'measuring', bytesDone, bytesTotal, tensor: weight.name });
    summaries.push({ ...summary, statistics: accumulator.result() });
  }
  return summaries;
}

/** Inputs that a caller must give: graph inputs that no initializer fills. */
function runtimeInputs(model: OnnxModel): readonly ValueInfoProto[] {
  const graph = model.proto.graph;
  const filled = new Set(graph?.initializer.map(({ name }) => name));
  return (graph?.input ?? []).filter(({ name }) => !filled.has(name));
}

function summarizeValue(value: ValueInfoProto): ValueSummary {
  const tensor = value.type?.tensorType;
  return {
    name: value.name ?? '',
    dtype: dtypeOfNumber(tensor?.elemType),
    shape: tensor?.shape?.dim.map(({ dimValue, dimParam }) =>
      dimValue !== undefined ? Number(dimValue) : (dimParam ?? null),
    ),
  };
}

function abortIfAsked(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
}
