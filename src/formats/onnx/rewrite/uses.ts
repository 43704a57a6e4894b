/**
 * What each operator does with a weight: its role, seen through the nodes that only re-dress it.
 *
 * Exporters put `Transpose`, `Cast` and `Identity` between a weight and its operator (tied embeddings, half precision
 * weights of a float32 graph). A use is followed through such nodes to the operators behind them, in whatever subgraph
 * they are, and `chain` remembers what was passed.
 */

import type { DType } from '../../../core/dtype.ts';
import { dtypeOfNumber } from '../data-types.ts';
import { subgraphsOf } from '../graph.ts';
import type { GraphProto, ModelProto, NodeProto } from '../messages.ts';
import type { Weight } from '../model.ts';
import { intsAttribute, isDefaultDomain, readInt, readInts } from './build.ts';

export type UseRole =
  /** B of A·B (`transposed`: the stored matrix is [N, K]). */
  | { readonly kind: 'matmul'; readonly transposed: boolean }
  | { readonly kind: 'gemm'; readonly transposed: boolean }
  | { readonly kind: 'conv' }
  | { readonly kind: 'conv-transpose' }
  /** W (input 1) or R (input 2). */
  | { readonly kind: 'lstm' }
  | { readonly kind: 'recurrent' }
  /** The table. */
  | { readonly kind: 'gather' }
  /** Only moves elements on to something else. */
  | { readonly kind: 'movement' }
  /** A bias, a norm's scale, an operand: not a weight in the sense of compression. */
  | { readonly kind: 'other' };

export interface ResolvedUse {
  readonly node: NodeProto;
  readonly graph: GraphProto;
  /** Index in `node.input`. */
  readonly input: number;
  readonly role: UseRole;
  /** Nodes between the weight and `node`, first one first. */
  readonly chain: readonly NodeProto[];
  /** Element type in which `node` reads the weight. */
  readonly dtype: DType;
}

export interface Consumer {
  readonly node: NodeProto;
  readonly graph: GraphProto;
  readonly input: number;
}

/** Who reads each value, across subgraphs; a value is known by the graph that defines it and its name. */
export interface GraphIndex {
  consumers(graph: GraphProto, name: string): readonly Consumer[];
  isOutput(graph: GraphProto, name: string): boolean;
  /** The graph in which `name`, read inside `graph`, is defined; undefined where nothing defines it. */
  definingGraph(graph: GraphProto, name: string): GraphProto | undefined;
  /** Graphs in order: a subgraph comes after the graph that holds it. */
  readonly graphs: readonly GraphProto[];
  /** The graph around a subgraph. */
  parent(graph: GraphProto): GraphProto | undefined;
}

export function subgraphs(node: NodeProto): GraphProto[] {
  return subgraphsOf(node).map(({ graph }) => graph);
}

export function indexGraph(proto: ModelProto): GraphIndex {
  const graphs: GraphProto[] = [];
  const parents = new Map<GraphProto, GraphProto>();
  const defined = new Map<GraphProto, Set<string>>();
  const consumers = new Map<GraphProto, Map<string, Consumer[]>>();
  const outputs = new Map<GraphProto, Set<string>>();
  const visit = (graph: GraphProto): void => {
    graphs.push(graph);
    const names = new Set<string>();
    for (const value of graph.input) if (value.name) names.add(value.name);
    for (const tensor of graph.initializer) if (tensor.name) names.add(tensor.name);
    for (const node of graph.node) for (const name of node.output) if (name !== '') names.add(name);
    defined.set(graph, names);
    consumers.set(graph, new Map());
    outputs.set(graph, new Set(graph.output.map((value) => value.name ?? '')));
    for (const node of graph.node) {
      for (const inner of subgraphs(node)) {
        parents.set(inner, graph);
        visit(inner);
      }
    }
  };
  if (proto.graph !== undefined) visit(proto.graph);
  const definingGraph = (graph: GraphProto, name: string): GraphProto | undefined => {
    let scope: GraphProto | undefined = graph;
    while (scope !== undefined && !defined.get(scope)?.has(name)) scope = parents.get(scope);
    return scope;
  };
  // A subgraph may hand an outer value straight out: that reads it just as a graph output does.
  const handedOut = new Map<GraphProto, Set<string>>();
  for (const graph of graphs) {
    for (const node of graph.node) {
      for (const [input, name] of node.input.entries()) {
        if (name === '') continue;
        const scope = definingGraph(graph, name);
        const map = scope && consumers.get(scope);
        if (map === undefined) continue;
        const found = map.get(name);
        if (found === undefined) map.set(name, [{ node, graph, input }]);
        else found.push({ node, graph, input });
      }
    }
    for (const name of outputs.get(graph) ?? []) {
      const scope = definingGraph(graph, name);
      if (scope === undefined) continue;
      const set = handedOut.get(scope) ?? new Set();
      handedOut.set(scope, set.add(name));
    }
  }
  return {
    graphs,
    parent: (graph) => parents.get(graph),
    definingGraph,
    consumers: (graph, name) => consumers.get(graph)?.get(name) ?? [],
    isOutput: (graph, name) => handedOut.get(graph)?.has(name) ?? false,
  };
}

