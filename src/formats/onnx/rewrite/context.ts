/**
 * The state of one rewrite of one model: tasks that were promised, tensors that were added, nodes that replace
 * others. Rewrites describe their edits here; `finish` applies them in one pass over each graph, so that the order of nodes
 * stays topological (what a node needs is emitted right before it) and the cost stays linear.
 */

import type { DType } from '../../../core/dtype.ts';
import { WhittleError } from '../../../errors.ts';
import { type Operation, operationParts, type PartRole } from '../../../numerics/operation.ts';
import type { Task } from '../../../numerics/task.ts';
import type { TensorBytes } from '../../layout.ts';
import { minimumIr } from '../data-types.ts';
import type { GraphProto, ModelProto, NodeProto, TensorProto } from '../messages.ts';
import { uniqueName, type Weight } from '../model.ts';
import { inferRanks, type Ranks } from '../types-rank.ts';
import { makeCast, pendingTensor } from './build.ts';
import { type GraphIndex, indexGraph, subgraphs } from './uses.ts';

/** Nodes that take the place of one node; called in graph order, once. */
export type NodeRewrite = (emit: Emitter) => NodeProto[];

/** What a rewrite may ask for while the nodes of a graph are emitted. */
export interface Emitter {
  readonly graph: GraphProto;
  /** A value that several nodes of this graph share: `make` runs for the first that asks. */
  shared(key: string, make: () => Shared): Shared;
}

export interface RewriteContext {
  readonly proto: ModelProto;
  readonly index: GraphIndex;
  readonly tasks: Task<TensorBytes>[];
  readonly notes: Set<string>;
  /** Dimensions of a value before the rewrite, where the graph tells. */
  rankOf(graph: GraphProto, name: string): number | undefined;
  /** A name that nothing in the model has: `base`, or `base_1`, … */
  uniqueName(base: string): string;
  /** Promises the parts of `operation` as initializers beside `weight`; a second demand for the same gives the same. */
  addTask(weight: Weight, operation: Operation, names: PartNames): PartTensors;
  addInitializer(graph: GraphProto, tensor: TensorProto): void;
  replaceNode(node: NodeProto, rewrite: NodeRewrite): void;
  /** Nodes at the head of a graph: they make `weight`'s name out of its parts, so no use has to change. */
  prepend(graph: GraphProto, nodes: readonly NodeProto[]): void;
  /** `weight`'s own tensor goes; its name is produced by prepended nodes. */
  dropInitializer(weight: Weight): void;
  /** A task that is no rewrite of a weight: conversion of a constant to another float. Gives its id. */
  addConversion(graph: GraphProto, name: string, source: TensorBytes, operation: Operation): number;
  /** The task's scales become f16; false where it has none. */
  halveScale(task: number): boolean;
  /** Nodes that must compute in f32 even in a half-precision graph. */
  readonly floatNodes: Set<NodeProto>;
  /** LSTM nodes whose two matrices arrive one after the other. */
  readonly lstmPairs: Map<NodeProto, LstmPair>;
  /** Domains, types: what the edits ask of the model. */
  useDomain(domain: string): void;
  finish(): void;
  /** Smallest IR that the added types need. */
  readonly neededIr: () => number;
  readonly domains: ReadonlySet<string>;
  /** Tasks of each weight, by its key. */
  tasksOf(weight: Weight): readonly number[];
}

/** Names (and dims, where they differ from those of the operation) of the parts that are stored. */
export type PartNames = Partial<
  Record<PartRole, string | { readonly name: string; readonly dims: readonly number[] }>
>;
export type PartTensors = Readonly<Record<PartRole, string>>;

export interface LstmPair {
  w?: PartTensors;
  r?: PartTensors;
}

