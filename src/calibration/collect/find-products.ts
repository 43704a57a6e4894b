/**
 * Finds the products of a graph: every MatMul and Gemm with a constant right side and every Conv with constant filters, in
 * the main graph. Weights are followed through the Transpose, Cast and Identity nodes that exporters put behind them.
 */

import { findAttribute } from '../../formats/onnx/graph.ts';
import type { GraphProto, ModelProto, NodeProto } from '../../formats/onnx/messages.ts';
import { findWeights, type Weight } from '../../formats/onnx/model.ts';
import { readInt, readInts } from '../../formats/onnx/rewrite/build.ts';
import {
  type GraphIndex,
  indexGraph,
  type ResolvedUse,
  resolveUses,
} from '../../formats/onnx/rewrite/uses.ts';
import type { Product } from './products.ts';

/** A weight that is multiplied where its inputs cannot be tapped. */
export interface Uncollected {
  readonly weight: string;
  /** For people. */
  readonly reason: string;
}

/**
 * All products, in the order of the file's weights; a weight with two users stands for two products.
 * Weights in bodies of If, Loop and Scan are left out: `findUncollected` names them.
 */
export function findProducts(proto: ModelProto): Product[] {
  return walk(proto).products;
}

/** Weights of products that `findProducts` leaves out, with the reason. */
export function findUncollected(proto: ModelProto): Uncollected[] {
  return walk(proto).uncollected;
}

function walk(proto: ModelProto): { products: Product[]; uncollected: Uncollected[] } {
  const products: Product[] = [];
  const uncollected: Uncollected[] = [];
  const index = indexGraph(proto);
  for (const weight of findWeights(proto)) {
    for (const use of resolveUses(weight, index)) {
      const found = productOf(weight, use, use.graph === proto.graph);
      if (found === undefined) continue;
      if ('reason' in found) uncollected.push(found);
      else products.push(withSum(found, weight, use, index));
    }
  }
  return { products, uncollected };
}

function productOf(weight: Weight, use: ResolvedUse, isMain: boolean): Product | Uncollected | undefined {
  const { role, node } = use;
  if (role.kind !== 'matmul' && role.kind !== 'gemm' && role.kind !== 'conv') return undefined;
  const refuse = (reason: string): Uncollected => ({ weight: weight.key, reason });
  if (!isMain) {
    return refuse(`${node.opType ?? ''} stands inside a branch or a loop, where inputs are not collected`);
  }
  const base = { weight: weight.key, input: node.input[0] ?? '' };
  const { shape } = weight;
  if (role.kind === 'conv')
    return convProduct(base, shape, node) ?? refuse('the filters are not [M, C, …kernel]');
  const leading = shape.slice(0, -2);
  if (shape.length < 2 || leading.some((size) => size !== 1)) {
    return refuse(shape.length < 2 ? 'the weight is a vector' : 'the weight is a batch of matrices');
  }
  const inputs = role.transposed ? shape.at(-1)! : shape.at(-2)!;
  const columns = role.kind === 'gemm' && readInt(node, 'transA', 0) === 1;
  return { ...base, inputs, kind: columns ? 'columns' : 'rows' };
}

/** The Add that the product alone goes into together with another computed value; what adds a constant is passed. */
function withSum(product: Product, { shape }: Weight, use: ResolvedUse, index: GraphIndex): Product {
  if (product.kind !== 'rows') return product;
  const { graph, role } = use;
  // What a scaled product lacks in the sum, its weight lacks by another factor.
  if ((findAttribute(use.node, 'alpha')?.f ?? 1) !== 1) return product;
  const transposed = role.kind === 'matmul' || role.kind === 'gemm' ? role.transposed : false;
  const constants = constantNames(graph);
  let name = use.node.output[0] ?? '';
  for (;;) {
    const [only, ...others] = index.consumers(graph, name);
    if (only === undefined || others.length > 0 || index.isOutput(graph, name)) return product;
    const { node } = only;
    if (only.graph !== graph || node.opType !== 'Add') return product;
    const other = node.input[1 - only.input] ?? '';
    name = node.output[0] ?? '';
    if (!constants.has(other))
      return { ...product, sum: { name, outputs: (transposed ? shape.at(-2) : shape.at(-1)) ?? 0 } };
  }
}

function constantNames({ initializer, node }: GraphProto): Set<string> {
  const constants = node.filter(({ opType }) => opType === 'Constant');
  return new Set([
    ...initializer.map(({ name = '' }) => name),
    ...constants.map(({ output }) => output[0] ?? ''),
  ]);
}

function convProduct(
  base: { weight: string; input: string },
  shape: readonly number[],
  node: NodeProto,
): Product | undefined {
  const [outputs, channels, ...kernel] = shape;
  if (outputs === undefined || channels === undefined || kernel.length === 0) return undefined;
  const ones = kernel.map(() => 1);
  const dilations = readInts(node, 'dilations') ?? ones;
  const autoPad = new TextDecoder().decode(findAttribute(node, 'auto_pad')?.s ?? new Uint8Array(0));
  const same = autoPad === 'SAME_UPPER' || autoPad === 'SAME_LOWER' ? autoPad : undefined;
  const zeros = [...kernel, ...kernel].map(() => 0);
  return {
    ...base,
    kind: 'patches',
    inputs: channels * kernel.reduce((product, size) => product * size, 1),
    kernel,
    strides: readInts(node, 'strides') ?? ones,
    dilations,
    pads: autoPad === '' || autoPad === 'NOTSET' ? (readInts(node, 'pads') ?? zeros) : zeros,
    groups: readInt(node, 'group', 1),
    ...(same === undefined ? {} : { autoPad: same }),
  };
}
