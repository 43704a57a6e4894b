/**
 * Reduces a model to what some of its values need: nodes, initializers, inputs and functions that lead to them stay, all
 * else goes. A calibration run of the first layers so costs the first layers only.
 */

import { WhittleError } from '../../../errors.ts';
import { namesUsedBy, topologicalOrder } from '../graph.ts';
import type { GraphProto, ModelProto, NodeProto, ValueInfoProto } from '../messages.ts';

/**
 * Makes `outputs`, values of the main graph, the only outputs; changes `proto` in place.
 * @throws WhittleError E_GRAPH where a value is not there
 */
export function pruneToOutputs(proto: ModelProto, outputs: readonly string[]): void {
  const { graph } = proto;
  if (graph === undefined) throw new WhittleError('E_NOT_A_MODEL', 'the file holds no graph');
  const needed = neededNames(graph, outputs);
  const declared = new Map<string | undefined, ValueInfoProto>();
  for (const info of [...graph.valueInfo, ...graph.output]) declared.set(info.name, info);
  graph.node = sortedNodes(graph).filter((node) => node.output.some((name) => needed.has(name)));
  graph.initializer = graph.initializer.filter(({ name = '' }) => needed.has(name));
  graph.input = graph.input.filter(({ name = '' }) => needed.has(name));
  graph.valueInfo = graph.valueInfo.filter(({ name = '' }) => needed.has(name));
  const given = new Set([...graph.input, ...graph.initializer].map(({ name }) => name));
  for (const name of outputs) {
    if (given.has(name) || graph.node.some((node) => node.output.includes(name))) continue;
    throw new WhittleError('E_GRAPH', 'a value that calibration wants is not in the graph', { tensor: name });
  }
  const known = new Set(outputs);
  graph.output = outputs.map((name) => declared.get(name) ?? valueNamed(name));
  graph.valueInfo = graph.valueInfo.filter(({ name = '' }) => !known.has(name));
}

/** The values of the main graph that `outputs` are computed from, themselves included. */
export function neededNames(graph: GraphProto, outputs: readonly string[]): Set<string> {
  const producers = new Map<string, NodeProto>();
  for (const node of graph.node) for (const name of node.output) if (name !== '') producers.set(name, node);
  const needed = new Set(outputs);
  for (const name of needed) {
    const node = producers.get(name);
    // A set that grows while it is walked visits what was added.
    if (node !== undefined) for (const used of namesUsedBy(node)) needed.add(used);
  }
  return needed;
}

/** Type and shape are left to the runtime, which infers them. */
function valueNamed(name: string): ValueInfoProto {
  return { name, metadataProps: [], unknown: [] };
}

function sortedNodes(graph: GraphProto): NodeProto[] {
  const sorted = topologicalOrder(graph);
  if (sorted !== undefined) return sorted;
  throw new WhittleError('E_GRAPH', 'the nodes form a cycle', {
    hint: 'The model is damaged. Export it again.',
  });
}