export function createContext(
  proto: ModelProto,
  weights: readonly Weight[],
  sourceOf: ReadonlyMap<string, TensorBytes>,
): RewriteContext {
  const keyOf = (graph: GraphProto, name: string): string | undefined =>
    weights.find((weight) => weight.graph === graph && weight.name === name)?.key;
  const index = indexGraph(proto);
  const tasks: Task<TensorBytes>[] = [];
  const allocate = uniqueName(proto);
  const made = new Map<string, PartTensors>();
  const byWeight = new Map<string, number[]>();
  const replacements = new Map<NodeProto, NodeRewrite>();
  const heads = new Map<GraphProto, NodeProto[]>();
  const dropped = new Set<TensorProto>();
  const domains = new Set<string>();
  let ir = 0;
  let ranks: Ranks | undefined;

  const addTask = (weight: Weight, operation: Operation, names: PartNames): PartTensors => {
    const key = `${weight.key}\n${JSON.stringify(operation)}`;
    const known = made.get(key);
    if (known !== undefined) return known;
    const source = sourceOf.get(weight.key);
    if (source === undefined) {
      throw new WhittleError('E_GRAPH', 'a weight has no bytes', { tensor: weight.name });
    }
    const id = tasks.length;
    tasks.push({ id, tensor: weight.name, source, operation });
    byWeight.set(weight.key, [...(byWeight.get(weight.key) ?? []), id]);
    const tensors: Record<PartRole, string> = {
      data: '',
      packed: '',
      scales: '',
      scale: '',
      zeroPoints: '',
      zeroPoint: '',
      absmax: '',
    };
    for (const part of operationParts(operation)) {
      const wanted = names[part.role];
      if (wanted === undefined) continue;
      const name = allocate(typeof wanted === 'string' ? wanted : wanted.name);
      const dims = typeof wanted === 'string' ? part.shape : wanted.dims;
      tensors[part.role] = name;
      ir = Math.max(ir, minimumIr(part.dtype));
      weight.graph.initializer.push(
        pendingTensor(name, part.dtype, dims, {
          kind: 'pending',
          length: part.bytes,
          task: id,
          role: part.role,
        }),
      );
    }
    made.set(key, tensors);
    return tensors;
  };

  const rebuild = (graph: GraphProto): void => {
    const cache = new Map<string, readonly string[]>();
    const emit: Emitter = {
      graph,
      shared: (key, make) => {
        const known = cache.get(key);
        if (known !== undefined) return { nodes: [], names: known };
        const shared = make();
        cache.set(key, shared.names);
        return shared;
      },
    };
    const nodes: NodeProto[] = [...(heads.get(graph) ?? [])];
    for (const node of graph.node) {
      for (const inner of subgraphs(node)) rebuild(inner);
      const rewrite = replacements.get(node);
      if (rewrite === undefined) nodes.push(node);
      else nodes.push(...rewrite(emit));
    }
    graph.node = nodes;
    if (dropped.size > 0) graph.initializer = graph.initializer.filter((tensor) => !dropped.has(tensor));
  };

  return {
    proto,
    index,
    tasks,
    notes: new Set(),
    domains,
    lstmPairs: new Map(),
    floatNodes: new Set(),
    addConversion: (graph, name, source, operation) => {
      const id = tasks.length;
      tasks.push({ id, tensor: name, source, operation });
      const key = keyOf(graph, name);
      if (key !== undefined) byWeight.set(key, [...(byWeight.get(key) ?? []), id]);
      return id;
    },
    halveScale: (id) => {
      const task = tasks[id];
      if (task === undefined || !('scaleType' in task.operation)) return false;
      tasks[id] = { ...task, operation: { ...task.operation, scaleType: 'f16' } };
      return true;
    },
    rankOf: (graph, name) => {
      ranks ??= inferRanks(proto);
      return ranks.rankOf(graph, name);
    },
    uniqueName: allocate,
    addTask,
    addInitializer: (graph, tensor) => graph.initializer.push(tensor),
    replaceNode: (node, rewrite) => replacements.set(node, rewrite),
    prepend: (graph, nodes) => heads.set(graph, [...(heads.get(graph) ?? []), ...nodes]),
    dropInitializer: (weight) => dropped.add(weight.tensor),
    useDomain: (domain) => domains.add(domain),
    neededIr: () => ir,
    tasksOf: (weight) => byWeight.get(weight.key) ?? [],
    finish: () => {
      if (proto.graph !== undefined) rebuild(proto.graph);
    },
  };
}

/** Names that `nodes` make; a node behind them in the same graph finds them made already. */
export interface Shared {
  readonly nodes: readonly NodeProto[];
  readonly names: readonly string[];
}

/**
 * Inserts casts around a node that can only compute in f32: `inputs` are the indices to widen. Returns the nodes in order;
 * `node` itself is expected to name the original values and is edited.
 */
export function castIsland(
  context: RewriteContext,
  node: NodeProto,
  inputs: readonly number[],
  outputs: readonly number[],
  dtype: DType,
): NodeProto[] {
  const before: NodeProto[] = [];
  const after: NodeProto[] = [];
  for (const i of inputs) {
    const name = node.input[i];
    if (name === undefined || name === '') continue;
    const wide = context.uniqueName(`${name}_f32`);
    before.push(makeCast(name, wide, 'f32', context.uniqueName(`${name}_to_f32`)));
    node.input[i] = wide;
  }
  for (const i of outputs) {
    const name = node.output[i];
    if (name === undefined || name === '') continue;
    const wide = context.uniqueName(`${name}_f32`);
    after.push(makeCast(wide, name, dtype, context.uniqueName(`${name}_from_f32`)));
    node.output[i] = wide;
  }
  return [...before, node, ...after];
}
