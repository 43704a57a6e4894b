/**
 * Which values of two models are the same thing. Values of float type that the main graphs compute from their inputs are paired
 *   1. by name: rewriting keeps the names of what it does not replace; where a Relu or Clip is dropped, its producer has its name, and
 *      the value is what stands behind the quantized range that cuts in its place;
 *   2. by the name of the node that gives them, without a quantizer's suffix;
 *   3. by weight: what the n-th product with a weight gives, in whatever form each model stores it.
 * Nothing here looks at numbers: models whose values were scaled on purpose (SmoothQuant, rotation) pair as well, and differ.
 */

import type { DType } from '../core/dtype.ts';
import { namesUsedBy } from '../formats/onnx/graph.ts';
import type { GraphProto, ModelProto, NodeProto } from '../formats/onnx/messages.ts';
import { findWeights, type OnnxModel } from '../formats/onnx/model.ts';
import { findStoredWeights, preparedForRestore } from '../formats/onnx/restore/find.ts';
import { originalNodeName } from '../formats/onnx/restore/stored-weight.ts';
import { type GraphIndex, indexGraph, resolveUses } from '../formats/onnx/rewrite/uses.ts';
import { inferElementTypes } from '../formats/onnx/types.ts';
import { namedWeights } from './stored-values.ts';
import { pairWeights } from './weight-pairs.ts';

export interface TensorPair {
  /** Names of the value in each model. */
  readonly a: string;
  readonly b: string;
  /** Operator that gives it in a. */
  readonly opType: string;
  /** Weight of a that it is a product with. */
  readonly weight?: string | undefined;
  /** An output of a. */
  readonly isOutput: boolean;
}

/** In the order in which a computes them. */
export function pairTensors(modelA: OnnxModel, modelB: OnnxModel): TensorPair[] {
  const [a, b] = [valuesOf(modelA.proto), valuesOf(modelB.proto)];
  const partner = new Map<string, string>();
  const taken = new Set<string>();
  const pair = (nameA: string, nameB: string | undefined): void => {
    if (nameB === undefined || partner.has(nameA) || taken.has(nameB)) return;
    if (!a.producers.has(nameA) || !b.producers.has(nameB)) return;
    partner.set(nameA, nameB);
    taken.add(nameB);
  };
  for (const [name, node] of a.producers) {
    const other = b.producers.get(name);
    const dropped = cuts(node) && other !== undefined && !cuts(other);
    pair(name, (dropped ? heldBehind(b.readers, name) : undefined) ?? name);
  }
  const [nodesA, nodesB] = [nodesByName(a.producers.values()), nodesByName(b.producers.values())];
  for (const [name, node] of nodesA) {
    const other = nodesB.get(name);
    for (const [index, output] of node.output.entries()) pair(output, other?.output[index]);
  }
  const weights = new Map<string, string>();
  for (const { a: x, b: y } of pairWeights(namedWeights(modelA), namedWeights(modelB)).pairs) {
    const [own, others] = [a.products.get(x.key) ?? [], b.products.get(y.key) ?? []];
    for (const output of own) weights.set(output, x.key);
    if (own.length !== others.length) continue;
    for (const [index, output] of own.entries()) pair(output, others[index]);
  }
  const outputs = new Set(modelA.proto.graph?.output.map(({ name }) => name));
  return [...a.producers].flatMap(([name, { opType = '?' }]) => {
    const other = partner.get(name);
    if (other === undefined) return [];
    const weight = weights.get(name);
    return [{ a: name, b: other, opType, ...(weight && { weight }), isOutput: outputs.has(name) }];
  });
}

interface Values {
  /** Value of float type → the node that gives it, in the order of the graph. */
  readonly producers: ReadonlyMap<string, NodeProto>;
  /** Name → nodes of the main graph that read it. */
  readonly readers: ReadonlyMap<string, readonly NodeProto[]>;
  /** Key of a weight of the main graph → what the products with it give. */
  readonly products: ReadonlyMap<string, readonly string[]>;
}

