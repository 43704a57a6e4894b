/**
 * Where a run over the data can start, when an earlier one got as far: layers are settled stage by stage, and what the settled ones alone decide
 * is the same in the next run. The values on that border, those that nodes behind it read, are kept for each sample; the next
 * run takes them as inputs and begins there, so that all stages together cost one run, not one each.
 */

import { namesUsedBy } from '../../formats/onnx/graph.ts';
import type { GraphProto, ModelProto } from '../../formats/onnx/messages.ts';
import { uniqueName } from '../../formats/onnx/model.ts';
import { neededNames } from '../../formats/onnx/taps/prune.ts';

export interface Progress {
  /** Weights (names in the main graph) whose values are final. */
  readonly settled: ReadonlySet<string>;
  /** Weights whose values are not. */
  readonly open: ReadonlySet<string>;
  /** Values that later runs are to collect. */
  readonly later: readonly string[];
}

/** Names of the values that are worth keeping: settled layers lead to them, no open one does, and what is collected later needs them. */
export function borderOf(graph: GraphProto, { settled, open, later }: Progress): string[] {
  const afterSettled = reachedFrom(graph, settled);
  const afterOpen = reachedFrom(graph, open);
  const needed = neededNames(graph, later);
  const border = new Set<string>();
  const consider = (name: string): void => {
    if (afterSettled.has(name) && !afterOpen.has(name) && !settled.has(name)) border.add(name);
  };
  for (const name of later) consider(name);
  for (const node of graph.node) {
    if (!node.output.some((name) => afterOpen.has(name) && needed.has(name))) continue;
    for (const name of namesUsedBy(node)) consider(name);
  }
  return [...border];
}

/** Whether each of these weights is a constant of the main graph: only then is it known what depends on it. */
export function areConstants(graph: GraphProto, weights: Iterable<string>): boolean {
  const names = new Set(graph.initializer.map(({ name = '' }) => name));
  for (const node of graph.node)
    if (node.opType === 'Constant') for (const name of node.output) names.add(name);
  return [...weights].every((name) => names.has(name));
}

/** `sources` and all values that depend on them; nodes must be in order. */
function reachedFrom(graph: GraphProto, sources: ReadonlySet<string>): Set<string> {
  const reached = new Set(sources);
  for (const node of graph.node) {
    for (const name of namesUsedBy(node)) {
      if (!reached.has(name)) continue;
      for (const output of node.output) reached.add(output);
      break;
    }
  }
  reached.delete('');
  return reached;
}

/** A value that a run takes as an input. */
export interface GivenValue {
  readonly name: string;
  /** ONNX's number of its type. */
  readonly elemType: number;
  readonly rank: number;
}

/** Makes values inputs of the model, in place of what its nodes give. */
export function cutAt(proto: ModelProto, values: readonly GivenValue[]): void {
  const { graph } = proto;
  if (graph === undefined || values.length === 0) return;
  const allocate = uniqueName(proto);
  const given = new Set(values.map(({ name }) => name));
  for (const node of graph.node)
    node.output = node.output.map((name) => (given.has(name) ? allocate('whittle_before') : name));
  graph.valueInfo = graph.valueInfo.filter(({ name = '' }) => !given.has(name));
  for (const { name, elemType, rank } of values) {
    const dim = Array.from({ length: rank }, () => ({ unknown: [] }));
    const tensorType = { elemType, shape: { dim, unknown: [] }, unknown: [] };
    graph.input.push({ name, type: { tensorType, unknown: [] }, metadataProps: [], unknown: [] });
  }
}
