/**
 * LSTM with constant W and R → com.microsoft DynamicQuantizeLSTM (docs/onnx.md 3.6): int8 weights stored transposed
 * ([D, 4H, I] → [D, I, 4H]) with a scale for each direction. Both matrices must be constants: the operator has no mixed
 * form. f32 only; layout must be 0. A scale for each of the 4H rows is possible too, but then more products reach the range where
 * int8 arithmetic saturates on x86 without VNNI (onnxruntime-node against -web on silero: cosine 0.9975 and 0.9999).
 */

import type { AffineOperation } from '../../../numerics/operation.ts';
import type { NodeProto } from '../messages.ts';
import type { Weight } from '../model.ts';
import { CONTRIB, makeNode, readInt } from './build.ts';
import type { LstmPair, RewriteContext } from './context.ts';
import type { DynamicSettings } from './form.ts';
import { reducesRange, weightType } from './form.ts';
import type { ResolvedUse } from './uses.ts';

export function lstmProblem(weight: Weight, { node, dtype }: ResolvedUse): string | undefined {
  if (dtype !== 'f32') return 'DynamicQuantizeLSTM computes in f32 only';
  if (weight.shape.length !== 3) return 'LSTM weights of an unusual rank';
  if (readInt(node, 'layout', 0) !== 0) return 'DynamicQuantizeLSTM has no layout 1';
  return undefined;
}

/** W and R arrive one after the other; the node is rewritten when both are there. */
export function replaceLstm(
  context: RewriteContext,
  weight: Weight,
  use: ResolvedUse,
  settings: DynamicSettings,
): void {
  const [directions = 1, gates = 0, inputs = 0] = weight.shape;
  const operation: AffineOperation = {
    kind: 'affine',
    from: weightType(weight),
    shape: weight.shape,
    type: 'int8',
    axis: 0,
    symmetric: true,
    reduceRange: reducesRange(settings, 'int8'),
    permutation: [0, 2, 1],
    scaleType: 'f32',
  };
  const parts = context.addTask(weight, operation, {
    data: { name: `${weight.name}_quantized`, dims: [directions, inputs, gates] },
    scale: `${weight.name}_scale`,
    zeroPoint: `${weight.name}_zero_point`,
  });
  pairOf(context, use.node)[use.input === 1 ? 'w' : 'r'] = parts;
}

function pairOf(context: RewriteContext, node: NodeProto): LstmPair {
  const pair: LstmPair = context.lstmPairs.get(node) ?? {};
  if (!context.lstmPairs.has(node)) {
    context.lstmPairs.set(node, pair);
    context.useDomain(CONTRIB);
    context.replaceNode(node, () => [quantizedLstm(context, node, pair)]);
  }
  return pair;
}

function quantizedLstm(context: RewriteContext, node: NodeProto, { w, r }: LstmPair): NodeProto {
  if (w === undefined || r === undefined) return node;
  const input = (i: number): string => node.input[i] ?? '';
  const inputs = [input(0), w.data, r.data, input(3), input(4), input(5), input(6), input(7)];
  return makeNode(
    'DynamicQuantizeLSTM',
    [...inputs, w.scale, w.zeroPoint, r.scale, r.zeroPoint],
    node.output,
    {
      name: (node.name ?? '') === '' ? '' : context.uniqueName(`${node.name}_quant`),
      domain: CONTRIB,
      attributes: node.attribute.filter((a) => a.name !== 'layout'),
    },
  );
}
