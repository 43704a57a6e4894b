/**
 * Edits that bring constants into one form and take away what nothing reads. All of them change the model in place:
 * call them on a copy (`cloneModel`).
 */

import { allGraphs, graphTensorNames, namesUsedBy } from './graph.ts';
import type { GraphProto, ModelProto, NodeProto, TensorProto } from './messages.ts';
import { cloneTensor } from './model-clone.ts';
import { IR_FREE_INITIALIZERS, requireIr } from './model-versions.ts';
import { constantTensor } from './weights.ts';

/**
 * Turns Constant nodes that hold numbers into initializers of their graph, with the name of their output, so that
 * rewrites see one form.
 *
 * An initializer that is no graph input needs IR 4; an older model is raised to IR 4 (`requireIr`), which any runtime
 * that loads IR 3 models today loads too. A Constant whose output is an output of its graph stays a node: runtimes
 * differ in whether an initializer may be one. Sparse and text constants stay.
 */
export function normalizeConstants(proto: ModelProto): void {
  let moved = 0;
  for (const { graph } of allGraphs(proto)) moved += normalizeGraph(graph);
  if (moved > 0) requireIr(proto, IR_FREE_INITIALIZERS);
}

function normalizeGraph(graph: GraphProto): number {
  const outputs = new Set(graph.output.map((output) => output.name));
  const kept: NodeProto[] = [];
  for (const node of graph.node) {
    const tensor = constantTensor(node);
    const name = node.output[0] ?? '';
    if (tensor === undefined || name === '' || outputs.has(name)) kept.push(node);
    else graph.initializer.push(namedCopy(tensor, name));
  }
  const moved = graph.node.length - kept.length;
  graph.node = kept;
  return moved;
}

function namedCopy(tensor: TensorProto, name: string): TensorProto {
  const copy = cloneTensor(tensor);
  copy.name = name;
  return copy;
}

/**
 * Removes initializers that no node of their graph or of a subgraph reads, and their value info. Initializers that
 * are inputs or outputs of their graph stay.
 * @returns Names of what was removed.
 */
export function pruneUnused(proto: ModelProto): string[] {
  const removed: string[] = [];
  for (const { graph } of allGraphs(proto)) {
    const used = new Set<string | undefined>();
    for (const node of graph.node) for (const name of namesUsedBy(node)) used.add(name);
    for (const info of [...graph.input, ...graph.output]) used.add(info.name);
    const gone = new Set<string>();
    graph.initializer = graph.initializer.filter((tensor) => {
      if (used.has(tensor.name)) return true;
      gone.add(tensor.name ?? '');
      return false;
    });
    if (gone.size === 0) continue;
    graph.valueInfo = graph.valueInfo.filter((info) => !gone.has(info.name ?? ''));
    for (const name of gone) removed.push(name);
  }
  return removed;
}

/** Gives names that occur nowhere in the model, its subgraphs included. */
export type NameAllocator = (wanted: string) => string;

/** An allocator for tensor and node names: `wanted` itself where it is free, else `wanted_1`, `wanted_2` … */
export function uniqueName(proto: ModelProto): NameAllocator {
  const taken = proto.graph === undefined ? new Set<string>() : graphTensorNames(proto.graph);
  for (const { graph } of allGraphs(proto)) for (const node of graph.node) taken.add(node.name ?? '');
  return (wanted) => {
    let name = wanted;
    for (let copy = 1; taken.has(name) || name === ''; copy++) name = `${wanted}_${copy}`;
    taken.add(name);
    return name;
  };
}
