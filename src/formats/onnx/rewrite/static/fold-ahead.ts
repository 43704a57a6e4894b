/**
 * Folds constant scalar factors and offsets in front of a convolution into its weight and bias: y = k·h + b, then
 *
 *   conv(y; W, c) = conv(h; k·W, c + b·ΣW)            where the convolution does not pad with zeros, or b = 0
 *   conv(y; W, c) = conv(h + b/k; k·W, c)             else: the zeros of y' = y/k are those of y
 *
 * Exact but for one rounding. A hard swish as exporters write it (x·clip(x + 3, 0, 6) / 6) loses its division this way, learned scalar
 * scales theirs; each would be a pass over the activations with a rounding of its own. Every value must have one reader.
 */

import { type FoldableGraph, readersOf } from '../../fold/batchnorm.ts';
import { padsWithZeros } from '../../fold/padding.ts';
import type { NodeProto, TensorProto } from '../../messages.ts';
import { floatScalar, isDefaultDomain, makeNode } from '../build.ts';

/** A value that the original graph does not hold is a multiple of one that it holds. */
export interface DerivedValue {
  readonly of: string;
  readonly factor: number;
}

export interface FoldedAhead {
  /** Nodes that are gone. */
  readonly count: number;
  readonly derived: ReadonlyMap<string, DerivedValue>;
}

/** Edits `graph` in place. Nodes must be in topological order, constants initializers. */
export async function foldAheadOfConvolutions(facts: FoldableGraph): Promise<FoldedAhead> {
  const { graph, read, write, add, uniqueName } = facts;
  const producers = new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)));
  const outputs = new Set(graph.output.map(({ name }) => name ?? ''));
  const readers = readersOf(graph);
  const derived = new Map<string, DerivedValue>();
  const gone = new Set<NodeProto>();
  const added = new Map<NodeProto, NodeProto>();
  const single = (name: string): boolean => (readers.get(name) ?? []).length === 1 && !outputs.has(name);
  const constant = async (name: string): Promise<{ tensor: TensorProto; data: Float32Array } | undefined> => {
    const tensor = facts.constant(name);
    return tensor?.dataType === 1 ? { tensor, data: await read(tensor) } : undefined;
  };
  const scalar = async (name: string): Promise<number | undefined> => {
    const data = (await constant(name))?.data;
    return data?.length === 1 ? data[0] : undefined;
  };

  for (const conv of graph.node) {
    if (conv.opType !== 'Conv' || !isDefaultDomain(conv)) continue;
    const [input = '', weightName = '', biasName = ''] = conv.input;
    const chain: NodeProto[] = [];
    let head = input;
    let k = 1;
    let b = 0;
    for (;;) {
      const node = single(head) ? producers.get(head) : undefined;
      const step = node && (await scalarStep(node, scalar));
      if (node === undefined || step === undefined) break;
      b += k * step.offset;
      k *= step.factor;
      head = step.input;
      chain.push(node);
    }
    const keepsAdd = b !== 0 && padsWithZeros(conv);
    if (chain.length <= (keepsAdd ? 1 : 0) || !Number.isFinite(k) || k === 0 || !Number.isFinite(b)) continue;
    const weight = single(weightName) ? await constant(weightName) : undefined;
    const bias = biasName === '' ? undefined : await constant(biasName);
    if (weight === undefined || (biasName !== '' && bias === undefined)) continue;
    const channels = weight.tensor.dims[0] ?? 1;
    if (!keepsAdd && b !== 0) {
      const size = weight.data.length / channels;
      const moved = new Float32Array(channels);
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let i = c * size; i < (c + 1) * size; i++) sum += weight.data[i]!;
        moved[c] = (bias?.data[c] ?? 0) + b * sum;
      }
      const base = biasName === '' ? `${weightName}_bias` : `${biasName}_folded`;
      const tensor = await add(base, [channels], moved);
      conv.input = [input, weightName, tensor.name ?? ''];
    }
    await write(
      weight.tensor,
      weight.data.map((value) => value * k),
    );
    for (const node of chain) gone.add(node);
    if (keepsAdd) {
      const offset = floatScalar(uniqueName(`${input}_offset`), b / k);
      graph.initializer.push(offset);
      const output = uniqueName(`${input}_unscaled`);
      derived.set(output, { of: input, factor: 1 / k });
      const add = makeNode('Add', [head, offset.name ?? ''], [output], { name: uniqueName(`${input}_add`) });
      added.set(conv, add);
      conv.input = conv.input.with(0, output);
    } else conv.input = conv.input.with(0, head);
  }
  graph.node = graph.node.flatMap((node) => {
    if (gone.has(node)) return [];
    const before = added.get(node);
    return before === undefined ? [node] : [before, node];
  });
  return { count: gone.size - added.size, derived };
}

/**
 * Divisions by a constant scalar become factors, and factors in a row one: onnxruntime has an integer Mul and no integer Div.
 * `inside` says which nodes it is about.
 */
export async function mergeScalarFactors(
  { graph, read, constant, uniqueName }: FoldableGraph,
  inside: (node: NodeProto) => boolean,
): Promise<number> {
  const outputs = new Set(graph.output.map(({ name }) => name ?? ''));
  const readers = readersOf(graph);
  const scalar = async (name: string): Promise<number | undefined> => {
    const tensor = constant(name);
    if (tensor?.dataType !== 1 || tensor.dims.some((dim) => dim !== 1)) return undefined;
    return (await read(tensor))[0];
  };
  const factors = new Map<string, { node: NodeProto; input: string; factor: number }>();
  const gone = new Set<NodeProto>();
  for (const node of graph.node) {
    const step = inside(node) ? await scalarStep(node, scalar) : undefined;
    if (step === undefined || node.opType === 'Add') continue;
    const before = factors.get(step.input);
    const merges = before !== undefined && readers.get(step.input)?.length === 1 && !outputs.has(step.input);
    if (merges) gone.add(before.node);
    const input = merges ? before.input : step.input;
    const factor = merges ? before.factor * step.factor : step.factor;
    const [output = ''] = node.output;
    if (merges || node.opType === 'Div') {
      const tensor = floatScalar(uniqueName(`${output}_factor`), factor);
      graph.initializer.push(tensor);
      node.opType = 'Mul';
      node.input = [input, tensor.name ?? ''];
    }
    factors.set(output, { node, input, factor });
  }
  graph.node = graph.node.filter((node) => !gone.has(node));
  return gone.size;
}

async function scalarStep(
  node: NodeProto,
  scalar: (name: string) => Promise<number | undefined>,
): Promise<{ input: string; factor: number; offset: number } | undefined> {
  if (!isDefaultDomain(node) || node.attribute.length > 0) return undefined;
  const [a = '', b = ''] = node.input;
  const right = await scalar(b);
  if (node.opType === 'Div') {
    return right === undefined || right === 0 ? undefined : { input: a, factor: 1 / right, offset: 0 };
  }
  if (node.opType !== 'Mul' && node.opType !== 'Add') return undefined;
  const value = right ?? (await scalar(a));
  if (value === undefined) return undefined;
  const input = right === undefined ? b : a;
  return node.opType === 'Mul' ? { input, factor: value, offset: 0 } : { input, factor: 1, offset: value };
}
