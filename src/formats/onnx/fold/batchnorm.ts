/**
 * Folds what follows a product into its weight and bias, exactly but for one rounding (f64 inside): BatchNormalization with constant
 * statistics, and Mul, Div, Add, Sub with a constant for each output channel or for all. Quantizing these apart would round between
 * them, and channels whose factors differ widely would share a grid they do not share behind the normalization; onnxruntime
 * does the same to convolutions when a model is loaded ('basic' optimizations), so the float model that runs is this one.
 *
 *   y = a·conv(x; W, b) + c  =  conv(x; a·W, a·b + c),   for BatchNormalization a = γ/√(σ² + ε), c = β − a·μ
 *
 * A product is folded only where nothing else reads its output, and its weight only where nothing else reads it. What stands
 * in front of a product: batchnorm-ahead.ts.
 */

import type { DType } from '../../../core/dtype.ts';
import type { GraphProto, NodeProto, TensorProto } from '../messages.ts';
import { isDefaultDomain, makeNode, readFloat, readInt } from '../rewrite/build.ts';
import type { NameAllocator } from '../weights-normalize.ts';

/** A graph whose constants are initializers, as folds edit it. Nodes must be in topological order. */
export interface FoldableGraph {
  readonly graph: GraphProto;
  /** Initializer that nothing can replace from outside. */
  readonly constant: (name: string) => TensorProto | undefined;
  /** Values of a float tensor as f32. */
  readonly read: (tensor: TensorProto) => Promise<Float32Array>;
  /** Other values for a tensor, in its own type and shape. */
  readonly write: (tensor: TensorProto, values: Float32Array) => Promise<void>;
  /** A new initializer under a free name near `name`; f32 unless another type is given. */
  readonly add: (
    name: string,
    dims: readonly number[],
    values: Float32Array,
    dtype?: DType,
  ) => Promise<TensorProto>;
  readonly uniqueName: NameAllocator;
  /** Rank of a value of the graph, where it is known. */
  readonly rankOf: (name: string) => number | undefined;
}

/** Products that folds edit. */
export type FoldedOperator = 'Conv' | 'ConvTranspose' | 'Gemm' | 'MatMul';

export interface FoldedProduct {
  /** Name of the weight. */
  readonly weight: string;
  /** Operators that went into it, in their order. */
  readonly operators: readonly string[];
  /** max |w| before and after. */
  readonly before: number;
  readonly after: number;
}

/** A value for each channel: x → factors·x + offsets. */
export interface ChannelAffine {
  readonly factors: Float64Array;
  readonly offsets: Float64Array;
}

const F32 = 1;

/** Edits the graph in place; nodes that went into a product are gone. */
export async function foldBehindProducts(
  model: FoldableGraph,
  operators: readonly FoldedOperator[],
): Promise<FoldedProduct[]> {
  const { graph } = model;
  const outputs = new Set(graph.output.map(({ name }) => name ?? ''));
  const readers = readersOf(graph);
  const gone = new Set<NodeProto>();
  const added = new Map<NodeProto, NodeProto>();
  const folded: FoldedProduct[] = [];
  for (const node of graph.node) {
    const product = await foldableProduct(node, model, operators, readers);
    if (product === undefined) continue;
    const chain: NodeProto[] = [];
    let affine = identity(product.channels);
    let output = node.output[0] ?? '';
    for (;;) {
      const found = readers.get(output) ?? [];
      const [next] = found;
      if (found.length !== 1 || next === undefined || outputs.has(output)) break;
      const step = await affineOf(next, output, product, model);
      if (step === undefined) break;
      affine = compose(affine, step);
      chain.push(next);
      output = next.output[0] ?? '';
    }
    // A MatMul has no bias: a sum behind it stays what it is.
    if (chain.length === 0 || (product.bias === undefined && chain.every(isSum))) continue;
    const offsets = affine.offsets.map((offset, c) => offset + affine.factors[c]! * (product.bias?.[c] ?? 0));
    const values = scaledChannels(product, affine.factors);
    if (!values.every(Number.isFinite) || !offsets.every((value) => Number.isFinite(Math.fround(value))))
      continue;
    await model.write(product.weight, values);
    await placeOffsets(model, node, product, Float32Array.from(offsets), output, added);
    for (const each of chain) gone.add(each);
    folded.push({
      weight: product.weight.name ?? '',
      operators: chain.map(({ opType }) => opType ?? ''),
      before: largest(product.values),
      after: largest(values),
    });
  }
  graph.node = graph.node.flatMap((node) => {
    if (gone.has(node)) return [];
    const behind = added.get(node);
    return behind === undefined ? [node] : [node, behind];
  });
  return folded;
}

