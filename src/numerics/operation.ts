/**
 * What a job computes, as plain data: one member of the union for each way in which a weight becomes the parts
 * that a file stores. `operationParts` tells every part's type and shape before anything is computed, which is
 * what lets a plan fix all output offsets. The mathematics of each member stand in its own file beside this one.
 *
 * Matrices: `rows` = K (the reduction), `columns` = N. Stored [K, N] row-major; with `transposed`, [N, K].
 */

import type { DType, WeightDType } from '../core/dtype.ts';
import { byteLength } from '../core/dtype.ts';
import { type GgmlType, ggmlBytes } from '../core/ggml-types.ts';
import { elementCount, type Shape } from '../core/shape.ts';

export type ScaleDType = 'f32' | 'f16';

/** Zero points that are codes, or any numbers in the type of the scales. */
export type ZeroPoints = 'integer' | 'real';

/** Bytes as they are. Part: data. */
export interface CopyOperation {
  readonly kind: 'copy';
  readonly dtype: DType;
  readonly shape: Shape;
}

/**
 * Element by element to another type, ties to even. Part: data.
 * `clip`: 'fp16' moves finite magnitudes into [1e-7, 1e4] as float16.py does (docs/onnx.md 1b); ±0 stay.
 * `saturate`: overflow gives the largest finite value (ONNX Cast) instead of Inf or NaN.
 */
export interface ConvertOperation {
  readonly kind: 'convert';
  readonly from: WeightDType;
  readonly to: DType;
  readonly shape: Shape;
  readonly clip?: 'fp16' | undefined;
  readonly saturate?: boolean | undefined;
}

/**
 * Float8 with one scale for the tensor (`axis` null) or for each index along `axis`: scale = absmax / max finite
 * value of `to`; data = saturating cast of x / scale. Parts: data (shape), scales ([] or [shape[axis]]).
 */
export interface ScaledConvertOperation {
  readonly kind: 'scaled-convert';
  readonly from: WeightDType;
  readonly to: 'f8_e4m3fn' | 'f8_e5m2' | 'f8_e4m3fnuz' | 'f8_e5m2fnuz';
  readonly shape: Shape;
  readonly axis: number | null;
  readonly scaleType: ScaleDType;
}

/**
 * com.microsoft MatMulNBits (docs/onnx.md 3.1). Parts: packed uint8 [N, kb, B·bits/8], scales [N, kb],
 * zeroPoints uint8 [N, ⌈kb·bits/8⌉] unless symmetric; real ones (2 and 4 bits, never symmetric) of the scales' type, [N, kb].
 */
export interface MatMulNBitsOperation {
  readonly kind: 'matmul-nbits';
  readonly from: WeightDType;
  readonly rows: number;
  readonly columns: number;
  readonly transposed: boolean;
  readonly bits: 2 | 4 | 8;
  readonly blockSize: number;
  readonly symmetric: boolean;
  /** Default: integers among the codes. */
  readonly zeroPoints?: ZeroPoints | undefined;
  readonly scaleType: ScaleDType;
}

/** com.microsoft MatMulBnb4 (docs/onnx.md 3.3). Parts: packed uint8 [⌈NK/2⌉], absmax [⌈NK/B⌉]. */
export interface Bnb4Operation {
  readonly kind: 'bnb4';
  readonly from: WeightDType;
  readonly rows: number;
  readonly columns: number;
  readonly transposed: boolean;
  readonly codebook: 'nf4' | 'fp4';
  readonly blockSize: number;
  readonly scaleType: ScaleDType;
}

/**
 * Affine integers per tensor (`axis` null) or per index of `axis` (docs/onnx.md 3.6). `permutation` stores the result
 * transposed (as for numpy.transpose; `axis` counts in the source's order). Parts: data, scale, zeroPoint.
 */
export interface AffineOperation {
  readonly kind: 'affine';
  readonly from: WeightDType;
  readonly shape: Shape;
  readonly type: 'int8' | 'uint8' | 'int4' | 'uint4' | 'int16' | 'uint16';
  readonly axis: number | null;
  readonly symmetric: boolean;
  readonly reduceRange: boolean;
  readonly permutation?: readonly number[] | undefined;
  readonly scaleType: ScaleDType;
}

/**
 * Blocked DequantizeLinear weight (docs/onnx.md 3.2): blocks of B along `axis` 0 of a stored [K, N] matrix or along
 * axis 1 of a stored [N, K] one (`transposed`). int4/int8 are symmetric, uint4/uint8 asymmetric; int2/uint2 the same
 * rule with 2 bits. Parts: data (stored shape), scales and zeroPoints ([kb, N] or [N, kb]); no zeroPoints if symmetric.
 *
 * `stored` gives a weight of more dimensions, whose blocks run along `axis`: K is its length there and N the elements
 * behind it, of which each index before the axis has a matrix of its own. A weight with nothing behind its axis is one
 * `transposed` matrix. Scales then have the stored shape with kb in place of K.
 */
export interface QdqBlockOperation {
  readonly kind: 'qdq-block';
  readonly from: WeightDType;
  readonly rows: number;
  readonly columns: number;
  readonly transposed: boolean;
  readonly stored?: { readonly shape: Shape; readonly axis: number } | undefined;
  readonly type: 'int4' | 'uint4' | 'int8' | 'uint8' | 'int2' | 'uint2';
  readonly blockSize: number;
  readonly scaleType: ScaleDType;
}

