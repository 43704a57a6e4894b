/**
 * Finds the weights of a model: float constants in every place where ONNX lets them stand, and who reads them.
 *
 * Weights are initializers of any graph (also those of If, Loop and Scan bodies) and `Constant` nodes in all numeric
 * attribute forms; sparse constants are left alone. A name means what the innermost graph around its reader that
 * defines it says: an outer initializer may be read inside a subgraph, and a subgraph may reuse a name for its own
 * value. Functions are kept as they are; their nodes are not searched.
 */

import { type DType, isWeightDType } from '../../core/dtype.ts';
import type { Shape } from '../../core/shape.ts';
import { dtypeOfNumber, numberOfDtype } from './data-types.ts';
import { definedNames, findAttribute, subgraphPath, subgraphsOf } from './graph.ts';
import type { GraphProto, ModelProto, NodeProto, TensorProto } from './messages.ts';
import { isDefaultDomain } from './model-versions.ts';

export interface Weight {
  /** Unique in the model: the name, prefixed by the path of its subgraph ("If_0.then_branch/w"). */
  readonly key: string;
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  /** The tensor in the model; for `value_float(s)` of a Constant, an equal one made for it. */
  readonly tensor: TensorProto;
  /** The graph that defines the weight. */
  readonly graph: GraphProto;
  readonly origin: { readonly kind: 'initializer' } | { readonly kind: 'constant'; readonly node: NodeProto };
  /** Readers in graph order, the own graph's and those in subgraphs. */
  readonly uses: WeightUse[];
  /** Also an input of its graph: a default that the caller may replace. */
  readonly isGraphInput: boolean;
  /** Also an output of its graph or of one inside. */
  isGraphOutput: boolean;
}

export interface WeightUse {
  readonly node: NodeProto;
  /** The graph that the node stands in. */
  readonly graph: GraphProto;
  /** Index in `node.input`. */
  readonly input: number;
  /** Path of that graph: '' for the main graph. */
  readonly path: string;
}

/** All float (f32, f16, bf16, f64) constants of any size, in the order of the file, main graph first. */
export function findWeights(proto: ModelProto): Weight[] {
  const weights: Weight[] = [];
  const keys = new Set<string>();
  if (proto.graph !== undefined) collect(proto.graph, '', [], weights, keys);
  return weights;
}

/** What a name means in one graph: a weight, or another value (which hides an outer weight of that name). */
type Scope = ReadonlyMap<string, Weight | undefined>;

function collect(
  graph: GraphProto,
  path: string,
  outer: readonly Scope[],
  weights: Weight[],
  keys: Set<string>,
): void {
  const scope = new Map<string, Weight | undefined>();
  for (const name of definedNames(graph)) scope.set(name, undefined);
  const inputs = new Set(graph.input.map((input) => input.name));
  const add = (name: string, tensor: TensorProto, origin: Weight['origin']): void => {
    const dtype = dtypeOfNumber(tensor.dataType);
    if (name === '' || dtype === undefined || !isWeightDType(dtype)) return;
    const weight: Weight = {
      key: uniqueKey(keys, path === '' ? name : `${path}/${name}`),
      name,
      dtype,
      shape: tensor.dims,
      tensor,
      graph,
      origin,
      uses: [],
      isGraphInput: inputs.has(name),
      isGraphOutput: false,
    };
    scope.set(name, weight);
    weights.push(weight);
  };
  for (const tensor of graph.initializer) add(tensor.name ?? '', tensor, { kind: 'initializer' });
  for (const node of graph.node) {
    const tensor = constantTensor(node);
    if (tensor !== undefined) add(node.output[0] ?? '', tensor, { kind: 'constant', node });
  }
  const scopes = [scope, ...outer];
  graph.node.forEach((node, index) => {
    node.input.forEach((name, input) => {
      lookUp(scopes, name)?.uses.push({ node, graph, input, path });
    });
    for (const { graph: inner, label } of subgraphsOf(node)) {
      collect(inner, subgraphPath(path, node, index, label), scopes, weights, keys);
    }
  });
  for (const output of graph.output) {
    const weight = lookUp(scopes, output.name ?? '');
    if (weight !== undefined) weight.isGraphOutput = true;
  }
}

function lookUp(scopes: readonly Scope[], name: string): Weight | undefined {
  for (const scope of scopes) if (scope.has(name)) return scope.get(name);
  return undefined;
}

function uniqueKey(keys: Set<string>, wanted: string): string {
  let key = wanted;
  for (let copy = 2; keys.has(key); copy++) key = `${wanted}#${copy}`;
  keys.add(key);
  return key;
}

/** A Constant operator of the default domain. */
export function isConstantNode(node: NodeProto): boolean {
  return node.opType === 'Constant' && isDefaultDomain(node.domain) && node.output.length === 1;
}

/**
 * The numbers of a Constant node as a tensor: `value`, `value_float`, `value_floats`, `value_int`, `value_ints`.
 * `undefined` for other nodes, texts and sparse values. Scalars have the empty shape (operator Constant, version 12).
 */
export function constantTensor(node: NodeProto): TensorProto | undefined {
  if (!isConstantNode(node)) return undefined;
  const value = findAttribute(node, 'value')?.t;
  if (value !== undefined) return value;
  const float = findAttribute(node, 'value_float')?.f;
  if (float !== undefined) return madeTensor('f32', [], new Float32Array([float]));
  const floats = findAttribute(node, 'value_floats')?.floats;
  if (floats !== undefined) return madeTensor('f32', [floats.length], new Float32Array(floats));
  const int = findAttribute(node, 'value_int')?.i;
  if (int !== undefined) return madeTensor('int64', [], new BigInt64Array([int]));
  const ints = findAttribute(node, 'value_ints')?.ints;
  if (ints !== undefined) return madeTensor('int64', [ints.length], new BigInt64Array(ints));
  return undefined;
}

/** Typed arrays are little-endian on every machine that runs Node or a browser. */
function madeTensor(dtype: DType, dims: number[], values: Float32Array | BigInt64Array): TensorProto {
  return {
    dims,
    dataType: numberOfDtype(dtype),
    rawData: { kind: 'inline', bytes: new Uint8Array(values.buffer) },
    stringData: [],
    externalData: [],
    metadataProps: [],
    unknown: [],
  };
}
