/**
 * Codes, scales and zero points of a matrix → the bytes of the parts that `operationParts` names, for the operations that
 * stored-grid.ts knows: MatMulNBits, GatherBlockQuantized, blocked and per-channel DequantizeLinear, MatMulInteger's weights, and
 * MatMulBnb4 (docs/onnx.md 3.1 to 3.4, 3.6). An algorithm that chooses codes by itself writes the same form as the encoders do.
 *
 * Codes of grids are unsigned, 0 … 2^bits − 1, and types with a sign store code − 2^(bits−1).
 */

import { f32ToF16Bits } from '../core/floats.ts';
import type {
  AffineOperation,
  Bnb4Operation,
  GatherBlockOperation,
  MatMulNBitsOperation,
  PartRole,
  QdqBlockOperation,
  ScaleDType,
} from './operation.ts';
import { behindAxis, TYPE_BITS } from './stored-grid.ts';

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

export type PackableOperation =
  | MatMulNBitsOperation
  | QdqBlockOperation
  | GatherBlockOperation
  | AffineOperation;

/** Bytes of every part of `operation`, by role. `matrix` must lie on `storedGrid(operation, turned)` or `plainGrid(operation)`. */
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
    case 'gather-block':
      return packGatherBlock(operation, matrix);
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
  const { type, transposed, rows, columns, blockSize, scaleType } = operation;
  const bits = TYPE_BITS[type];
  const signed = !type.startsWith('u');
  const { codes, scales, zeroPoints } = matrix;
  const blocks = Math.ceil(rows / blockSize);
  // Of filters every matrix is turned by itself; else there is one.
  const width = behindAxis(operation) ? columns : matrix.outputs;
  const stored = (values: Uint8Array, length: number): Uint8Array =>
    transposed ? values : transposeEach(values, width, length, new Uint8Array(values.length));
  const parameters = (values: Float32Array): Float32Array =>
    transposed ? values : transposeEach(values, width, blocks, new Float32Array(values.length));
  const data = stored(codes, rows);
  const parts = new Map<PartRole, Uint8Array>([
    ['data', packBits(signed ? toSigned(data, bits) : data, bits)],
    ['scales', scaleBytes(parameters(scales), scaleType)],
  ]);
  if (signed) return parts;
  return parts.set('zeroPoints', packBits(Uint8Array.from(parameters(zeroPoints)), bits));
}

function packGatherBlock(
  { bits, blockSize, symmetric, storage, scaleType }: GatherBlockOperation,
  { outputs, inputs, codes, scales, zeroPoints }: CodedMatrix,
): Map<PartRole, Uint8Array> {
  const blocks = Math.ceil(inputs / blockSize);
  const points = Uint8Array.from(zeroPoints);
  const typed = storage === 'typed';
  const parts = new Map<PartRole, Uint8Array>([
    [
      'data',
      typed
        ? packBits(symmetric ? toSigned(codes, bits) : codes, bits)
        : packRows(codes, outputs, inputs, bits),
    ],
    ['scales', scaleBytes(scales, scaleType)],
  ]);
  if (symmetric) return parts;
  return parts.set('zeroPoints', typed ? packBits(points, bits) : packRows(points, outputs, blocks, bits));
}

function packAffine(
  operation: AffineOperation,
  { outputs, inputs, codes, scales, zeroPoints }: CodedMatrix,
  turned: boolean,
): Map<PartRole, Uint8Array> {
  const { type, permutation, reduceRange, scaleType } = operation;
  if (type === 'int16' || type === 'uint16') return new Map();
  const bits = TYPE_BITS[type];
  const used = reduceRange ? 7 : bits;
  const signed = !type.startsWith('u');
  const other = turned !== (permutation !== undefined);
  const data = other ? transposeEach(codes, outputs, inputs, new Uint8Array(codes.length)) : codes;
  const points = Uint8Array.from(zeroPoints);
  return new Map<PartRole, Uint8Array>([
    ['data', packBits(signed ? toSigned(data, used) : data, bits)],
    ['scale', scaleBytes(scales, scaleType)],
    ['zeroPoint', packBits(signed ? toSigned(points, used) : points, bits)],
  ]);
}

/** Two codes to a byte, the first in the high nibble; the code of zero fills the last. */
export function packCodebook(
  { codebook, scaleType }: Bnb4Operation,
  { codes, scales }: { readonly codes: Uint8Array; readonly scales: Float32Array },
): Map<PartRole, Uint8Array> {
  const packed = new Uint8Array(Math.ceil(codes.length / 2));
  const filler = codebook === 'nf4' ? 7 : 0;
  for (let i = 0; i < packed.length; i++)
    packed[i] = (codes[2 * i]! << 4) | (2 * i + 1 < codes.length ? codes[2 * i + 1]! : filler);
  return new Map<PartRole, Uint8Array>([
    ['packed', packed],
    ['absmax', scaleBytes(scales, scaleType)],
  ]);
}

/** Two's complement of code − 2^(bits−1). */
function toSigned(codes: Uint8Array, bits: number): Uint8Array {
  const middle = 1 << (bits - 1);
  return codes.map((code) => code - middle);
}

/** Codes of each row packed by themselves, in whole bytes. */
function packRows(codes: Uint8Array, rows: number, length: number, bits: 2 | 4 | 8): Uint8Array {
  const rowBytes = Math.ceil((length * bits) / 8);
  const packed = new Uint8Array(rows * rowBytes);
  for (let row = 0; row < rows; row++)
    packed.set(packBits(codes.subarray(row * length, (row + 1) * length), bits), row * rowBytes);
  return packed;
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

/** Matrices [rows, columns] one behind another, each turned into [columns, rows]. */
function transposeEach<A extends Uint8Array | Float32Array>(
  values: A,
  rows: number,
  columns: number,
  turned: A,
): A {
  const size = rows * columns;
  for (let start = 0; start < values.length; start += size) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++)
        turned[start + column * rows + row] = values[start + row * columns + column]!;
    }
  }
  return turned;
}