interface Product {
  readonly opType: FoldedOperator;
  readonly weight: TensorProto;
  readonly values: Float32Array;
  readonly channels: number;
  /** Values of a channel are `inner` apart along the stored order: channel = ⌊i / inner⌋ mod channels, but for groups. */
  readonly inner: number;
  /** ConvTranspose: [C_in, C_out / groups, …]. */
  readonly groups: number;
  /** Zeros where the product may have a bias and has none; undefined where it cannot have one. */
  readonly bias: Float32Array | undefined;
  /** Rank of the output, where it is known. */
  readonly rank: number | undefined;
  /** Axis of the channels in the output, counted from the end for products of matrices. */
  readonly axis: 1 | -1;
}

async function foldableProduct(
  node: NodeProto,
  { constant, read, rankOf }: FoldableGraph,
  operators: readonly FoldedOperator[],
  readers: ReadonlyMap<string, readonly NodeProto[]>,
): Promise<Product | undefined> {
  const opType = operators.find((operator) => operator === node.opType);
  if (opType === undefined || !isDefaultDomain(node)) return undefined;
  const [, weightName = '', biasName = ''] = node.input;
  const weight = constant(weightName);
  if (weight === undefined || weight.dataType !== F32 || readers.get(weightName)?.length !== 1)
    return undefined;
  const { dims } = weight;
  const isMatrix = opType === 'Gemm' || opType === 'MatMul';
  if (isMatrix ? dims.length !== 2 : dims.length < 3) return undefined;
  if (opType === 'Gemm' && (readFloat(node, 'beta', 1) !== 1 || readInt(node, 'transA', 0) !== 0))
    return undefined;
  const groups = opType === 'ConvTranspose' ? readInt(node, 'group', 1) : 1;
  const at = opType === 'Conv' || (opType === 'Gemm' && readInt(node, 'transB', 0) === 1) ? 0 : 1;
  const channels = (dims[at] ?? 0) * groups;
  if (channels === 0 || dims.includes(0)) return undefined;
  let bias: Float32Array | undefined = new Float32Array(channels);
  if (opType === 'MatMul') bias = undefined;
  else if (biasName !== '') {
    const tensor = constant(biasName);
    if (tensor === undefined || tensor.dataType !== F32) return undefined;
    bias = spread(tensor.dims, await read(tensor), channels, -1);
    if (bias === undefined) return undefined;
  }
  return {
    opType,
    weight,
    values: await read(weight),
    channels,
    inner: dims.slice(at + 1).reduce((size, dim) => size * dim, 1),
    groups,
    bias,
    rank: opType === 'MatMul' ? rankOf(node.output[0] ?? '') : opType === 'Gemm' ? 2 : dims.length,
    axis: isMatrix ? -1 : 1,
  };
}

/** The sum of a product: its bias where it takes one, else one addition behind it. */
async function placeOffsets(
  { add, uniqueName }: FoldableGraph,
  node: NodeProto,
  { weight, opType, channels }: Product,
  offsets: Float32Array,
  output: string,
  added: Map<NodeProto, NodeProto>,
): Promise<void> {
  const base = weight.name ?? '';
  if (opType === 'MatMul') {
    if (offsets.every((value) => value === 0)) {
      node.output = [output];
      return;
    }
    const tensor = await add(`${base}_offset`, [channels], offsets);
    added.set(node, sumBehind(node, tensor, output, uniqueName));
    return;
  }
  node.output = [output];
  const biasName = node.input[2] ?? '';
  if (biasName === '' && offsets.every((value) => value === 0)) return;
  // The bias that was there stays for others that read it.
  const tensor = await add(biasName === '' ? `${base}_bias` : `${biasName}_folded`, [channels], offsets);
  node.input = [node.input[0] ?? '', base, tensor.name ?? ''];
}

/** An addition that gives `output`; the product before it gets a name of its own, since it is another value than any before. */
export function sumBehind(
  product: NodeProto,
  { name = '' }: TensorProto,
  output: string,
  uniqueName: NameAllocator,
): NodeProto {
  const own = uniqueName(`${output}_product`);
  product.output = [own];
  return makeNode('Add', [own, name], [output], { name: uniqueName(`${output}_sum`) });
}