/** Matrices [K, N] that lie one behind another in the weight; 1 where it is `transposed`. */
export function qdqMatrices({ transposed, stored }: QdqBlockOperation): number {
  if (transposed || stored === undefined) return 1;
  return elementCount(stored.shape.slice(0, stored.axis)) ?? 1;
}

/**
 * com.microsoft GatherBlockQuantized (docs/onnx.md 3.4): a table [rows, columns], blocks along the columns.
 * storage 'typed': INT4 (symmetric) / UINT4 (asymmetric) tensors; 'uint8': packed bytes with the bits attribute
 * (bits 4 or 8; implicit zero point 8 / 128 when symmetric). Parts: data, scales [rows, cb], zeroPoints.
 */
export interface GatherBlockOperation {
  readonly kind: 'gather-block';
  readonly from: WeightDType;
  readonly rows: number;
  readonly columns: number;
  readonly bits: 4 | 8;
  readonly blockSize: number;
  readonly symmetric: boolean;
  readonly storage: 'typed' | 'uint8';
  readonly scaleType: ScaleDType;
}

/**
 * Rows of a ggml type to another (docs/gguf.md): f32, f16, bf16 or a block type, through f32. The tensor is `rows` rows of
 * `columns` values; each run of `matrixRows` rows is one matrix, which has its own slice of the importance matrix. `importance`
 * says that the task has one: `counts` with a count for each matrix, else the number that every value is divided by.
 * Part: data (bytes of the target type).
 */
export interface GgmlOperation {
  readonly kind: 'ggml';
  readonly from: GgmlType;
  readonly to: GgmlType;
  readonly rows: number;
  readonly columns: number;
  readonly matrixRows: number;
  readonly importance?: 'counts' | number | undefined;
}

export type Operation =
  | CopyOperation
  | ConvertOperation
  | ScaledConvertOperation
  | MatMulNBitsOperation
  | Bnb4Operation
  | AffineOperation
  | QdqBlockOperation
  | GatherBlockOperation
  | GgmlOperation;

export interface Part {
  readonly role: PartRole;
  readonly dtype: DType;
  readonly shape: Shape;
  readonly bytes: number;
}

export type PartRole = 'data' | 'packed' | 'scales' | 'scale' | 'zeroPoints' | 'zeroPoint' | 'absmax';

function part(role: PartRole, dtype: DType, shape: Shape): Part {
  return { role, dtype, shape, bytes: byteLength(dtype, elementCount(shape) ?? Number.NaN) };
}

/** Parts that `operation` writes, in file order. */
export function operationParts(operation: Operation): Part[] {
  switch (operation.kind) {
    case 'copy':
      return [part('data', operation.dtype, operation.shape)];
    case 'convert':
      return [part('data', operation.to, operation.shape)];
    case 'scaled-convert': {
      const scales = operation.axis === null ? [] : [operation.shape[operation.axis] ?? 1];
      return [part('data', operation.to, operation.shape), part('scales', operation.scaleType, scales)];
    }
    case 'matmul-nbits': {
      const { rows, columns, bits, blockSize, scaleType } = operation;
      const blocks = Math.ceil(rows / blockSize);
      const parts = [
        part('packed', 'uint8', [columns, blocks, (blockSize * bits) / 8]),
        part('scales', scaleType, [columns, blocks]),
      ];
      if (operation.zeroPoints === 'real') parts.push(part('zeroPoints', scaleType, [columns, blocks]));
      else if (!operation.symmetric)
        parts.push(part('zeroPoints', 'uint8', [columns, Math.ceil((blocks * bits) / 8)]));
      return parts;
    }
    case 'bnb4': {
      const count = operation.rows * operation.columns;
      return [
        part('packed', 'uint8', [Math.ceil(count / 2)]),
        part('absmax', operation.scaleType, [Math.ceil(count / operation.blockSize)]),
      ];
    }
    case 'affine': {
      const { shape, axis, permutation, type, scaleType } = operation;
      const stored = permutation === undefined ? shape : permutation.map((axis) => shape[axis] ?? 1);
      const shared = axis === null ? [] : [shape[axis] ?? 1];
      return [part('data', type, stored), part('scale', scaleType, shared), part('zeroPoint', type, shared)];
    }
    case 'qdq-block': {
      const { rows, columns, transposed, type, blockSize, scaleType } = operation;
      const stored = operation.stored ?? {
        shape: transposed ? [columns, rows] : [rows, columns],
        axis: transposed ? 1 : 0,
      };
      const data = stored.shape;
      const shared = data.with(stored.axis, Math.ceil(rows / blockSize));
      const parts = [part('data', type, data), part('scales', scaleType, shared)];
      if (type.startsWith('u')) parts.push(part('zeroPoints', type, shared));
      return parts;
    }
    case 'gather-block': {
      const { rows, columns, bits, blockSize, symmetric, storage, scaleType } = operation;
      const blocks = Math.ceil(columns / blockSize);
      const scales = part('scales', scaleType, [rows, blocks]);
      if (storage === 'typed') {
        const type = symmetric ? 'int4' : 'uint4';
        const parts = [part('data', type, [rows, columns]), scales];
        return symmetric ? parts : [...parts, part('zeroPoints', type, [rows, blocks])];
      }
      const parts = [part('data', 'uint8', [rows, Math.ceil((columns * bits) / 8)]), scales];
      if (symmetric) return parts;
      return [...parts, part('zeroPoints', 'uint8', [rows, Math.ceil((blocks * bits) / 8)])];
    }
    case 'ggml':
      return [part('data', 'uint8', [ggmlBytes(operation.to, operation.columns) * operation.rows])];
    default:
      return operation satisfies never;
  }
}
