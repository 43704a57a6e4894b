/**
 * Finds every weight of a model that stands in a quantized form, whoever quantized it: patterns are matched by structure,
 * in the main graph and in subgraphs. What reads stored weights in a form that no pattern knows is a refusal with its reason.
 */

import { allGraphs, topologicalOrder } from '../graph.ts';
import type { GraphProto, ModelProto, NodeProto } from '../messages.ts';
import { cloneModel, normalizeConstants } from '../model.ts';
import { CONTRIB, isDefaultDomain } from '../rewrite/build.ts';
import { matchGatherBlockQuantized, matchMatMulBnb4, matchMatMulNBits } from './blocks.ts';
import {
  matchDynamicQuantizeLstm,
  matchDynamicQuantizeMatMul,
  matchIntegerProduct,
  matchMatMulIntegerToFloat,
} from './dynamic.ts';
import { matchDequantizeLinear } from './linear.ts';
import { createLookup, type Lookup } from './lookup.ts';
import { matchCast } from './narrow.ts';
import type { Found, Refusal, StoredUse, StoredWeight } from './stored-weight.ts';

type Matcher = (lookup: Lookup, graph: GraphProto, node: NodeProto) => Found | undefined;

const STANDARD: ReadonlyMap<string, Matcher> = new Map<string, Matcher>([
  ['DequantizeLinear', matchDequantizeLinear],
  ['Cast', matchCast],
  ['MatMulInteger', matchIntegerProduct],
  ['ConvInteger', matchIntegerProduct],
]);

const CONTRIBUTED: ReadonlyMap<string, Matcher> = new Map<string, Matcher>([
  ['DequantizeLinear', matchDequantizeLinear],
  ['MatMulNBits', matchMatMulNBits],
  ['MatMulBnb4', matchMatMulBnb4],
  ['GatherBlockQuantized', matchGatherBlockQuantized],
  ['MatMulIntegerToFloat', matchMatMulIntegerToFloat],
  ['DynamicQuantizeMatMul', matchDynamicQuantizeMatMul],
  ['DynamicQuantizeLSTM', matchDynamicQuantizeLstm],
]);

export interface StoredWeights {
  readonly uses: readonly StoredUse[];
  readonly refusals: readonly Refusal[];
  /** One entry for each stored copy, also where several nodes read it. */
  readonly weights: readonly StoredWeight[];
  readonly lookup: Lookup;
}

/** A copy of the model in the form that patterns see: nodes in order, constants as initializers. */
export function preparedForRestore(proto: ModelProto): ModelProto {
  const copy = cloneModel(proto);
  for (const { graph } of allGraphs(copy)) graph.node = topologicalOrder(graph) ?? graph.node;
  normalizeConstants(copy);
  return copy;
}

/** @param proto - in the form of `preparedForRestore` */
export function findStoredWeights(proto: ModelProto): StoredWeights {
  const lookup = createLookup(proto);
  const found: StoredUse[] = [];
  const refusals: Refusal[] = [];
  for (const graph of lookup.index.graphs) {
    for (const node of graph.node) {
      const table = isDefaultDomain(node) ? STANDARD : node.domain === CONTRIB ? CONTRIBUTED : undefined;
      const match = table?.get(node.opType ?? '')?.(lookup, graph, node);
      if (match?.kind === 'use') found.push(match);
      else if (match !== undefined) refusals.push(match);
    }
  }
  return { ...shareWeights(found), refusals, lookup };
}

/**
 * Uses of the same bytes get the same weight. A table that GatherBlockQuantized and MatMulNBits share is restored as the
 * table [N, K]; the product reads it transposed.
 */
function shareWeights(found: readonly StoredUse[]): Pick<StoredWeights, 'uses' | 'weights'> {
  const groups = new Map<string, StoredWeight[]>();
  const keyOf = keyer();
  for (const { weights } of found) {
    for (const weight of weights) {
      const key = keyOf(weight);
      groups.set(key, [...(groups.get(key) ?? []), weight]);
    }
  }
  const canonical = new Map<string, StoredWeight>();
  for (const [key, group] of groups) {
    const [first] = group;
    if (first === undefined) continue;
    const table = group.find(({ operation }) => operation.kind === 'gather-block');
    const matrix = group.find(({ operation }) => operation.kind === 'matmul-nbits');
    if (table !== undefined && matrix?.operation.kind === 'matmul-nbits') {
      const operation = { ...matrix.operation, transposed: true };
      canonical.set(key, {
        ...matrix,
        operation,
        shape: [operation.columns, operation.rows],
        opType: table.opType,
      });
    } else {
      canonical.set(key, first);
    }
  }
  const shared = (weight: StoredWeight): StoredWeight => canonical.get(keyOf(weight)) ?? weight;
  return {
    uses: found.map((use) => withTransposedProduct({ ...use, weights: use.weights.map(shared) })),
    weights: [...canonical.values()],
  };
}

function withTransposedProduct(use: StoredUse): StoredUse {
  const [weight] = use.weights;
  const { replace } = use;
  const turned = weight?.operation.kind === 'matmul-nbits' && weight.operation.transposed;
  if (!turned || replace === 'value' || use.node.opType !== 'MatMulNBits') return use;
  return { ...use, replace: (emit) => replace({ ...emit, value: (index) => emit.transposed(index) }) };
}

/** Tells apart by identity of the parts; other operations than the two that share bytes by what they compute, too. */
function keyer(): (weight: StoredWeight) => string {
  const ids = new Map<object, number>();
  const idOf = (part: object | undefined): number => {
    if (part === undefined) return -1;
    const known = ids.get(part);
    if (known !== undefined) return known;
    ids.set(part, ids.size);
    return ids.size - 1;
  };
  return ({ parts, operation, dtype }) => {
    const own = [parts.data ?? parts.packed, parts.scales ?? parts.scale ?? parts.absmax].map(idOf);
    const zero = idOf(parts.zeroPoints ?? parts.zeroPoint);
    const tied = operation.kind === 'matmul-nbits' || operation.kind === 'gather-block';
    const what = tied ? `${operation.bits} ${operation.blockSize}` : JSON.stringify(operation);
    return `${own.join()} ${zero} ${dtype} ${what}`;
  };
}
