/**
 * Folds what follows a convolution into its weight and bias, exactly but for one rounding (f64 inside): BatchNormalization with
 * constant statistics, Mul and Add with a constant for each output channel or for all. Quantizing these apart would round between them;
 * onnxruntime does the same when a model is loaded ('basic' optimizations), so the float model that runs is this one.
 *
 *   y = a·conv(x; W, b) + c  =  conv(x; a·W, a·b + c),   for BatchNormalization a = γ/√(σ² + ε), c = β − a·μ
 *
 * A convolution is folded only where nothing else reads its output, and its weight only where nothing else reads it.
 */

import type { GraphProto, NodeProto, TensorProto } from '../../messages.ts';
import { isDefaultDomain, rawTensor, readFloat, readInt } from '../build.ts';

export interface FoldFacts {
  readonly graph: GraphProto;
  /** f32 values of an initializer; undefined where it is none. */
  readonly read: (tensor: TensorProto) => Promise<Float32Array | undefined>;
  readonly uniqueName: (base: string) => string;
}

export interface Folded {
  /** Nodes that are gone. */
  readonly count: number;
  /** Values of the new initializers by name. */
  readonly values: ReadonlyMap<string, Float32Array>;
}

interface Affine {
  /** One for each channel. */
  readonly factors: Float64Array;
  readonly offsets: Float64Array;
}

/** Edits `graph` in place. Nodes must be in topological order, constants initializers. */
export async function foldIntoConvolutions(facts: FoldFacts): Promise<Folded> {
  const { graph, read, uniqueName } = facts;
  const tensors = new Map(graph.initializer.map((tensor) => [tensor.name ?? '', tensor]));
  const inputs = new Set(graph.input.map(({ name }) => name ?? ''));
  const outputs = new Set(graph.output.map(({ name }) => name ?? ''));
  const values = new Map<string, Float32Array>();
  const readers = readersOf(graph);
  const gone = new Set<NodeProto>();
  const constant = async (name: string): Promise<{ dims: number[]; data: Float32Array } | undefined> => {
    const tensor = tensors.get(name);
    if (tensor === undefined || inputs.has(name)) return undefined;
    const data = values.get(name) ?? (await read(tensor));
    return data && { dims: tensor.dims, data };
  };
  for (const conv of graph.node) {
    const transposed = conv.opType === 'ConvTranspose';
    if ((conv.opType !== 'Conv' && !transposed) || !isDefaultDomain(conv)) continue;
    for (;;) {
      const [output = ''] = conv.output;
      const found = readers.get(output) ?? [];
      const [next] = found;
      if (found.length !== 1 || next === undefined || outputs.has(output) || gone.has(next)) break;
      const [weightName = '', biasName = ''] = conv.input.slice(1);
      if ((readers.get(weightName) ?? []).length !== 1) break;
      const weight = await constant(weightName);
      const bias = biasName === '' ? undefined : await constant(biasName);
      if (weight === undefined || (biasName !== '' && bias === undefined)) break;
      const groups = readInt(conv, 'group', 1);
      const channels = transposed ? (weight.dims[1] ?? 0) * groups : (weight.dims[0] ?? 0);
      const affine = await affineOf(next, output, channels, weight.dims.length, constant);
      if (affine === undefined) break;
      const folded = applyAffine(weight, bias?.data, affine, transposed ? groups : undefined);
      const place = (base: string, dims: readonly number[], data: Float32Array): string => {
        const name = uniqueName(base);
        const tensor = rawTensor(name, 'f32', dims, new Uint8Array(data.buffer));
        graph.initializer.push(tensor);
        tensors.set(name, tensor);
        values.set(name, data);
        readers.set(name, [conv]);
        return name;
      };
      // The weight keeps its name: reports speak of it.
      const tensor = tensors.get(weightName);
      if (tensor === undefined) break;
      replaceValues(tensor, folded.weight);
      values.set(weightName, folded.weight);
      conv.input = [
        conv.input[0] ?? '',
        weightName,
        place(biasName === '' ? `${weightName}_bias` : `${biasName}_folded`, [channels], folded.bias),
      ];
      conv.output = [next.output[0] ?? ''];
      gone.add(next);
    }
  }
  if (gone.size > 0) graph.node = graph.node.filter((node) => !gone.has(node));
  return { count: gone.size, values };
}

