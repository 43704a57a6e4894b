/**
 * The weights of a model under the names they had as floats, whatever form they are stored in, and their values as f32: what
 * comparing two models needs. Values of a float weight are read where they are asked for; those of a quantized one are
 * computed in tiles, and handed on as they come.
 */

import { byteLength, DTYPES, isWeightDType, type WeightDType } from '../core/dtype.ts';
import { elementCount, type Shape } from '../core/shape.ts';
import { executeFiles } from '../execution/execute.ts';
import type { TensorBytes } from '../formats/layout.ts';
import { allGraphs, subgraphPath, subgraphsOf } from '../formats/onnx/graph.ts';
import type { GraphProto, ModelProto, TensorProto } from '../formats/onnx/messages.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import { findWeights } from '../formats/onnx/model.ts';
import { findStoredWeights, preparedForRestore } from '../formats/onnx/restore/find.ts';
import { partSources } from '../formats/onnx/restore/restore.ts';
import { originalName, type StoredWeight } from '../formats/onnx/restore/stored-weight.ts';
import type { ByteSink } from '../io/source.ts';
import type { Kernels } from '../kernels/index.ts';
import { type DequantizeOperation, dequantizedPart } from '../numerics/dequantize-operation.ts';

export interface NamedWeight {
  /** Name of the float weight, after the path of its subgraph. */
  readonly key: string;
  readonly name: string;
  /** The name without a suffix of a quantizer, where it differs. */
  readonly plainKey: string;
  readonly shape: Shape;
  readonly count: number;
  /** Type, or how it is stored. */
  readonly form: string;
  readonly content:
    | { readonly kind: 'float'; readonly tensor: TensorProto; readonly dtype: WeightDType }
    | { readonly kind: 'stored'; readonly stored: StoredWeight };
}

/** All float and all stored weights; scales and zero points of the latter are no weights. */
export function namedWeights(model: OnnxModel): NamedWeight[] {
  const proto = preparedForRestore(model.proto);
  const { weights } = findStoredWeights(proto);
  const parts = new Set<TensorProto | undefined>(weights.flatMap(({ parts }) => Object.values(parts)));
  const paths = graphPaths(proto);
  const keyOf = (graph: GraphProto, name: string): string => {
    const path = paths.get(graph) ?? '';
    return path === '' ? name : `${path}/${name}`;
  };
  const named: NamedWeight[] = weights.map((stored) => {
    const key = keyOf(stored.graph, stored.name);
    const { name, shape, form } = stored;
    const count = elementCount(shape) ?? 0;
    return { key, name, plainKey: key, shape, count, form, content: { kind: 'stored', stored } };
  });
  for (const { name, dtype, shape, tensor, graph } of findWeights(proto)) {
    if (parts.has(tensor) || !isWeightDType(dtype)) continue;
    named.push({
      key: keyOf(graph, name),
      name,
      plainKey: keyOf(graph, originalName(name) ?? name),
      shape,
      count: elementCount(shape) ?? 0,
      form: dtype,
      content: { kind: 'float', tensor, dtype },
    });
  }
  return named.filter(({ count }) => count > 0);
}

function graphPaths(proto: ModelProto): Map<GraphProto, string> {
  const paths = new Map<GraphProto, string>();
  for (const { graph, path } of allGraphs(proto)) {
    paths.set(graph, path);
    // Nodes without a name are told apart by their place, which rewriting moves: the value they make stays.
    for (const [index, node] of graph.node.entries()) {
      const stable = (node.name ?? '') === '' ? { ...node, name: node.output[0] } : node;
      for (const { graph: inner, label } of subgraphsOf(node)) {
        paths.set(inner, subgraphPath(path, stable, index, label));
      }
    }
  }
  return paths;
}

/** The same weight read in another layout of the same elements; undefined where it has none of that shape. */
export function orientedOperation(
  { operation, shape }: StoredWeight,
  wanted: Shape,
): DequantizeOperation | undefined {
  const core = (dims: Shape): string => dims.slice(dims.findIndex((dim) => dim !== 1)).join();
  if (core(shape) === core(wanted)) return operation;
  const turned = turnedOperation(operation);
  return turned !== undefined && core(dequantizedPart(turned).shape) === core(wanted) ? turned : undefined;
}

/** The last two axes exchanged, where the operation can. */
export function turnedOperation(operation: DequantizeOperation): DequantizeOperation | undefined {
  switch (operation.kind) {
    case 'matmul-nbits':
    case 'bnb4':
      return { ...operation, transposed: !operation.transposed };
    case 'affine':
      return operation.shape.length < 2 ? undefined : { ...operation, swapped: operation.swapped !== true };
    case 'gather-block':
    case 'cast':
      return undefined;
    default:
      return operation satisfies never;
  }
}

/** Gives values [start, start + target.length) as f32. */
export type ReadValues = (start: number, target: Float32Array) => Promise<void>;

/** Most bytes of f32 that are kept, to save reading a tensor in small pieces. */
const KEEP_BYTES = 128 << 20;

/** Values of a float weight. */
export async function floatReader(
  model: OnnxModel,
  tensor: TensorProto,
  dtype: WeightDType,
  kernels: Kernels,
): Promise<ReadValues> {
  const bytes = await model.tensorBytes(tensor);
  const read = convertingReader(bytes, dtype, kernels);
  const count = elementCount(tensor.dims) ?? 0;
  if (count * 4 > KEEP_BYTES) return read;
  const values = new Float32Array(count);
  await read(0, values);
  return memoryReader(values);
}

export function memoryReader(values: Float32Array): ReadValues {
  return async (start, target) => target.set(values.subarray(start, start + target.length));
}

function convertingReader(bytes: TensorBytes, dtype: WeightDType, kernels: Kernels): ReadValues {
  const size = DTYPES[dtype].bits / 8;
  return async (start, target) => {
    const raw = new Uint8Array(byteLength(dtype, target.length));
    if (bytes.kind === 'inline') raw.set(bytes.bytes.subarray(start * size, start * size + raw.length));
    else await bytes.source.readInto(bytes.offset + start * size, raw);
    const view = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
    if (dtype === 'f32') view.set(raw);
    else kernels.convert(dtype, 'f32', raw, view, target.length);
  };
}

/** Computes the values of a stored weight and hands every piece on; pieces come in any order and cover all. */
export async function streamStored(
  model: OnnxModel,
  stored: StoredWeight,
  operation: DequantizeOperation,
  take: (start: number, values: Float32Array) => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const wide: DequantizeOperation = { ...operation, to: 'f32' };
  const { bytes } = dequantizedPart(wide);
  const sink: ByteSink = {
    name: stored.name,
    write: (offset, piece) => {
      const copy = piece.slice();
      return take(offset / 4, new Float32Array(copy.buffer, 0, copy.length / 4));
    },
    commit: async () => {},
    abort: async () => {},
  };
  await executeFiles({
    files: [
      {
        name: stored.name,
        size: bytes,
        segments: [{ kind: 'part', offset: 0, length: bytes, task: 0, role: 'data' }],
      },
    ],
    tasks: [],
    restorations: [
      { id: 0, tensor: stored.name, operation: wide, sources: await partSources(model, stored.parts) },
    ],
    target: { sinks: [sink] },
    threads: 1,
    signal,
  });
}
