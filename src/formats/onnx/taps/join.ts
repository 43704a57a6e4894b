/**
 * Joins two versions of a model into one that computes both on the same inputs, so that a runtime can subtract what the one
 * has at a place from what the other has there. Values of the second get new names; what is the same in both (inputs,
 * weights with the same bytes, and every node that computes the same from the same) is there once.
 */

import { WhittleError } from '../../../errors.ts';
import { definedNames, topologicalOrder } from '../graph.ts';
import type { AttributeProto, GraphProto, ModelProto, NodeProto, Payload, TensorProto } from '../messages.ts';
import { cloneNode, cloneTensor, type NameAllocator, uniqueName } from '../model.ts';
import { isDefaultDomain } from '../model-versions.ts';

/**
 * Adds `reference` to `proto`, in place. Tensors must be embedded (no external data) in both.
 * @returns What each value of the reference's main graph is called in the result.
 * @throws WhittleError E_UNSUPPORTED where the two import different operator sets
 */
export function joinModels(proto: ModelProto, reference: ModelProto): ReadonlyMap<string, string> {
  const { graph } = proto;
  const second = reference.graph;
  const order = second && topologicalOrder(second);
  if (graph === undefined || second === undefined || order === undefined) {
    throw new WhittleError('E_GRAPH', 'the models cannot be joined: a graph is missing or has a cycle');
  }
  joinImports(proto, reference);
  const allocate = uniqueName(proto);
  const names = new Map<string, string>();
  const inputs = new Set(graph.input.map(({ name = '' }) => name));
  for (const input of second.input) {
    const name = input.name ?? '';
    names.set(name, name);
    if (!inputs.has(name)) graph.input.push(input);
  }
  const initializers = new Map(graph.initializer.map((tensor) => [tensor.name ?? '', tensor]));
  for (const tensor of second.initializer) {
    const name = tensor.name ?? '';
    const same = initializers.get(name);
    const to = same !== undefined && sameTensor(same, tensor) ? name : allocate(name);
    names.set(name, to);
    if (to !== name || same === undefined) graph.initializer.push({ ...cloneTensor(tensor), name: to });
  }
  const producers = new Map<string, NodeProto>();
  for (const node of graph.node) for (const output of node.output) producers.set(output, node);
  for (const node of order) {
    const twin = producers.get(node.output.find((name) => name !== '') ?? '');
    if (twin !== undefined && sameNode(twin, node, names)) {
      for (const output of node.output) names.set(output, output);
      continue;
    }
    for (const output of node.output) names.set(output, output === '' ? '' : allocate(output));
    graph.node.push(renamed(node, names, allocate));
  }
  return names;
}

function joinImports(proto: ModelProto, reference: ModelProto): void {
  for (const wanted of reference.opsetImport) {
    const same = (domain: string | undefined): boolean =>
      isDefaultDomain(wanted.domain) ? isDefaultDomain(domain) : domain === wanted.domain;
    const found = proto.opsetImport.find(({ domain }) => same(domain));
    if (found === undefined) proto.opsetImport.push(wanted);
    else if (found.version !== wanted.version) {
      throw new WhittleError(
        'E_UNSUPPORTED',
        'the two versions of the model import different operator sets',
        {
          expected: `${wanted.domain || 'ai.onnx'} ${wanted.version ?? 0n}`,
          found: `${found.version ?? 0n}`,
          hint: 'Raise the operator set of the float model first.',
        },
      );
    }
  }
  if ((reference.irVersion ?? 0n) > (proto.irVersion ?? 0n)) proto.irVersion = reference.irVersion;
  const known = new Set(proto.functions.map(({ domain, name }) => `${domain}\n${name}`));
  for (const made of reference.functions) {
    if (!known.has(`${made.domain}\n${made.name}`)) proto.functions.push(made);
  }
}

/** A copy that reads and gives the new names, in its subgraphs too; its own name is left away, since names are unique. */
function renamed(node: NodeProto, names: ReadonlyMap<string, string>, allocate: NameAllocator): NodeProto {
  const copy = cloneNode(node);
  copy.name = node.name === undefined ? undefined : allocate(node.name);
  rename(copy, names);
  return copy;
}

function rename(node: NodeProto, names: ReadonlyMap<string, string>): void {
  const to = (name: string): string => names.get(name) ?? name;
  node.input = node.input.map(to);
  node.output = node.output.map(to);
  for (const attribute of node.attribute) {
    if (attribute.g !== undefined) renameGraph(attribute.g, names);
    for (const graph of attribute.graphs) renameGraph(graph, names);
  }
}

/** What the subgraph defines itself hides outer names and keeps its own. */
function renameGraph(graph: GraphProto, names: ReadonlyMap<string, string>): void {
  const own = definedNames(graph);
  const visible = new Map([...names].filter(([name]) => !own.has(name)));
  for (const node of graph.node) rename(node, visible);
  for (const output of graph.output) output.name = visible.get(output.name ?? '') ?? output.name;
}

function sameNode(a: NodeProto, b: NodeProto, names: ReadonlyMap<string, string>): boolean {
  return (
    a.opType === b.opType &&
    a.domain === b.domain &&
    sameList(a.output, b.output, Object.is) &&
    sameList(a.input, b.input, (x, y) => x === (y === '' ? '' : names.get(y))) &&
    a.attribute.length === b.attribute.length &&
    b.attribute.every((attribute) => {
      const twin = a.attribute.find(({ name }) => name === attribute.name);
      return twin !== undefined && sameAttribute(twin, attribute);
    })
  );
}

/** Graphs are taken for different: comparing them is not worth the code. */
function sameAttribute(a: AttributeProto, b: AttributeProto): boolean {
  if (a.g !== undefined || b.g !== undefined || a.graphs.length + b.graphs.length > 0) return false;
  if (a.unknown.length + b.unknown.length + a.tensors.length + b.tensors.length > 0) return false;
  if (a.t !== undefined || b.t !== undefined) {
    return a.t !== undefined && b.t !== undefined && sameTensor(a.t, b.t);
  }
  return (
    a.i === b.i &&
    Object.is(a.f, b.f) &&
    sameBytes(a.s, b.s) &&
    sameList(a.ints, b.ints, Object.is) &&
    sameList(a.floats, b.floats, Object.is) &&
    sameList(a.strings, b.strings, sameBytes)
  );
}

function sameTensor(a: TensorProto, b: TensorProto): boolean {
  return (
    a.dataType === b.dataType &&
    sameList(a.dims, b.dims, Object.is) &&
    a.stringData.length + b.stringData.length === 0 &&
    PAYLOADS.every((field) => samePayload(a[field], b[field]))
  );
}

const PAYLOADS = ['rawData', 'floatData', 'doubleData', 'int32Data', 'int64Data', 'uint64Data'] as const;

/** The same place, or the same few bytes: large payloads in memory are compared by identity. */
function samePayload(a: Payload | undefined, b: Payload | undefined): boolean {
  if (a === b) return true;
  if (a?.kind === 'inline' && b?.kind === 'inline') {
    return a.bytes === b.bytes || (a.bytes.length <= 4096 && sameBytes(a.bytes, b.bytes));
  }
  if (a?.kind !== 'range' || b?.kind !== 'range') return false;
  return a.source === b.source && a.offset === b.offset && a.length === b.length;
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function sameList<T>(a: readonly T[], b: readonly T[], same: (a: T, b: T) => boolean): boolean {
  return a.length === b.length && a.every((value, i) => i in b && same(value, b[i]!));
}
