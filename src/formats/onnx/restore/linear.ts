/**
 * DequantizeLinear over constants, of ai.onnx and com.microsoft (docs/onnx.md 3.2, 3.6) → the float weight.
 *
 * With one scale for the tensor the operator commutes with nodes that only move elements, so a table that is gathered (or a
 * weight that is reshaped, transposed, sliced) before it is dequantized is restored in front of those nodes. That is how
 * quantized embeddings are written. DequantizeLinear of an activation is no weight and stays.
 */

import type { DequantizeAffine, DequantizeCast } from '../../../numerics/dequantize-operation.ts';
import type { GraphProto, NodeProto } from '../messages.ts';
import { makeNode, readInt } from '../rewrite/build.ts';
import type { Constant, Lookup } from './lookup.ts';
import {
  type Found,
  isScale,
  originalNodeName,
  refusal,
  type StoredWeight,
  storedWeight,
} from './stored-weight.ts';

/** Operators that move elements of their first input and leave their values. */
const MOVEMENT: ReadonlySet<string> = new Set([
  'Flatten',
  'Gather',
  'Identity',
  'Reshape',
  'Slice',
  'Squeeze',
  'Transpose',
  'Unsqueeze',
]);

export type AffineType = DequantizeAffine['type'];

export function isAffineType(dtype: string): dtype is AffineType {
  return /^u?int(2|4|8|16)$/.test(dtype) || dtype === 'int32';
}

type Float8 = Extract<DequantizeCast['from'], `f8_${string}`>;

export function isFloat8(dtype: string): dtype is Float8 {
  return /^f8_e(4m3fn|5m2|4m3fnuz|5m2fnuz)$/.test(dtype);
}

export function matchDequantizeLinear(lookup: Lookup, graph: GraphProto, node: NodeProto): Found | undefined {
  const data = lookup.constant(graph, node.input[0], MOVEMENT);
  // An activation: it is quantized while the model runs.
  if (data === undefined) return undefined;
  const scale = lookup.constant(graph, node.input[1]);
  const zeroName = node.input[2] ?? '';
  const zeroPoint = lookup.constant(graph, zeroName);
  if (scale === undefined || (zeroName !== '' && zeroPoint === undefined)) {
    return refusal(node, 'its scale is no constant');
  }
  if (data.count === 0) return refusal(node, 'its weight is empty');
  if (!isScale(scale)) return refusal(node, `its scale is ${scale.dtype}`);
  const outputType = readInt(node, 'output_dtype', 0);
  if (outputType !== 0 && outputType !== scale.tensor.dataType) {
    return refusal(node, 'its output has another type than its scale');
  }
  const moved = data.through.filter(({ opType }) => opType !== 'Identity');
  if (moved.length > 0 && scale.count !== 1) {
    return refusal(node, 'its weight is moved before it is dequantized in channels');
  }
  const weight = linearWeight(node, data, scale, zeroPoint);
  if (typeof weight === 'string') return refusal(node, weight);
  const found = { kind: 'use', weights: [weight], node, graph, pattern: data.through } as const;
  if (moved.length === 0) return { ...found, replace: 'value' };
  return {
    ...found,
    replace: (emit) => {
      let value = emit.value(0);
      return moved.map((step, index) => {
        const output =
          index === moved.length - 1 ? (node.output[0] ?? '') : emit.uniqueName(`${step.output[0]}_float`);
        const wanted = originalNodeName(step);
        const copy: NodeProto = {
          ...makeNode(step.opType ?? '', [value, ...step.input.slice(1)], [output], {
            name: wanted === '' ? '' : emit.uniqueName(wanted),
          }),
          attribute: step.attribute,
        };
        value = output;
        return copy;
      });
    },
  };
}

function linearWeight(
  node: NodeProto,
  data: Constant,
  scale: Constant & { readonly dtype: 'f32' | 'f16' },
  zeroPoint: Constant | undefined,
): StoredWeight | string {
  const shape = data.shape;
  const rank = shape.length;
  const given = readInt(node, 'axis', 1);
  const at = given < 0 ? given + rank : given;
  const blockSize = readInt(node, 'block_size', 0);
  let axis: number | null = null;
  if (blockSize > 0) {
    const length = shape[at];
    if (length === undefined) return 'its axis does not exist';
    if (scale.count !== (data.count / length) * Math.ceil(length / blockSize)) return 'its scales do not fit';
    axis = at;
  } else if (scale.count !== 1) {
    if (scale.count !== shape[at]) return 'its scales do not fit';
    axis = at;
  }
  if (zeroPoint !== undefined && (zeroPoint.count !== scale.count || zeroPoint.dtype !== data.dtype)) {
    return 'its zero points do not fit its scales';
  }
  const otherwise = node.output[0] ?? data.name;
  const { dtype } = data;
  if (isFloat8(dtype)) {
    if (blockSize > 0) return `blocks of ${dtype}`;
    // The zero point of a float8 tensor only states its type: it is 0 by specification.
    const operation: DequantizeCast = {
      kind: 'cast',
      shape,
      from: dtype,
      scaled: true,
      axis,
      scaleType: scale.dtype,
      to: 'f32',
    };
    return storedWeight({
      node,
      data,
      dtype: scale.dtype,
      parts: { data, scales: scale },
      operation,
      otherwise,
    });
  }
  if (!isAffineType(dtype)) return `its weight is ${dtype}`;
  const operation: DequantizeAffine = {
    kind: 'affine',
    shape,
    type: dtype,
    axis,
    ...(blockSize > 0 && { blockSize }),
    scaleType: scale.dtype,
    zeroPoint: zeroPoint !== undefined,
    to: 'f32',
  };
  return storedWeight({
    node,
    data,
    dtype: scale.dtype,
    parts: { data, scale, zeroPoint },
    operation,
    otherwise,
  });
}
