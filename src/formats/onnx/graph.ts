/**
 * Structure of graphs: which names they define and use, and the rules every graph must keep.
 *
 * ONNX graphs are in static single assignment form; a subgraph sees the names of the graphs around it. Node order is
 * topological by specification, but runtimes sort, so a model whose nodes are out of order is taken, with a note;
 * a cycle is not. Source: ONNX IR specification, "Graphs", "Names within a graph".
 */

import { WhittleError } from '../../errors.ts';
import { memorySource } from '../../io/memory-source.ts';
import { DEFAULT_LIMITS } from '../limits.ts';
import type { AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto } from './messages.ts';
import { createBudget, decodeMessage } from './reader.ts';
import { SPARSE_INITIALIZER_FIELD, SPARSE_TENSOR } from './schema.ts';
import { cursorOver, readLength, readTag, tagNumber, tagWire, WIRE } from './varints.ts';

/** A graph held by an attribute of a node. `label` tells where: "then_branch", or "branches[1]" in a list. */
export interface Subgraph {
  readonly graph: GraphProto;
  readonly label: string;
}

/** Graphs in the attributes of a node (If, Loop, Scan, SequenceMap …), in order. */
export function subgraphsOf(node: NodeProto): Subgraph[] {
  const found: Subgraph[] = [];
  for (const attribute of node.attribute) {
    const name = attribute.name ?? '';
    if (attribute.g !== undefined) found.push({ graph: attribute.g, label: name });
    attribute.graphs.forEach((graph, index) => {
      found.push({ graph, label: `${name}[${index}]` });
    });
  }
  return found;
}

/** Every graph of the model with the path of nodes that leads to it ('' for the main graph), outer ones first. */
export function* allGraphs(proto: ModelProto): Generator<{ graph: GraphProto; path: string }> {
  if (proto.graph === undefined) return;
  yield { graph: proto.graph, path: '' };
  yield* graphsIn(proto.graph.node, '');
}

function* graphsIn(
  nodes: readonly NodeProto[],
  path: string,
): Generator<{ graph: GraphProto; path: string }> {
  for (const [index, node] of nodes.entries()) {
    for (const { graph, label } of subgraphsOf(node)) {
      const inner = subgraphPath(path, node, index, label);
      yield { graph, path: inner };
      yield* graphsIn(graph.node, inner);
    }
  }
}

/** Every tensor of the model: initializers and tensors in attributes, those of functions included. */
export function* allTensors(proto: ModelProto): Generator<TensorProto> {
  for (const { graph } of allGraphs(proto)) {
    yield* graph.initializer;
    yield* attributeTensors(graph.node);
  }
  for (const { node } of proto.functions) {
    yield* attributeTensors(node);
    for (const { graph } of graphsIn(node, '')) {
      yield* graph.initializer;
      yield* attributeTensors(graph.node);
    }
  }
}

function* attributeTensors(nodes: readonly NodeProto[]): Generator<TensorProto> {
  for (const node of nodes) {
    for (const attribute of node.attribute) {
      if (attribute.t !== undefined) yield attribute.t;
      yield* attribute.tensors;
    }
  }
}

/** Path of a subgraph: "If_12.then_branch", joined with "/" for nested ones. */
export function subgraphPath(outer: string, node: NodeProto, index: number, label: string): string {
  const name = node.name === undefined || node.name === '' ? `${node.opType ?? 'node'}_${index}` : node.name;
  return `${outer === '' ? '' : `${outer}/`}${name}.${label}`;
}

export function findAttribute(node: NodeProto, name: string): AttributeProto | undefined {
  return node.attribute.find((attribute) => attribute.name === name);
}

/** Names of sparse initializers, which stay undecoded in `graph.unknown`. */
export function sparseInitializerNames(graph: GraphProto): string[] {
  const names: string[] = [];
  for (const field of graph.unknown) {
    const origin = { base: 0, file: 'sparse initializer', fileSize: field.length };
    const cursor = cursorOver(field, 0, field.length, origin);
    const tag = readTag(cursor);
    if (tagNumber(tag) !== SPARSE_INITIALIZER_FIELD || tagWire(tag) !== WIRE.length) continue;
    readLength(cursor);
    const sparse = SPARSE_TENSOR.create();
    const budget = createBudget(memorySource(field, origin.file), DEFAULT_LIMITS);
    decodeMessage(budget, SPARSE_TENSOR, sparse, cursor, 1);
    if (sparse.values?.name !== undefined) names.push(sparse.values.name);
  }
  return names;
}

