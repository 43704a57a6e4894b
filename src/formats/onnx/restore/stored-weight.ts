/**
 * A weight that stands in a graph in a quantized form, and the places that read it: what the patterns beside this file find
 * and what `restoreGraph` puts back. Everything is known from structure: names only serve to give the float weight the name
 * it had before (`w_Q4`, `w_quantized`, … → `w`).
 */

import type { Shape } from '../../../core/shape.ts';
import { type DequantizeOperation, dequantizedPart } from '../../../numerics/dequantize-operation.ts';
import type { PartRole, ScaleDType } from '../../../numerics/operation.ts';
import type { GraphProto, NodeProto, TensorProto } from '../messages.ts';
import type { Constant } from './lookup.ts';

export interface StoredWeight {
  /** Name of the float weight. */
  readonly name: string;
  /** Shape of the float weight. */
  readonly shape: Shape;
  /** How it is stored, for people: "int4 blocks of 32". */
  readonly form: string;
  /** Operator that reads the stored form, and the name of its node. */
  readonly opType: string;
  readonly node: string;
  /** With `to: 'f32'`; the result is in the layout of `shape`. */
  readonly operation: DequantizeOperation;
  readonly parts: Readonly<Partial<Record<PartRole, TensorProto>>>;
  /** The graph that holds the data. */
  readonly graph: GraphProto;
  /** Type in which the operator computes, and hence reads the float weight. */
  readonly dtype: ScaleDType;
}

/** What nodes are made of that take the place of a pattern. */
export interface RestoreEmitter {
  /** Name of the float value of the n-th weight. */
  value(index: number): string;
  /** The same with its last two dimensions exchanged. */
  transposed(index: number): string;
  uniqueName(base: string): string;
}

/** One place that reads stored weights. */
export interface StoredUse {
  readonly kind: 'use';
  readonly weights: readonly StoredWeight[];
  /** The node that is replaced: the last of the pattern, so that everything it needs stands before it. */
  readonly node: NodeProto;
  readonly graph: GraphProto;
  /** Other nodes of the pattern; they go where nothing else reads them. */
  readonly pattern: readonly NodeProto[];
  /** The nodes in its place; `'value'` where the output of `node` is the weight itself. */
  readonly replace: 'value' | ((emit: RestoreEmitter) => NodeProto[]);
  /** Activations were quantized as well, and are not any more. */
  readonly dynamic?: boolean | undefined;
}

/** A quantized operator that stays as it is. */
export interface Refusal {
  readonly kind: 'refusal';
  readonly opType: string;
  readonly reason: string;
}

export type Found = StoredUse | Refusal;

export function refusal(node: NodeProto, reason: string): Refusal {
  return { kind: 'refusal', opType: node.opType ?? '?', reason };
}

/** Scales that the operations read. */
export function isScale(
  constant: Constant | undefined,
): constant is Constant & { readonly dtype: ScaleDType } {
  return constant !== undefined && (constant.dtype === 'f32' || constant.dtype === 'f16');
}

export interface StoredWeightFields {
  readonly node: NodeProto;
  readonly data: Constant;
  readonly operation: DequantizeOperation;
  readonly parts: Partial<Record<PartRole, Constant | undefined>>;
  readonly dtype: ScaleDType;
  readonly shape?: Shape;
  /** Name where that of the data tells nothing. */
  readonly otherwise?: string;
}

export function storedWeight({
  node,
  data,
  operation,
  parts,
  dtype,
  shape,
  otherwise,
}: StoredWeightFields): StoredWeight {
  const tensors: Partial<Record<PartRole, TensorProto>> = {};
  const put = (role: PartRole): void => {
    const part = parts[role];
    if (part !== undefined) tensors[role] = part.tensor;
  };
  for (const role of ['data', 'packed', 'scales', 'scale', 'zeroPoints', 'zeroPoint', 'absmax'] as const) {
    put(role);
  }
  return {
    name: originalName(data.name) ?? otherwise ?? data.name,
    shape: shape ?? dequantizedPart(operation).shape,
    form: describeForm(operation),
    opType: node.opType ?? '?',
    node: node.name ?? '',
    operation,
    parts: tensors,
    graph: data.graph,
    dtype,
  };
}

/** Suffixes that quantizers (onnxruntime's, Olive's, whittle's) put behind the name of a weight. */
const SUFFIX =
  /^(?<name>.+?)(?:_quantized|_(?:DQ_)?Q[248](?:G\d+)?|_[Bb]nb4|_f8_e[45]m[23](?:fn)?(?:uz)?|_bf16|_f16)(?:_\d+)?$/;

/** `w_Q4` → `w`; undefined where the name has no such suffix. */
export function originalName(stored: string): string | undefined {
  const name = SUFFIX.exec(stored)?.groups?.name;
  if (name !== undefined) return name;
  return stored.endsWith('.qweight') ? stored.replace(/\.qweight$/, '.weight') : undefined;
}

/** Name of a node before it was replaced by its quantized form. */
export function originalNodeName(node: NodeProto): string {
  return (node.name ?? '').replace(/(_quant|_Q[248]|_[Bb]nb4)(_\d+)?$/, '');
}

export function describeForm(operation: DequantizeOperation): string {
  switch (operation.kind) {
    case 'matmul-nbits':
    case 'gather-block':
      return `${operation.bits}-bit blocks of ${operation.blockSize}${operation.zeroPoints === 'real' ? ', real zero points' : ''}`;
    case 'bnb4':
      return `${operation.codebook} blocks of ${operation.blockSize}`;
    case 'cast':
      return operation.scaled ? `${operation.from}, scaled` : operation.from;
    case 'affine': {
      const { type, axis, blockSize } = operation;
      if (axis === null) return `${type} per tensor`;
      return blockSize === undefined ? `${type} per channel` : `${type} blocks of ${blockSize}`;
    }
    default:
      return operation satisfies never;
  }
}
