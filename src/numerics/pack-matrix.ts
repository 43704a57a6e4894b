/**
 * Codes, scales and zero points of a matrix → the bytes of the parts that `operationParts` names, for the operations whose parts
 * can hold any grid with groups of consecutive inputs: MatMulNBits, blocked DequantizeLinear and per-channel DequantizeLinear
 * (docs/onnx.md 3.1, 3.2, 3.6). An algorithm that chooses codes by itself writes the same form as the encoders do.
 *
 * The matrix is [outputs, inputs] with the product y = W x, so `inputs` are the K of an operation and `outputs` its N; codes are
 * unsigned, 0 … 2^bits − 1, and types with a sign store code − 2^(bits−1).
 */

import { f32ToF16Bits } from '../core/floats.ts';
import { elementCount } from '../core/shape.ts';
import type {
  AffineOperation,
  MatMulNBitsOperation,
  Operation,
  PartRole,
  QdqBlockOperation,
  ScaleDType,
  ZeroPoints,
} from './operation.ts';

export interface CodedMatrix {
  readonly outputs: number;
  readonly inputs: number;
  /** [outputs, inputs]. */
  readonly codes: Uint8Array;
  /** [outputs, ⌈inputs / groupSize⌉]. */
  readonly scales: Float32Array;
  /** [outputs, ⌈inputs / groupSize⌉]; integers, unless the grid's are real. */
  readonly zeroPoints: Float32Array;
}

/** The grid that an operation stores, and how its weight lies. */
export interface StoredGrid {
  readonly bits: 2 | 4 | 8;
  readonly groupSize: number;
  /** Zero point fixed at 2^(bits−1). */
  readonly symmetric: boolean;
  /** Default: integers among the codes. */
  readonly zeroPoints?: ZeroPoints | undefined;
  readonly scaleType: ScaleDType;
  readonly outputs: number;
  readonly inputs: number;
}

export type PackableOperation = MatMulNBitsOperation | QdqBlockOperation | AffineOperation;

const TYPE_BITS = { int2: 2, uint2: 2, int4: 4, uint4: 4, int8: 8, uint8: 8 } as const;

/**
 * The grid of `operation` for a weight that is stored [inputs, outputs] (`turned`) or [outputs, inputs, …]; undefined where its
 * groups are not runs of consecutive inputs of one output (one scale for the tensor, blocks across the channels of a
 * filter, 7-bit and 16-bit codes).
 */
export function storedGrid(operation: Operation, turned: boolean): StoredGrid | undefined {
  switch (operation.kind) {
    case 'matmul-nbits': {
      if (operation.transposed === turned) return undefined;
      const { bits, blockSize, symmetric, zeroPoints, scaleType, rows, columns } = operation;
      return {
        bits,
        groupSize: blockSize,
        symmetric,
        ...(zeroPoints === 'real' && { zeroPoints }),
        scaleType,
        outputs: columns,
        inputs: rows,
      };
    }
    case 'qdq-block': {
      const { type, blockSize, scaleType, rows, columns, transposed, stored } = operation;
      if (transposed === turned) return undefined;
      // Matrices one behind another: blocks run across the channels of a filter, once for each place of the kernel.
      if (stored !== undefined && !transposed && stored.axis > 0) return undefined;
      const symmetric = !type.startsWith('u');
      return {
        bits: TYPE_BITS[type],
        groupSize: blockSize,
        symmetric,
        scaleType,
        outputs: columns,
        inputs: rows,
      };
    }
    case 'affine': {
      const { type, axis, symmetric, reduceRange, permutation, shape, scaleType } = operation;
      if (type === 'int16' || type === 'uint16' || reduceRange || permutation !== undefined) return undefined;
      if (axis === null || axis !== (turned ? shape.length - 1 : 0)) return undefined;
      const outputs = shape[axis] ?? 0;
      const inputs = (elementCount(shape) ?? 0) / outputs;
      // What symmetric unsigned types store as the middle is no power of two.
      if (symmetric && type.startsWith('u')) return undefined;
      return { bits: TYPE_BITS[type], groupSize: inputs, symmetric, scaleType, outputs, inputs };
    }
    default:
      return undefined;
  }
}

/** Bytes of every part of `operation`, by role. `matrix` must lie on `storedGrid(operation, turned)`. */
export function packMatrix(
  operation: PackableOperation,
  matrix: CodedMatrix,
  turned: boolean,
): Map<PartRole, Uint8Array> {
  switch (operation.kind) {
    case 'matmul-nbits':
      return packMatMulNBits(operation, matrix);
    case 'qdq-block':
      return packQdqBlock(operation, matrix);
    case 'affine':
      return packAffine(operation, matrix, turned);
    default:
      return operation satisfies never;
  }
}