/** Names that the graph itself defines: inputs, initializers, outputs of its nodes. */
export function definedNames(graph: GraphProto): Set<string> {
  const names = new Set<string>();
  for (const input of graph.input) names.add(input.name ?? '');
  for (const tensor of graph.initializer) names.add(tensor.name ?? '');
  for (const name of sparseInitializerNames(graph)) names.add(name);
  for (const node of graph.node) for (const output of node.output) names.add(output);
  names.delete('');
  return names;
}

/** Every tensor name that occurs anywhere in the graph and its subgraphs. */
export function graphTensorNames(graph: GraphProto): Set<string> {
  const names = definedNames(graph);
  for (const info of graph.valueInfo) names.add(info.name ?? '');
  for (const output of graph.output) names.add(output.name ?? '');
  for (const node of graph.node) {
    for (const input of node.input) names.add(input);
    for (const { graph: inner } of subgraphsOf(node))
      for (const name of graphTensorNames(inner)) names.add(name);
  }
  names.delete('');
  return names;
}

/**
 * Names that a node takes from the graph it stands in or from graphs around that: its inputs, and what its
 * subgraphs use without defining it.
 */
export function namesUsedBy(node: NodeProto): Set<string> {
  const names = new Set<string>(node.input);
  for (const { graph } of subgraphsOf(node)) for (const name of freeNames(graph)) names.add(name);
  names.delete('');
  return names;
}

/** Names that the graph uses and does not define. */
export function freeNames(graph: GraphProto): Set<string> {
  const defined = definedNames(graph);
  const free = new Set<string>();
  const use = (name: string): void => {
    if (name !== '' && !defined.has(name)) free.add(name);
  };
  for (const node of graph.node) for (const name of namesUsedBy(node)) use(name);
  for (const output of graph.output) use(output.name ?? '');
  return free;
}

/**
 * Checks all graphs of a model.
 * @returns Notes for the user (nodes out of order).
 * @throws WhittleError E_GRAPH (no producer, two producers, a cycle), E_DUPLICATE (names given twice)
 */
export function validateGraphs(proto: ModelProto, file: string): string[] {
  const notes: string[] = [];
  if (proto.graph !== undefined) validateGraph(proto.graph, [], '', file, notes);
  return notes;
}

/** Validates one graph and those inside; gives the outer names it uses. */
function validateGraph(
  graph: GraphProto,
  outer: readonly ReadonlySet<string>[],
  path: string,
  file: string,
  notes: string[],
): Set<string> {
  const defined = defineNames(graph, path, file);
  const scopes = [...outer, defined];
  const free = new Set<string>();
  const uses = graph.node.map((node, index) => {
    const names = new Set(node.input);
    names.delete('');
    for (const { graph: inner, label } of subgraphsOf(node)) {
      for (const name of validateGraph(inner, scopes, subgraphPath(path, node, index, label), file, notes)) {
        names.add(name);
      }
    }
    for (const name of names) {
      if (defined.has(name)) continue;
      if (!outer.some((scope) => scope.has(name))) throw missingInput(name, node, file, path);
      free.add(name);
    }
    return names;
  });
  for (const { name = '' } of graph.output) {
    if (defined.has(name)) continue;
    if (!outer.some((scope) => scope.has(name))) {
      throw new WhittleError('E_GRAPH', 'an output of the graph is produced by nothing', {
        file,
        tensor: name,
        node: path === '' ? undefined : path,
        hint: 'The model is damaged. Export it again.',
      });
    }
    free.add(name);
  }
  const order = orderNodes(graph, uses);
  if (order.cycle !== undefined) {
    throw new WhittleError('E_GRAPH', 'the nodes form a cycle', {
      file,
      node: describeNode(order.cycle, path),
      hint: 'The model is damaged. Export it again.',
    });
  }
  if (!order.inOrder)
    notes.push(`The nodes of ${path === '' ? 'the graph' : path} are not in topological order.`);
  return free;
}