function valuesOf(original: ModelProto): Values {
  // Constants as initializers and nodes in order; names stay.
  const proto = preparedForRestore(original);
  const { graph } = proto;
  if (graph === undefined) return { producers: new Map(), readers: new Map(), products: new Map() };
  const types = inferElementTypes(proto);
  const computed = new Set(graph.input.map(({ name = '' }) => name));
  for (const { name = '' } of graph.initializer) computed.delete(name);
  const producers = new Map<string, NodeProto>();
  for (const node of graph.node) {
    if (![...namesUsedBy(node)].some((name) => computed.has(name))) continue;
    for (const name of node.output) {
      if (name === '') continue;
      computed.add(name);
      if (isFloat(types.typeOf(graph, name)) && !NO_TENSORS.test(node.opType ?? ''))
        producers.set(name, node);
    }
  }
  const readers = new Map<string, NodeProto[]>();
  for (const node of graph.node) {
    for (const name of new Set(node.input)) readers.set(name, [...(readers.get(name) ?? []), node]);
  }
  return { producers, readers, products: productsOf(proto, graph) };
}

function cuts({ opType }: NodeProto): boolean {
  return opType === 'Relu' || opType === 'Clip';
}

/** What a value is after the range that all its readers see it through: a quantized one, or a Clip that stands for it. */
function heldBehind(readers: Values['readers'], name: string): string | undefined {
  const [only, ...others] = readers.get(name) ?? [];
  if (only === undefined || others.length > 0) return undefined;
  if (only.opType === 'Clip') return only.output[0];
  if (only.opType !== 'QuantizeLinear') return undefined;
  return readers.get(only.output[0] ?? '')?.find(({ opType }) => opType === 'DequantizeLinear')?.output[0];
}

/** Operators that give sequences or optional values. */
const NO_TENSORS = /^(Sequence|SplitToSequence|Optional)/;

/** Types that the engines hand out as numbers. */
function isFloat(type: DType | undefined): boolean {
  return type === 'f32' || type === 'f16' || type === 'f64';
}

/** Nodes by the name they had before they were replaced; of a name that several have, none. */
function nodesByName(nodes: Iterable<NodeProto>): Map<string, NodeProto> {
  const found = new Map<string, NodeProto | undefined>();
  for (const node of new Set(nodes)) {
    const name = originalNodeName(node);
    if (name !== '') found.set(name, found.has(name) ? undefined : node);
  }
  return new Map([...found].flatMap(([name, node]) => (node === undefined ? [] : [[name, node] as const])));
}

function productsOf(proto: ModelProto, graph: GraphProto): Map<string, string[]> {
  const products = new Map<string, string[]>();
  const add = (key: string, output: string | undefined): void => {
    if (output === undefined || output === '') return;
    const known = products.get(key) ?? [];
    if (!known.includes(output)) products.set(key, [...known, output]);
  };
  const index = indexGraph(proto);
  for (const weight of findWeights(proto)) {
    if (weight.graph !== graph) continue;
    for (const { node, graph: home, role } of resolveUses(weight, index)) {
      if (home === graph && role.kind !== 'other' && role.kind !== 'movement')
        add(weight.key, node.output[0]);
    }
  }
  for (const { weights, node, graph: home, replace } of findStoredWeights(proto).uses) {
    if (home !== graph) continue;
    for (const { name } of weights) {
      if (replace !== 'value') add(name, node.output[0]);
      else for (const output of readersOf(index, graph, node.output[0] ?? '')) add(name, output);
    }
  }
  return products;
}

const DRESSING: ReadonlySet<string> = new Set(['Transpose', 'Cast', 'Identity', 'Reshape']);
const MAX_DEPTH = 8;

/** What the operators give that read a value, through those that only re-dress it. */
function readersOf(index: GraphIndex, graph: GraphProto, name: string, depth = 0): string[] {
  return index.consumers(graph, name).flatMap(({ node, graph: home }) => {
    const [output = ''] = node.output;
    if (home !== graph || output === '') return [];
    if (!DRESSING.has(node.opType ?? '')) return [output];
    return depth < MAX_DEPTH ? readersOf(index, graph, output, depth + 1) : [];
  });
}