/** The operators that read `weight`, through the nodes that only re-dress it. */
export function resolveUses(weight: Weight, index: GraphIndex): ResolvedUse[] {
  const result: ResolvedUse[] = [];
  const follow = (
    graph: GraphProto,
    name: string,
    chain: NodeProto[],
    transposed: boolean,
    dtype: DType,
  ): void => {
    for (const consumer of index.consumers(graph, name)) {
      const { node } = consumer;
      const output = node.output[0] ?? '';
      const passes =
        chain.length < 8 && output !== '' && !index.isOutput(consumer.graph, output) && isDefaultDomain(node);
      if (passes && node.opType === 'Identity') {
        follow(consumer.graph, output, [...chain, node], transposed, dtype);
        continue;
      }
      if (passes && node.opType === 'Transpose' && isMatrixTranspose(node, weight.shape.length)) {
        follow(consumer.graph, output, [...chain, node], !transposed, dtype);
        continue;
      }
      const to = node.opType === 'Cast' ? dtypeOfNumber(readInt(node, 'to', 0)) : undefined;
      if (passes && (to === 'f32' || to === 'f16')) {
        follow(consumer.graph, output, [...chain, node], transposed, to);
        continue;
      }
      result.push({ ...consumer, role: roleOf(consumer, transposed), chain, dtype });
    }
  };
  follow(weight.graph, weight.name, [], false, weight.dtype);
  return result;
}

function isMatrixTranspose(node: NodeProto, rank: number): boolean {
  if (rank !== 2) return false;
  const perm = readInts(node, 'perm');
  return perm === undefined || (perm[0] === 1 && perm[1] === 0);
}

/**
 * Writes down the axes of the `Transpose` nodes through which `uses` read a weight of `rank` dimensions, where they are left to
 * the default: onnxruntime's transpose optimizer (1.30) aborts the whole process on a DequantizeLinear with an axis in
 * front of a Transpose without `perm`.
 */
export function spellPermutations(uses: readonly ResolvedUse[], rank: number): void {
  for (const { node, chain } of uses) {
    for (const step of [...chain, node]) {
      if (step.opType !== 'Transpose' || !isDefaultDomain(step) || readInts(step, 'perm') !== undefined)
        continue;
      const reversed = Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
      step.attribute = [...step.attribute, intsAttribute('perm', reversed)];
    }
  }
}

const MOVEMENT: ReadonlySet<string> = new Set([
  'Concat',
  'Expand',
  'Flatten',
  'Reshape',
  'Slice',
  'Split',
  'Squeeze',
  'Transpose',
  'Unsqueeze',
]);

function roleOf({ node, input }: Consumer, transposed: boolean): UseRole {
  const other: UseRole = { kind: 'other' };
  if (!isDefaultDomain(node)) return other;
  switch (node.opType) {
    case 'MatMul':
      return input === 1 ? { kind: 'matmul', transposed } : other;
    case 'Gemm':
      if (input !== 1) return other;
      return { kind: 'gemm', transposed: transposed !== (readInt(node, 'transB', 0) === 1) };
    case 'Conv':
      return input === 1 && !transposed ? { kind: 'conv' } : other;
    case 'ConvTranspose':
      return input === 1 && !transposed ? { kind: 'conv-transpose' } : other;
    case 'LSTM':
      return input === 1 || input === 2 ? { kind: 'lstm' } : other;
    case 'GRU':
    case 'RNN':
      return input === 1 || input === 2 ? { kind: 'recurrent' } : other;
    case 'Gather':
      return input === 0 && !transposed ? { kind: 'gather' } : other;
    default:
      return MOVEMENT.has(node.opType ?? '') && (input === 0 || node.opType === 'Concat')
        ? { kind: 'movement' }
        : other;
  }
}
