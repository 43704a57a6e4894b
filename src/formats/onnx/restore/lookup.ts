/**
 * Questions that the restoring patterns ask of a graph: is this input a constant, who makes it, who alone reads it.
 *
 * A name means what the innermost graph around its reader that defines it says, so every answer carries the graph it was found
 * in. Constants are seen through nodes that keep their bytes (Identity, and Reshape where only bytes matter): tools that
 * share one copy between operators leave such nodes between them. Constant nodes must be initializers already
 * (`normalizeConstants`).
 */

import type { DType } from '../../../core/dtype.ts';
import { elementCount, type Shape } from '../../../core/shape.ts';
import { dtypeOfNumber } from '../data-types.ts';
import type { GraphProto, ModelProto, NodeProto, TensorProto } from '../messages.ts';
import { isDefaultDomain } from '../rewrite/build.ts';
import { type Consumer, type GraphIndex, indexGraph } from '../rewrite/uses.ts';

export interface Constant {
  readonly name: string;
  readonly tensor: TensorProto;
  /** The graph that holds the initializer. */
  readonly graph: GraphProto;
  readonly dtype: DType;
  readonly shape: Shape;
  readonly count: number;
  /** Nodes between the initializer and the name that was asked for. */
  readonly through: readonly NodeProto[];
}

export interface Producer {
  readonly node: NodeProto;
  readonly graph: GraphProto;
}

export interface Lookup {
  readonly index: GraphIndex;
  /** The constant behind `name`, seen through Identity and the operators of `through` (their first input). */
  constant(graph: GraphProto, name: string | undefined, through?: ReadonlySet<string>): Constant | undefined;
  producer(graph: GraphProto, name: string | undefined): Producer | undefined;
  /** The one node that reads `name`, where it stands in the same graph and the value is no output. */
  soleConsumer(graph: GraphProto, name: string | undefined): Consumer | undefined;
}

const IDENTITY: ReadonlySet<string> = new Set(['Identity']);
/** Longest run of nodes that is followed. */
const MAX_DEPTH = 16;

export function createLookup(proto: ModelProto): Lookup {
  const index = indexGraph(proto);
  const initializers = new Map<GraphProto, Map<string, TensorProto>>();
  const producers = new Map<GraphProto, Map<string, NodeProto>>();
  for (const graph of index.graphs) {
    initializers.set(graph, new Map(graph.initializer.map((tensor) => [tensor.name ?? '', tensor])));
    const made = new Map<string, NodeProto>();
    for (const node of graph.node) for (const name of node.output) made.set(name, node);
    producers.set(graph, made);
  }
  const producer = (graph: GraphProto, name: string | undefined): Producer | undefined => {
    if (name === undefined || name === '') return undefined;
    const home = index.definingGraph(graph, name);
    const node = home && producers.get(home)?.get(name);
    return home !== undefined && node !== undefined ? { node, graph: home } : undefined;
  };
  return {
    index,
    producer,
    constant(graph, name, through = IDENTITY) {
      const passed: NodeProto[] = [];
      let scope = graph;
      let current = name;
      while (current !== undefined && current !== '' && passed.length < MAX_DEPTH) {
        const home = index.definingGraph(scope, current);
        const tensor = home && initializers.get(home)?.get(current);
        if (home !== undefined && tensor !== undefined) {
          const dtype = dtypeOfNumber(tensor.dataType);
          const count = elementCount(tensor.dims);
          if (dtype === undefined || count === undefined) return undefined;
          return {
            name: current,
            tensor,
            graph: home,
            dtype,
            shape: tensor.dims,
            count,
            through: passed.reverse(),
          };
        }
        const made = producer(scope, current);
        if (made === undefined || !isDefaultDomain(made.node)) return undefined;
        const op = made.node.opType ?? '';
        if (op !== 'Identity' && !through.has(op)) return undefined;
        passed.push(made.node);
        scope = made.graph;
        current = made.node.input[0];
      }
      return undefined;
    },
    soleConsumer(graph, name) {
      if (name === undefined || name === '' || index.isOutput(graph, name)) return undefined;
      const readers = index.consumers(graph, name);
      const [only] = readers;
      return readers.length === 1 && only?.graph === graph ? only : undefined;
    },
  };
}
