/**
 * Finds the places where a factor for each channel can move from the weights that make a value into the weights that read it, with
 * everything the model computes unchanged: the scale of a norm and the matrices behind it, two convolutions with a Relu between
 * them, all layers that write into and read from one residual stream.
 *
 * From what gives a value its channels (a norm, a product) the division is followed through every operator that passes it, both ways,
 * until each branch ends in a constant that takes it up. Where one does not (an operator that is not scale-free, an output of the
 * model, a weight that others read too), there is no place.
 */

import type { NodeProto, TensorProto } from '../messages.ts';
import type { FoldFacts } from './facts.ts';
import { type ChannelLayout, sameLayout } from './layout.ts';
import { type ChannelEnd, type Port, type Relation, relations, starts } from './relations.ts';

export type { ChannelEnd } from './relations.ts';

export interface FoldSite {
  /** The value that the search started from. */
  readonly value: string;
  readonly channels: number;
  /** Divided. */
  readonly gives: readonly ChannelEnd[];
  /** Multiplied. */
  readonly takes: readonly ChannelEnd[];
  /** Values of the graph that are divided, with where their channels lie. */
  readonly values: ReadonlyMap<string, ChannelLayout>;
}

/** Constants up to this many elements that others read too get a copy of their own. */
const COPIED_ELEMENTS = 1 << 16;
/** Steps of one search; a residual stream of a hundred blocks has a thousand. */
const MOST_STEPS = 20_000;

/** All places, in the order of the graph; no two share a constant's axis. */
export function findSites(facts: FoldFacts): FoldSite[] {
  const sites: FoldSite[] = [];
  const taken = new Set<string>();
  for (const node of facts.graph.node) {
    for (const [value, layout] of starts(facts, node)) {
      if (taken.has(value)) continue;
      const site = siteFrom(facts, node, value, layout);
      if (site === undefined) continue;
      if ([...site.values.keys()].some((name) => taken.has(name))) continue;
      for (const name of site.values.keys()) taken.add(name);
      sites.push(site);
    }
  }
  return sites;
}

interface State {
  readonly values: Map<string, ChannelLayout>;
  readonly fixed: Set<string>;
  readonly ends: Map<string, ChannelEnd>;
  /** Values whose producer and readers are not looked at yet. */
  readonly open: string[];
  /** Ports of nodes that are settled: "node value". */
  readonly settled: Map<NodeProto, Set<string>>;
}

function siteFrom(
  facts: FoldFacts,
  node: NodeProto,
  value: string,
  layout: ChannelLayout,
): FoldSite | undefined {
  const budget = { left: MOST_STEPS };
  const start: State = {
    values: new Map([[value, layout]]),
    fixed: new Set(),
    ends: new Map(),
    open: [value],
    settled: new Map(),
  };
  const state = settle(facts, start, budget);
  if (state === undefined) return undefined;
  const ends = [...state.ends.values()];
  const gives = ends.filter(({ side }) => side === 'gives');
  const takes = ends.filter(({ side }) => side === 'takes');
  if (gives.length === 0 || takes.length === 0) return undefined;
  if (!ends.every((end) => canChange(facts, end, ends))) return undefined;
  if (!gives.some((end) => end.node === node)) return undefined;
  const [table] = layout.values();
  return { value, channels: table?.length ?? 0, gives, takes, values: state.values };
}

/** Follows what is open to its ends; undefined where some branch has none. */
function settle(facts: FoldFacts, state: State, budget: { left: number }): State | undefined {
  for (let name = state.open.pop(); name !== undefined; name = state.open.pop()) {
    const layout = state.values.get(name);
    const ports = portsOf(facts, name);
    if (layout === undefined || ports === undefined) return undefined;
    for (const [node, port] of ports) {
      if (--budget.left < 0) return undefined;
      const done = state.settled.get(node) ?? new Set<string>();
      const key = `${port.side} ${port.index}`;
      if (done.has(key)) continue;
      const ways = relations(facts, node, port, layout);
      if (ways.length > 1 && !isDecided(ways, state)) {
        // One after the other, from the same state; what is left of this value is looked at again.
        for (const way of ways) {
          const branch = copyState(state);
          branch.open.push(name);
          if (!apply(branch, node, port, way)) continue;
          const settled = settle(facts, branch, budget);
          if (settled !== undefined) return settled;
        }
        return undefined;
      }
      const way = ways.find((candidate) => agrees(candidate, state));
      if (way === undefined || !apply(state, node, port, way)) return undefined;
    }
  }
  return state;
}

/** The node that gives a value and those that read it; undefined where it leaves the main graph. */
function portsOf(facts: FoldFacts, name: string): [NodeProto, Port][] | undefined {
  const producer = facts.producer(name);
  if (producer === undefined || facts.index.isOutput(facts.graph, name)) return undefined;
  const ports: [NodeProto, Port][] = [[producer, { side: 'output', index: producer.output.indexOf(name) }]];
  for (const { node, graph, input } of facts.index.consumers(facts.graph, name)) {
    if (graph !== facts.graph) return undefined;
    ports.push([node, { side: 'input', index: input }]);
  }
  return ports;
}

/** Some way follows from what is known already. */
function isDecided(ways: readonly Relation[], state: State): boolean {
  return ways.filter((way) => agrees(way, state)).length <= 1;
}

function agrees({ values, fixed }: Relation, state: State): boolean {
  return (
    fixed.every((name) => !state.values.has(name)) &&
    values.every(([name, layout]) => {
      const known = state.values.get(name);
      return known === undefined ? !state.fixed.has(name) : sameLayout(known, layout);
    })
  );
}

function apply(state: State, node: NodeProto, port: Port, way: Relation): boolean {
  if (!agrees(way, state)) return false;
  const done = state.settled.get(node) ?? new Set<string>();
  state.settled.set(node, done.add(`${port.side} ${port.index}`));
  // What the operator was found to bear holds for all values that it speaks of.
  for (const [name] of way.values) {
    for (const [index, input] of node.input.entries()) if (input === name) done.add(`input ${index}`);
    for (const [index, output] of node.output.entries()) if (output === name) done.add(`output ${index}`);
  }
  for (const name of way.fixed) state.fixed.add(name);
  for (const [name, layout] of way.values) {
    if (state.values.has(name)) continue;
    state.values.set(name, layout);
    state.open.push(name);
  }
  for (const end of way.ends)
    state.ends.set(`${end.tensor.name} ${end.side} ${end.input} ${node.output[0]}`, end);
  return true;
}

function copyState({ values, fixed, ends, open, settled }: State): State {
  return {
    values: new Map(values),
    fixed: new Set(fixed),
    ends: new Map(ends),
    open: [...open],
    settled: new Map([...settled].map(([node, done]) => [node, new Set(done)])),
  };
}

/** Nobody else reads the constant, or a copy of it is cheap. */
function canChange(facts: FoldFacts, { tensor }: ChannelEnd, ends: readonly ChannelEnd[]): boolean {
  const own = new Set(ends.filter((end) => end.tensor === tensor).map(({ node }) => node));
  if (own.size === 1 && facts.readers(tensor.name ?? '') === 1) return true;
  return elements(tensor) <= COPIED_ELEMENTS;
}

function elements({ dims }: TensorProto): number {
  return dims.reduce((product, size) => product * size, 1);
}
