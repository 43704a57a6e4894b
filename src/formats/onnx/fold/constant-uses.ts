/**
 * The float constants that each node of the main graph reads, seen through the Transpose, Cast and Identity nodes that exporters put
 * between (tied embeddings, half precision weights of a float32 graph). Source of the idea: rewrite/uses.ts, which starts from
 * the weights; folds start from the nodes.
 */

import type { DType } from '../../../core/dtype.ts';
import { isWeightDType } from '../../../core/dtype.ts';
import { dtypeOfNumber } from '../data-types.ts';
import type { GraphProto, NodeProto, TensorProto } from '../messages.ts';
import { isDefaultDomain, readInt, readInts } from '../rewrite/build.ts';

export interface ConstantUse {
  readonly node: NodeProto;
  /** Index in `node.input`. */
  readonly input: number;
  /** The initializer. */
  readonly tensor: TensorProto;
  readonly name: string;
  /** A matrix that is transposed on its way. */
  readonly turned: boolean;
  /** Whether nodes stand between. */
  readonly direct: boolean;
  /** Type in which the node reads it. */
  readonly dtype: DType;
}

/** By node and index of the input. */
export function constantUses(
  graph: GraphProto,
  constant: (name: string) => TensorProto | undefined,
): Map<NodeProto, Map<number, ConstantUse>> {
  const producers = new Map(graph.node.map((node) => [node.output[0] ?? '', node]));
  const found = new Map<NodeProto, Map<number, ConstantUse>>();
  for (const node of graph.node) {
    for (const [input, name] of node.input.entries()) {
      const use = name === '' ? undefined : follow(name, producers, constant);
      if (use === undefined) continue;
      const own = found.get(node) ?? new Map<number, ConstantUse>();
      own.set(input, { ...use, node, input });
      found.set(node, own);
    }
  }
  return found;
}

function follow(
  name: string,
  producers: ReadonlyMap<string, NodeProto>,
  constant: (name: string) => TensorProto | undefined,
): Omit<ConstantUse, 'node' | 'input'> | undefined {
  let turned = false;
  let cast: DType | undefined;
  let current = name;
  for (let steps = 0; steps < 8; steps++) {
    const tensor = constant(current);
    if (tensor !== undefined) {
      const stored = dtypeOfNumber(tensor.dataType);
      if (stored === undefined || !isWeightDType(stored)) return undefined;
      return { tensor, name: current, turned, direct: steps === 0, dtype: cast ?? stored };
    }
    const node = producers.get(current);
    if (node === undefined || !isDefaultDomain(node)) return undefined;
    const [input = ''] = node.input;
    if (node.opType === 'Cast') cast ??= dtypeOfNumber(readInt(node, 'to', 0));
    else if (node.opType === 'Transpose' && constant(input)?.dims.length === 2) {
      const perm = readInts(node, 'perm');
      if (perm === undefined || perm[0] === 1) turned = !turned;
    } else if (node.opType !== 'Identity') return undefined;
    current = input;
  }
  return undefined;
}
