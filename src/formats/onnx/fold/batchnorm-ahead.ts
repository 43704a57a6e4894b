/**
 * Folds a BatchNormalization into the products that read it (pre-activation networks, inputs that are normalized in the graph):
 *
 *   W (a ⊙ x + c) + b  =  (W diag(a)) x + (W c + b)
 *
 * Exact but for one rounding, where every reader is a product of a constant weight that nothing else reads, and a convolution does not
 * pad: the zeros that it pads with are added behind the normalization, so with an offset c ≠ 0 they would have to be −c/a in
 * front of it. All readers can, or nothing is changed.
 */

import type { NodeProto, TensorProto } from '../messages.ts';
import { isDefaultDomain, readFloat, readInt } from '../rewrite/build.ts';
import {
  type ChannelAffine,
  type FoldableGraph,
  type FoldedProduct,
  largest,
  normalizationOf,
  readersOf,
  sumBehind,
} from './batchnorm.ts';
import { padsWithZeros } from './padding.ts';

/** Edits the graph in place; normalizations that went into products are gone. */
export async function foldAheadOfProducts(model: FoldableGraph): Promise<FoldedProduct[]> {
  const { graph, constant, add, write } = model;
  const outputs = new Set(graph.output.map(({ name }) => name ?? ''));
  const readers = readersOf(graph);
  const folded: FoldedProduct[] = [];
  const gone = new Set<NodeProto>();
  const added = new Map<NodeProto, NodeProto>();
  for (const node of graph.node) {
    if (node.opType !== 'BatchNormalization') continue;
    const [input = '', scale = ''] = node.input;
    const [output = ''] = node.output;
    const channels = constant(scale)?.dims[0] ?? 0;
    const affine = await normalizationOf(node, input, channels, model);
    const products = readers.get(output) ?? [];
    if (affine === undefined || products.length === 0 || outputs.has(output)) continue;
    const plans: Plan[] = [];
    for (const product of products) {
      const plan = await planFor(product, output, affine, model, readers);
      if (plan === undefined) break;
      plans.push(plan);
    }
    if (plans.length !== products.length) continue;
    for (const { product, weight, values, before, offsets } of plans) {
      await write(weight, values);
      product.input = product.input.with(0, input);
      folded.push({
        weight: weight.name ?? '',
        operators: ['BatchNormalization'],
        before,
        after: largest(values),
      });
      if (offsets.every((value) => value === 0)) continue;
      const tensor = await add(`${weight.name ?? ''}_offset`, [offsets.length], offsets);
      if (product.opType !== 'MatMul') {
        product.input = [input, product.input[1] ?? '', tensor.name ?? ''];
        continue;
      }
      added.set(product, sumBehind(product, tensor, product.output[0] ?? '', model.uniqueName));
    }
    // Further normalizations may read what this one read.
    readers.set(input, [...(readers.get(input) ?? []).filter((each) => each !== node), ...products]);
    gone.add(node);
  }
  graph.node = graph.node.flatMap((node) => {
    if (gone.has(node)) return [];
    const behind = added.get(node);
    return behind === undefined ? [node] : [node, behind];
  });
  return folded;
}

interface Plan {
  readonly product: NodeProto;
  readonly weight: TensorProto;
  readonly values: Float32Array;
  readonly before: number;
  /** Bias of the product, what it had included. */
  readonly offsets: Float32Array;
}

async function planFor(
  product: NodeProto,
  input: string,
  affine: ChannelAffine,
  { constant, read, rankOf }: FoldableGraph,
  readers: ReadonlyMap<string, readonly NodeProto[]>,
): Promise<Plan | undefined> {
  const { opType } = product;
  const [first, weightName = '', biasName = ''] = product.input;
  if (!isDefaultDomain(product) || first !== input || readers.get(weightName)?.length !== 1) return undefined;
  const weight = constant(weightName);
  if (weight === undefined || weight.dataType !== 1) return undefined;
  const channels = affine.factors.length;
  const { dims } = weight;
  const [rows = 0, columns = 0] = dims;
  let layout: Layout | undefined;
  if (opType === 'Conv' && dims.length >= 3) {
    const groups = readInt(product, 'group', 1);
    if (columns * groups !== channels) return undefined;
    if (padsWithZeros(product) && affine.offsets.some((offset) => offset !== 0)) return undefined;
    const size = dims.slice(2).reduce((a, b) => a * b, 1);
    const outputs = rows / groups;
    layout = {
      outputs: rows,
      outputOf: (i) => Math.floor(i / (columns * size)),
      inputOf: (i) => Math.floor(i / (columns * size * outputs)) * columns + (Math.floor(i / size) % columns),
    };
  } else if (dims.length === 2 && (opType === 'Gemm' || opType === 'MatMul')) {
    const isGemm = opType === 'Gemm';
    // The channels of a normalization are axis 1, those of a product the last one.
    if (!isGemm && rankOf(input) !== 2) return undefined;
    if (isGemm && (readInt(product, 'transA', 0) !== 0 || readFloat(product, 'beta', 1) !== 1))
      return undefined;
    const turned = isGemm && readInt(product, 'transB', 0) === 1;
    if ((turned ? columns : rows) !== channels) return undefined;
    const row = (i: number): number => Math.floor(i / columns);
    const column = (i: number): number => i % columns;
    layout = {
      outputs: turned ? rows : columns,
      outputOf: turned ? row : column,
      inputOf: turned ? column : row,
    };
  }
  if (layout === undefined) return undefined;
  const offsets = new Float64Array(layout.outputs);
  if (biasName !== '') {
    const bias = constant(biasName);
    if (bias === undefined || bias.dataType !== 1 || bias.dims.length !== 1) return undefined;
    const own = await read(bias);
    if (own.length !== layout.outputs) return undefined;
    offsets.set(own);
  }
  const alpha = opType === 'Gemm' ? readFloat(product, 'alpha', 1) : 1;
  const values = await read(weight);
  const before = largest(values);
  for (let i = 0; i < values.length; i++) {
    const channel = layout.inputOf(i);
    offsets[layout.outputOf(i)]! += alpha * values[i]! * affine.offsets[channel]!;
    values[i] = values[i]! * affine.factors[channel]!;
  }
  const rounded = Float32Array.from(offsets);
  if (!values.every(Number.isFinite) || !rounded.every(Number.isFinite)) return undefined;
  return { product, weight, values, before, offsets: rounded };
}

/** Which output and which input the value at index i of a weight belongs to. */
interface Layout {
  readonly outputs: number;
  readonly outputOf: (i: number) => number;
  readonly inputOf: (i: number) => number;
}
