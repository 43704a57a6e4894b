/**
 * What following channels through a graph needs to know of it: who makes and who reads each value, which names are constants, and the
 * values of the small ones (axes, shapes, bounds), read once ahead so that the walk itself waits for nothing.
 */

import { elementCount } from '../../../core/shape.ts';
import { dtypeOfNumber } from '../data-types.ts';
import type { GraphProto, ModelProto, NodeProto, TensorProto } from '../messages.ts';
import { isDefaultDomain, readInts } from '../rewrite/build.ts';
import { type GraphIndex, indexGraph } from '../rewrite/uses.ts';

export interface FoldFacts {
  readonly graph: GraphProto;
  readonly index: GraphIndex;
  /** Node of the main graph that gives a value. */
  producer(name: string): NodeProto | undefined;
  /** Float initializer that nothing can replace from outside. */
  constant(name: string): TensorProto | undefined;
  /** How many inputs of nodes read the initializer, in subgraphs too; infinite where it is an output of the graph. */
  readers(name: string): number;
  /** Values of a constant of a few numbers. */
  numbers(name: string): readonly number[] | undefined;
  /** The dimensions that a shape tensor names, from the last, as far as they are known and positive. */
  shape(name: string): readonly (number | undefined)[];
}

const FEW = 64;

/**
 * @param proto Its constants must be initializers (`normalizeConstants`).
 * @param readTensor Raw little-endian bytes.
 */
export async function foldFacts(
  proto: ModelProto,
  graph: GraphProto,
  readTensor: (tensor: TensorProto) => Promise<Uint8Array>,
): Promise<FoldFacts> {
  const index = indexGraph(proto);
  const producers = new Map<string, NodeProto>();
  for (const node of graph.node) for (const name of node.output) if (name !== '') producers.set(name, node);
  const inputs = new Set(graph.input.map(({ name }) => name ?? ''));
  const floats = new Map<string, TensorProto>();
  const numbers = new Map<string, readonly number[]>();
  for (const tensor of graph.initializer) {
    const { name = '', dims } = tensor;
    if (inputs.has(name)) continue;
    const dtype = dtypeOfNumber(tensor.dataType);
    if (dtype === 'f32' || dtype === 'f16' || dtype === 'bf16' || dtype === 'f64') floats.set(name, tensor);
    if ((elementCount(dims) ?? FEW + 1) > FEW) continue;
    if (dtype !== 'int64' && dtype !== 'int32' && dtype !== 'f32') continue;
    // Views need aligned bytes: a copy is.
    const { buffer } = (await readTensor(tensor)).slice();
    const values =
      dtype === 'int64'
        ? Array.from(new BigInt64Array(buffer), Number)
        : Array.from(dtype === 'int32' ? new Int32Array(buffer) : new Float32Array(buffer));
    numbers.set(name, values);
  }
  const shape = (name: string): readonly (number | undefined)[] => {
    const given = numbers.get(name);
    if (given !== undefined) return given.map(positive);
    const node = producers.get(name);
    if (node?.opType !== 'Concat' || !isDefaultDomain(node)) return [];
    return node.input.flatMap((part) => numbers.get(part)?.map(positive) ?? [undefined]);
  };
  return {
    graph,
    index,
    producer: (name) => producers.get(name),
    constant: (name) => floats.get(name),
    readers: (name) =>
      index.isOutput(graph, name) ? Number.POSITIVE_INFINITY : index.consumers(graph, name).length,
    numbers: (name) => numbers.get(name),
    shape,
  };
}

function positive(size: number): number | undefined {
  return size > 0 ? size : undefined;
}

/** An operator's axes: an attribute in old operator sets, an input in new ones; undefined where they are neither given nor known. */
export function axesOf(facts: FoldFacts, node: NodeProto, input: number): readonly number[] | undefined {
  return readInts(node, 'axes') ?? facts.numbers(node.input[input] ?? '');
}
