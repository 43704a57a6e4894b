/**
 * The frame around a quantized product: what MatMul and Gemm have in common. The form gives the nodes that compute
 * A·B into a name; this keeps rank and bias.
 *
 * Gemm (transA = 0, alpha = beta = 1): product, then Add of C. MatMul with unit leading dimensions in the weight: the result has at
 * least the weight's rank, which an Expand of the activation by ones gives without moving an element (opset ≥ 8); for a
 * vector, whose own dimension is dropped again, one less.
 */

import type { NodeProto } from '../messages.ts';
import { int64Tensor, makeNode } from './build.ts';
import type { Emitter, RewriteContext } from './context.ts';
import type { MatrixView } from './form.ts';
import type { ResolvedUse } from './uses.ts';

/** Makes the nodes of the product of `a` into `output`; `name` is '' where the source node had none. */
export type MakeProduct = (a: string, output: string, name: string, emit: Emitter) => NodeProto[];

export function replaceProduct(
  context: RewriteContext,
  use: ResolvedUse,
  view: Pick<MatrixView, 'unitDims'>,
  suffix: string,
  make: MakeProduct,
): void {
  const { node } = use;
  const matrixDims = context.rankOf(use.graph, node.input[0] ?? '') === 1 ? 1 : 2;
  context.replaceNode(node, (emit) => {
    const nodes: NodeProto[] = [];
    const output = node.output[0] ?? '';
    const name = (node.name ?? '') === '' ? '' : context.uniqueName(`${node.name}${suffix}`);
    let a = node.input[0] ?? '';
    if (view.unitDims > 0) {
      const ones = int64Tensor(
        context.uniqueName(`${output}_rank_shape`),
        Array.from({ length: view.unitDims + matrixDims }, () => 1),
      );
      context.addInitializer(emit.graph, ones);
      const ranked = context.uniqueName(`${a}_rank`);
      nodes.push(
        makeNode('Expand', [a, ones.name ?? ''], [ranked], { name: context.uniqueName(`${ranked}_expand`) }),
      );
      a = ranked;
    }
    const bias = node.opType === 'Gemm' ? (node.input[2] ?? '') : '';
    if (bias === '') return [...nodes, ...make(a, output, name, emit)];
    const product = context.uniqueName(`${output}_product`);
    return [
      ...nodes,
      ...make(a, product, name, emit),
      makeNode('Add', [product, bias], [output], { name: context.uniqueName(`${output}_bias_add`) }),
    ];
  });
}
