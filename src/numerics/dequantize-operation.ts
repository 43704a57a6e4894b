/**
 * The inverse operations, as plain data: parts that a file stores → values of one float tensor. Sources are named by
 * role; the only part written is `data`, of type `to`. Each is x = (code − zero point) · scale in f32, then one rounding
 * to `to`.
 */

import { byteLength, type DType } from '../core/dtype.ts';
import { elementCount, type Shape } from '../core/shape.ts';
import type { Part, PartRole, ScaleDType } from './operation.ts';

/** What values are written as. */
export type ValueDType = 'f32' | 'f16';

/**
 * MatMulNBits (docs/onnx.md 3.1): packed [N, kb, B·bits/8], scales [N, kb], zeroPoints packed [N, ⌈kb·bits/8⌉], 'real' in the
 * type of the scales [N, kb], or absent (2^(bits−1)). Writes W[K, N] row-major, or [N, K] with `transposed`.
 */
export interface DequantizeMatMulNBits {
  readonly kind: 'matmul-nbits';
  readonly rows: number;
  readonly columns: number;
  readonly transposed: boolean;
  readonly bits: 2 | 4 | 8;
  readonly blockSize: number;
  readonly scaleType: ScaleDType;
  readonly zeroPoints: boolean | 'real';
  readonly to: ValueDType;
}

/** MatMulBnb4 (docs/onnx.md 3.3): packed [⌈NK/2⌉] high nibble first, absmax [⌈NK/B⌉]. Writes W[K, N], or [N, K]. */
export interface DequantizeBnb4 {
  readonly kind: 'bnb4';
  readonly rows: number;
  readonly columns: number;
  readonly transposed: boolean;
  readonly codebook: 'nf4' | 'fp4';
  readonly blockSize: number;
  readonly scaleType: ScaleDType;
  readonly to: ValueDType;
}

/**
 * DequantizeLinear: data of `shape`; scale and zeroPoint one for the tensor (`axis` null), for each index of `axis`, or
 * (`blockSize`) for each block along `axis`. Sub-byte types are packed flat, low bits first. `int32` is a bias.
 */
export interface DequantizeAffine {
  readonly kind: 'affine';
  readonly shape: Shape;
  readonly type: Extract<
    DType,
    'int8' | 'uint8' | 'int16' | 'uint16' | 'int4' | 'uint4' | 'int2' | 'uint2' | 'int32'
  >;
  readonly axis: number | null;
  readonly blockSize?: number | undefined;
  readonly scaleType: ScaleDType;
  readonly zeroPoint: boolean;
  /** The values come out with the last two axes of `shape` exchanged. */
  readonly swapped?: boolean | undefined;
  readonly to: ValueDType;
}

/** GatherBlockQuantized (docs/onnx.md 3.4): data, scales [rows, cb], zeroPoints as its storage has them. */
export interface DequantizeGatherBlock {
  readonly kind: 'gather-block';
  readonly rows: number;
  readonly columns: number;
  readonly bits: 4 | 8;
  /** 'typed': INT4 (signed, zero 0) or UINT4 (`signed` false) packed flat; 'uint8': packed by row, zero 2^(bits−1). */
  readonly storage: 'typed' | 'uint8';
  readonly signed: boolean;
  readonly blockSize: number;
  readonly scaleType: ScaleDType;
  readonly zeroPoints: boolean;
  readonly to: ValueDType;
}

/** Float types that were narrowed (Cast), with a scale for the tensor or each index of `axis` where there is one. */
export interface DequantizeCast {
  readonly kind: 'cast';
  readonly shape: Shape;
  readonly from: Extract<
    DType,
    'f64' | 'f32' | 'f16' | 'bf16' | 'f8_e4m3fn' | 'f8_e5m2' | 'f8_e4m3fnuz' | 'f8_e5m2fnuz'
  >;
  readonly scaled: boolean;
  readonly axis: number | null;
  readonly scaleType: ScaleDType;
  readonly to: ValueDType;
}

export type DequantizeOperation =
  | DequantizeMatMulNBits
  | DequantizeBnb4
  | DequantizeAffine
  | DequantizeGatherBlock
  | DequantizeCast;

/** One stored weight and how its values come back. Roles of `sources` as the operation's data sheet names them. */
export interface DequantizeTask<Source> {
  /** Unique among all tasks of the output; `Segment.task` refers to it. */
  readonly id: number;
  readonly tensor: string;
  readonly sources: Readonly<Partial<Record<PartRole, Source>>>;
  readonly operation: DequantizeOperation;
}

/** The one part that comes out: the values, in the shape that the operation states. */
export function dequantizedPart(operation: DequantizeOperation): Part {
  const shape = dequantizedShape(operation);
  return {
    role: 'data',
    dtype: operation.to,
    shape,
    bytes: byteLength(operation.to, elementCount(shape) ?? Number.NaN),
  };
}

function dequantizedShape(operation: DequantizeOperation): Shape {
  switch (operation.kind) {
    case 'matmul-nbits':
    case 'bnb4':
      return operation.transposed ? [operation.columns, operation.rows] : [operation.rows, operation.columns];
    case 'gather-block':
      return [operation.rows, operation.columns];
    case 'affine': {
      const { shape, swapped } = operation;
      if (swapped !== true) return shape;
      const [a = 1, b = 1] = shape.slice(-2);
      return [...shape.slice(0, -2), b, a];
    }
    case 'cast':
      return operation.shape;
    default:
      return operation satisfies never;
  }
}