/** Column by column, whole blocks: places behind the last row hold the zero point. */
function packMatMulNBits(operation: MatMulNBitsOperation, matrix: CodedMatrix): Map<PartRole, Uint8Array> {
  const { bits, blockSize, symmetric, scaleType } = operation;
  const { outputs, inputs, codes, scales, zeroPoints } = matrix;
  const blocks = Math.ceil(inputs / blockSize);
  const padded = new Uint8Array(outputs * blocks * blockSize);
  for (let output = 0; output < outputs; output++) {
    const start = output * blocks * blockSize;
    const last = zeroPoints[(output + 1) * blocks - 1]!;
    padded.fill(
      Math.min(2 ** bits - 1, Math.max(0, Math.round(last))),
      start + (blocks - 1) * blockSize,
      start + blocks * blockSize,
    );
    padded.set(codes.subarray(output * inputs, (output + 1) * inputs), start);
  }
  const parts = new Map<PartRole, Uint8Array>([
    ['packed', packBits(padded, bits)],
    ['scales', scaleBytes(scales, scaleType)],
  ]);
  if (operation.zeroPoints === 'real') return parts.set('zeroPoints', scaleBytes(zeroPoints, scaleType));
  if (symmetric) return parts;
  const rowBytes = Math.ceil((blocks * bits) / 8);
  const slots = (rowBytes * 8) / bits;
  const points = new Uint8Array(outputs * slots).fill(1 << (bits - 1));
  for (let output = 0; output < outputs; output++)
    points.set(zeroPoints.subarray(output * blocks, (output + 1) * blocks), output * slots);
  return parts.set('zeroPoints', packBits(points, bits));
}

function packQdqBlock(operation: QdqBlockOperation, matrix: CodedMatrix): Map<PartRole, Uint8Array> {
  const { type, transposed, blockSize, scaleType } = operation;
  const bits = TYPE_BITS[type];
  const signed = !type.startsWith('u');
  const { outputs, inputs, codes, scales, zeroPoints } = matrix;
  const blocks = Math.ceil(inputs / blockSize);
  const data = transposed ? codes : transposeBytes(codes, outputs, inputs);
  const stored = transposed ? scales : transposeFloats(scales, outputs, blocks);
  const parts = new Map<PartRole, Uint8Array>([
    ['data', packBits(signed ? toSigned(data, bits) : data, bits)],
    ['scales', scaleBytes(stored, scaleType)],
  ]);
  if (signed) return parts;
  const points = Uint8Array.from(transposed ? zeroPoints : transposeFloats(zeroPoints, outputs, blocks));
  return parts.set('zeroPoints', packBits(points, bits));
}

function packAffine(
  operation: AffineOperation,
  { outputs, inputs, codes, scales, zeroPoints }: CodedMatrix,
  turned: boolean,
): Map<PartRole, Uint8Array> {
  const { type, scaleType } = operation;
  if (type === 'int16' || type === 'uint16') return new Map();
  const bits = TYPE_BITS[type];
  const signed = !type.startsWith('u');
  const data = turned ? transposeBytes(codes, outputs, inputs) : codes;
  const points = Uint8Array.from(zeroPoints);
  return new Map<PartRole, Uint8Array>([
    ['data', packBits(signed ? toSigned(data, bits) : data, bits)],
    ['scale', scaleBytes(scales, scaleType)],
    ['zeroPoint', packBits(signed ? toSigned(points, bits) : points, bits)],
  ]);
}

/** Two's complement of code − 2^(bits−1), in the low bits of each byte. */
function toSigned(codes: Uint8Array, bits: number): Uint8Array {
  const flip = 1 << (bits - 1);
  return codes.map((code) => code ^ flip);
}

/** One code per byte → packed, the first code in the low bits. */
function packBits(codes: Uint8Array, bits: 2 | 4 | 8): Uint8Array {
  if (bits === 8) return codes.slice();
  const perByte = 8 / bits;
  const mask = (1 << bits) - 1;
  const packed = new Uint8Array(Math.ceil(codes.length / perByte));
  for (let i = 0; i < codes.length; i++)
    packed[Math.floor(i / perByte)]! |= (codes[i]! & mask) << ((i % perByte) * bits);
  return packed;
}

function scaleBytes(scales: Float32Array, type: ScaleDType): Uint8Array {
  const bytes = new Uint8Array(scales.length * (type === 'f16' ? 2 : 4));
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < scales.length; i++) {
    if (type === 'f16') view.setUint16(i * 2, f32ToF16Bits(scales[i]!), true);
    else view.setFloat32(i * 4, scales[i]!, true);
  }
  return bytes;
}

function transposeBytes(values: Uint8Array, rows: number, columns: number): Uint8Array {
  const turned = new Uint8Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++)
      turned[column * rows + row] = values[row * columns + column]!;
  }
  return turned;
}

function transposeFloats(values: Float32Array, rows: number, columns: number): Float32Array {
  const turned = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++)
      turned[column * rows + row] = values[row * columns + column]!;
  }
  return turned;
}