/** What `node` does to each channel of `input`; undefined where it does more, or with what is not constant. */
async function affineOf(
  node: NodeProto,
  input: string,
  { channels, rank, axis }: Pick<Product, 'channels' | 'rank' | 'axis'>,
  model: FoldableGraph,
): Promise<ChannelAffine | undefined> {
  if (!isDefaultDomain(node)) return undefined;
  if (node.opType === 'BatchNormalization')
    return axis === 1 || rank === 2 ? normalizationOf(node, input, channels, model) : undefined;
  const { opType } = node;
  if (opType !== 'Mul' && opType !== 'Add' && opType !== 'Div' && opType !== 'Sub') return undefined;
  const [a = '', b = ''] = node.input;
  if (a === b) return undefined;
  const isLeft = a === input;
  if (!isLeft && opType === 'Div') return undefined;
  const tensor = model.constant(isLeft ? b : a);
  if (tensor === undefined || tensor.dataType !== F32) return undefined;
  // An operand of more dimensions than the product would widen it.
  if (tensor.dims.length > (rank ?? 1)) return undefined;
  const found = spread(tensor.dims, await model.read(tensor), channels, axis, rank);
  if (found === undefined) return undefined;
  const ones = (value: number): Float64Array => new Float64Array(channels).fill(value);
  switch (opType) {
    case 'Mul':
      return { factors: Float64Array.from(found), offsets: ones(0) };
    case 'Div':
      return { factors: Float64Array.from(found, (value) => 1 / value), offsets: ones(0) };
    case 'Add':
      return { factors: ones(1), offsets: Float64Array.from(found) };
    case 'Sub':
      return isLeft
        ? { factors: ones(1), offsets: Float64Array.from(found, (value) => -value) }
        : { factors: ones(-1), offsets: Float64Array.from(found) };
    default:
      return opType satisfies never;
  }
}

/** The affine map of a BatchNormalization in inference over `channels` channels. */
export async function normalizationOf(
  node: NodeProto,
  input: string,
  channels: number,
  { constant, read }: FoldableGraph,
): Promise<ChannelAffine | undefined> {
  if (node.opType !== 'BatchNormalization' || !isDefaultDomain(node)) return undefined;
  if (node.input[0] !== input || readInt(node, 'training_mode', 0) !== 0) return undefined;
  if (node.output.slice(1).some((name) => name !== '')) return undefined;
  const tensors = node.input.slice(1, 5).map(constant);
  const parts: Float32Array[] = [];
  for (const tensor of tensors) {
    if (tensor === undefined || tensor.dataType !== F32) return undefined;
    const values = await read(tensor);
    if (values.length !== channels) return undefined;
    parts.push(values);
  }
  const [gamma, beta, mean, variance] = parts;
  if (!gamma || !beta || !mean || !variance) return undefined;
  const epsilon = readFloat(node, 'epsilon', 1e-5);
  const factors = Float64Array.from(gamma, (value, c) => value / Math.sqrt(variance[c]! + epsilon));
  return { factors, offsets: Float64Array.from(beta, (value, c) => value - factors[c]! * mean[c]!) };
}

/** A value for each channel, where the operand varies along no other axis. `rank`: of the value it meets. */
function spread(
  dims: readonly number[],
  data: Float32Array,
  channels: number,
  axis: 1 | -1,
  rank = dims.length,
): Float32Array | undefined {
  if (data.length === 1) return new Float32Array(channels).fill(data[0]!);
  const from = rank - dims.length;
  const place = axis === 1 ? 1 : rank - 1;
  const own = dims.every((dim, i) => (i + from === place ? dim === channels : dim === 1));
  return own && data.length === channels ? data : undefined;
}

function scaledChannels(
  { values, channels, inner, groups, weight }: Product,
  factors: Float64Array,
): Float32Array {
  const width = channels / groups;
  const rows = groups === 1 ? 1 : (weight.dims[0] ?? 1) / groups;
  return values.map((value, i) => {
    const column = Math.floor(i / inner) % width;
    const group = groups === 1 ? 0 : Math.floor(i / (inner * width * rows));
    return value * factors[group * width + column]!;
  });
}

function identity(channels: number): ChannelAffine {
  return { factors: new Float64Array(channels).fill(1), offsets: new Float64Array(channels) };
}

/** First `a`, then `b`. */
function compose(a: ChannelAffine, b: ChannelAffine): ChannelAffine {
  return {
    factors: a.factors.map((factor, c) => factor * b.factors[c]!),
    offsets: a.offsets.map((offset, c) => offset * b.factors[c]! + b.offsets[c]!),
  };
}

function isSum({ opType }: NodeProto): boolean {
  return opType === 'Add' || opType === 'Sub';
}

/** max |w|. */
export function largest(values: Float32Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

/** Readers of each value of the main graph; a node whose subgraphs read it counts as one. */
export function readersOf(graph: GraphProto): Map<string, NodeProto[]> {
  const readers = new Map<string, NodeProto[]>();
  const read = (name: string, node: NodeProto): void => {
    const found = readers.get(name);
    if (found === undefined) readers.set(name, [node]);
    else found.push(node);
  };
  const visit = (inner: GraphProto, owner: NodeProto | undefined): void => {
    for (const node of inner.node) {
      for (const name of node.input) read(name, owner ?? node);
      for (const { g, graphs } of node.attribute)
        for (const each of [...(g === undefined ? [] : [g]), ...graphs]) visit(each, owner ?? node);
    }
    if (owner === undefined) return;
    for (const { name = '' } of inner.output) read(name, owner);
  };
  visit(graph, undefined);
  return readers;
}