export function replaceValues(tensor: TensorProto, data: Float32Array): void {
  tensor.rawData = { kind: 'inline', bytes: new Uint8Array(data.buffer) };
  tensor.floatData = undefined;
  tensor.externalData = [];
  tensor.dataLocation = undefined;
}

export function readersOf(graph: GraphProto): Map<string, NodeProto[]> {
  const readers = new Map<string, NodeProto[]>();
  const visit = (inner: GraphProto, owner: NodeProto | undefined): void => {
    for (const node of inner.node) {
      for (const name of node.input) readers.set(name, [...(readers.get(name) ?? []), owner ?? node]);
      for (const { g, graphs } of node.attribute)
        for (const each of [...(g === undefined ? [] : [g]), ...graphs]) visit(each, owner ?? node);
    }
    if (owner === undefined) return;
    for (const { name = '' } of inner.output) readers.set(name, [...(readers.get(name) ?? []), owner]);
  };
  visit(graph, undefined);
  return readers;
}

type Constant = (
  name: string,
) => Promise<{ readonly dims: readonly number[]; readonly data: Float32Array } | undefined>;

/** What `node` does to each channel of `input`; undefined where it does more, or with what is not constant. */
async function affineOf(
  node: NodeProto,
  input: string,
  channels: number,
  rank: number,
  constant: Constant,
): Promise<Affine | undefined> {
  if (!isDefaultDomain(node)) return undefined;
  if (node.opType === 'BatchNormalization') {
    if (node.input[0] !== input || readInt(node, 'training_mode', 0) !== 0) return undefined;
    if (node.output.slice(1).some((name) => name !== '')) return undefined;
    const parts = await Promise.all(node.input.slice(1, 5).map(constant));
    const [gamma, beta, mean, variance] = parts.map((part) => part?.data);
    if (!gamma || !beta || !mean || !variance) return undefined;
    if ([gamma, beta, mean, variance].some((part) => part.length !== channels)) return undefined;
    const epsilon = readFloat(node, 'epsilon', 1e-5);
    const factors = Float64Array.from(gamma, (value, c) => value / Math.sqrt(variance[c]! + epsilon));
    return { factors, offsets: Float64Array.from(beta, (value, c) => value - factors[c]! * mean[c]!) };
  }
  if (node.opType !== 'Mul' && node.opType !== 'Add') return undefined;
  const [a = '', b = ''] = node.input;
  if (a === b) return undefined;
  const other = await constant(a === input ? b : a);
  if (other === undefined) return undefined;
  const perChannel = spread(other, channels, rank);
  if (perChannel === undefined) return undefined;
  return node.opType === 'Mul'
    ? { factors: perChannel, offsets: new Float64Array(channels) }
    : { factors: new Float64Array(channels).fill(1), offsets: perChannel };
}

/** A value for each channel (axis 1 of `rank`), where the operand varies along no other axis. */
function spread(
  { dims, data }: { readonly dims: readonly number[]; readonly data: Float32Array },
  channels: number,
  rank: number,
): Float64Array | undefined {
  if (dims.length > rank) return undefined;
  const full = [...Array.from({ length: rank - dims.length }, () => 1), ...dims];
  if (data.length === 1) return new Float64Array(channels).fill(data[0]!);
  const own = full.every((dim, axis) => (axis === 1 ? dim === channels : dim === 1));
  return own && data.length === channels ? Float64Array.from(data) : undefined;
}

/** `groups` is given for a ConvTranspose, whose weight is [C_in, C_out / groups, …]. */
function applyAffine(
  { dims, data }: { readonly dims: readonly number[]; readonly data: Float32Array },
  bias: Float32Array | undefined,
  { factors, offsets }: Affine,
  groups: number | undefined,
): { weight: Float32Array; bias: Float32Array } {
  const weight = new Float32Array(data.length);
  if (groups === undefined) {
    const size = data.length / factors.length;
    for (let i = 0; i < data.length; i++) weight[i] = data[i]! * factors[Math.floor(i / size)]!;
  } else {
    const [rows = 1, width = 1] = dims;
    const size = data.length / (rows * width);
    for (let i = 0; i < data.length; i++) {
      const row = Math.floor(i / (size * width));
      const column = Math.floor(i / size) % width;
      weight[i] = data[i]! * factors[Math.floor(row / (rows / groups)) * width + column]!;
    }
  }
  const moved = Float32Array.from(offsets, (offset, c) => factors[c]! * (bias?.[c] ?? 0) + offset);
  return { weight, bias: moved };
}