function defineNames(graph: GraphProto, path: string, file: string): Set<string> {
  const where = path === '' ? undefined : path;
  const duplicate = (tensor: string, what: string): WhittleError =>
    new WhittleError('E_DUPLICATE', `${what} has the same name as another`, {
      file,
      tensor,
      node: where,
      hint: 'Names must be unique in a graph. Export the model again.',
    });
  const inputs = new Set<string>();
  for (const { name = '' } of graph.input) {
    if (inputs.has(name)) throw duplicate(name, 'an input of the graph');
    inputs.add(name);
  }
  const initializers = new Set<string>();
  for (const name of [
    ...graph.initializer.map((tensor) => tensor.name ?? ''),
    ...sparseInitializerNames(graph),
  ]) {
    if (name === '') {
      throw new WhittleError('E_GRAPH', 'an initializer has no name', { file, node: where });
    }
    if (initializers.has(name)) throw duplicate(name, 'an initializer');
    initializers.add(name);
  }
  const defined = new Set([...inputs, ...initializers]);
  for (const node of graph.node) {
    for (const output of node.output) {
      if (output === '') continue;
      if (defined.has(output)) {
        throw new WhittleError('E_GRAPH', 'a name is given to two values (ONNX is single-assignment)', {
          file,
          tensor: output,
          node: describeNode(node, path),
          hint: 'The model is damaged. Export it again.',
        });
      }
      defined.add(output);
    }
  }
  return defined;
}

function missingInput(name: string, node: NodeProto, file: string, path: string): WhittleError {
  return new WhittleError('E_GRAPH', 'a node reads a value that nothing produces', {
    file,
    tensor: name,
    node: describeNode(node, path),
    hint: 'The model is damaged. Export it again.',
  });
}

function describeNode(node: NodeProto, path: string): string {
  return `${path === '' ? '' : `${path}/`}${node.name ?? ''} (${node.opType ?? 'no operator'})`;
}

interface NodeOrder {
  /** Indices in an order in which every node comes after what it reads; stable. */
  readonly indices: number[];
  readonly inOrder: boolean;
  /** A node of a cycle, if there is one. */
  readonly cycle: NodeProto | undefined;
}

/** Kahn's algorithm, always taking the first ready node, so that an ordered list stays as it is. */
function orderNodes(graph: GraphProto, uses: readonly ReadonlySet<string>[]): NodeOrder {
  const producer = new Map<string, number>();
  graph.node.forEach((node, index) => {
    for (const output of node.output) if (output !== '') producer.set(output, index);
  });
  const waiting = new Int32Array(graph.node.length);
  const readers: number[][] = graph.node.map(() => []);
  let inOrder = true;
  uses.forEach((names, index) => {
    for (const name of names) {
      const from = producer.get(name);
      if (from === undefined) continue;
      if (from >= index) inOrder = false;
      waiting[index]!++;
      readers[from]!.push(index);
    }
  });
  if (inOrder) return { indices: graph.node.map((_, index) => index), inOrder, cycle: undefined };
  const indices: number[] = [];
  const emit = (first: number): void => {
    const stack = [first];
    for (let index = stack.pop(); index !== undefined; index = stack.pop()) {
      indices.push(index);
      waiting[index] = -1;
      // Later readers are taken when their turn comes; earlier ones were passed already and go now.
      for (const reader of readers[index]!.toReversed()) {
        if (--waiting[reader]! === 0 && reader < first) stack.push(reader);
      }
    }
  };
  for (let index = 0; index < graph.node.length; index++) if (waiting[index] === 0) emit(index);
  const stuck = waiting.findIndex((count) => count > 0);
  return { indices, inOrder, cycle: stuck < 0 ? undefined : graph.node[stuck] };
}

/**
 * Nodes in an order in which each comes after what it reads (its subgraphs included); the present order where that is
 * one already. `undefined` for a cycle.
 */
export function topologicalOrder(graph: GraphProto): NodeProto[] | undefined {
  const order = orderNodes(graph, graph.node.map(namesUsedBy));
  return order.cycle === undefined ? order.indices.map((index) => graph.node[index]!) : undefined;
}
