/**
 * A graph that computes in f16 → the same graph in f32: every f16 constant, declared type and type attribute becomes f32, and casts
 * between the two go. f32 holds every f16 value, so constants are exact; results only lose the rounding of f16. Inputs and
 * outputs that were f16 become f32 as well, under their names.
 *
 * The inverse of the conversion to half precision (rewrite/fp16.ts). Models with local functions are left alone: a
 * function's body may state types of its own.
 */

import { f16BitsToF32 } from '../../../core/floats.ts';
import { elementCount } from '../../../core/shape.ts';
import {
  type DequantizeOperation,
  type DequantizeTask,
  dequantizedPart,
} from '../../../numerics/dequantize-operation.ts';
import type { TensorBytes } from '../../layout.ts';
import { dtypeOfNumber, numberOfDtype } from '../data-types.ts';
import { allGraphs } from '../graph.ts';
import type { GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto } from '../messages.ts';
import type { OnnxModel } from '../model.ts';
import { isDefaultDomain, pendingTensor, rawTensor, readInt } from '../rewrite/build.ts';
import { indexGraph } from '../rewrite/uses.ts';
import { inferElementTypes } from '../types.ts';
import type { RestoredWeight } from './restore.ts';

const HALF = numberOfDtype('f16');
const FLOAT = numberOfDtype('f32');
/** Attributes that name an element type. */
const TYPE_ATTRIBUTES: ReadonlySet<string> = new Set(['to', 'dtype', 'output_dtype', 'output_datatype']);

/** Whether the model has anything in f16, and may be widened. */
export function canWiden(proto: ModelProto): boolean {
  if (proto.functions.length > 0) return false;
  for (const { graph } of allGraphs(proto)) {
    if (graph.initializer.some(({ dataType }) => dataType === HALF)) return true;
    if (graph.input.some(isHalf)) return true;
    if (graph.node.some((node) => node.opType === 'Cast' && readInt(node, 'to', 0) === HALF)) return true;
  }
  return false;
}

export interface Widened {
  readonly restorations: readonly DequantizeTask<TensorBytes>[];
  readonly weights: readonly RestoredWeight[];
  readonly notes: readonly string[];
}

/** Edits `proto`. Tasks are numbered from `firstTask`. */
export async function widenGraph(model: OnnxModel, proto: ModelProto, firstTask: number): Promise<Widened> {
  const restorations: DequantizeTask<TensorBytes>[] = [];
  const weights: RestoredWeight[] = [];
  dropCasts(proto);
  for (const { graph } of allGraphs(proto)) {
    for (const [place, tensor] of graph.initializer.entries()) {
      if (tensor.dataType !== HALF) continue;
      const name = tensor.name ?? '';
      const operation: DequantizeOperation = {
        kind: 'cast',
        shape: tensor.dims,
        from: 'f16',
        scaled: false,
        axis: null,
        scaleType: 'f32',
        to: 'f32',
      };
      const count = elementCount(tensor.dims) ?? 0;
      const id = firstTask + restorations.length;
      const length = dequantizedPart(operation).bytes;
      const made =
        count === 0
          ? rawTensor(name, 'f32', tensor.dims, new Uint8Array(0))
          : pendingTensor(name, 'f32', tensor.dims, { kind: 'pending', length, task: id, role: 'data' });
      graph.initializer[place] = {
        ...made,
        docString: tensor.docString,
        metadataProps: tensor.metadataProps,
      };
      if (count === 0) continue;
      restorations.push({
        id,
        tensor: name,
        operation,
        sources: { data: await model.tensorBytes(tensor) },
      });
      weights.push({ name, shape: tensor.dims, form: 'f16', opType: '' });
    }
    for (const node of graph.node) await widenAttributes(model, node);
    for (const value of graph.valueInfo) widenValue(value);
  }
  return { restorations, weights, notes: widenInterface(proto) };
}

/** Types of inputs and outputs of all graphs; says which of the model's own changed. */
function widenInterface(proto: ModelProto): string[] {
  const changed: string[] = [];
  for (const { graph } of allGraphs(proto)) {
    for (const value of [...graph.input, ...graph.output]) {
      if (widenValue(value) && graph === proto.graph) changed.push(value.name ?? '');
    }
  }
  return changed.length === 0 ? [] : [`Now float32 instead of float16: ${changed.join(', ')}.`];
}

function isHalf(value: ValueInfoProto): boolean {
  return value.type?.tensorType?.elemType === HALF;
}

function widenValue(value: ValueInfoProto): boolean {
  const tensor = value.type?.tensorType;
  if (tensor?.elemType !== HALF) return false;
  tensor.elemType = FLOAT;
  return true;
}

async function widenAttributes(model: OnnxModel, node: NodeProto): Promise<void> {
  for (const attribute of node.attribute) {
    if (TYPE_ATTRIBUTES.has(attribute.name ?? '') && attribute.i === BigInt(HALF)) {
      attribute.i = BigInt(FLOAT);
    }
    if (attribute.t?.dataType === HALF) attribute.t = await widenedTensor(model, attribute.t);
  }
}

/** A small tensor of an attribute (ConstantOfShape, Constant), converted here. */
async function widenedTensor(model: OnnxModel, tensor: TensorProto): Promise<TensorProto> {
  const bytes = await model.readTensor(tensor);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = Float32Array.from({ length: bytes.length / 2 }, (_, i) =>
    f16BitsToF32(view.getUint16(i * 2, true)),
  );
  return rawTensor(tensor.name ?? '', 'f32', tensor.dims, new Uint8Array(values.buffer));
}

/** Casts between f16 and f32 (both ways, and each to itself) go; their readers read what they read. */
function dropCasts(proto: ModelProto): void {
  const types = inferElementTypes(proto);
  const index = indexGraph(proto);
  const isFloat = (graph: GraphProto, name: string): boolean => {
    const type = types.typeOf(graph, name);
    return type === 'f16' || type === 'f32';
  };
  for (const graph of index.graphs) {
    const producers = new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)));
    graph.node = graph.node.filter((node) => {
      if (node.opType !== 'Cast' || !isDefaultDomain(node)) return true;
      const to = dtypeOfNumber(readInt(node, 'to', 0));
      const input = node.input[0] ?? '';
      const output = node.output[0] ?? '';
      if ((to !== 'f16' && to !== 'f32') || !isFloat(graph, input)) return true;
      if (index.isOutput(graph, output)) {
        // The output keeps its name, so the value takes it.
        const producer = producers.get(input);
        if (producer === undefined || producer === node || index.isOutput(graph, input)) return true;
        producer.output = producer.output.map((name) => (name === input ? output : name));
        producers.set(output, producer);
        producers.delete(input);
        for (const reader of index.consumers(graph, input)) replaceInput(reader.node, input, output);
        return false;
      }
      for (const reader of index.consumers(graph, output)) replaceInput(reader.node, output, input);
      return false;
    });
  }
}

function replaceInput(node: NodeProto, from: string, to: string): void {
  node.input = node.input.map((name) => (name === from ? to : name));
}
