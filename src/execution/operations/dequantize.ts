/**
 * The inverse of the quantizing operations: codes, scales and zero points → f32 or f16 values, tile by tile. Windows are
 * columns of a matrix (MatMulNBits, bnb4), rows of a table, or the whole tensor.
 */

import { DTYPES } from '../../core/dtype.ts';
import { elementCount } from '../../core/shape.ts';
import type { Arena } from '../../kernels/kernels.ts';
import type {
  DequantizeBnb4,
  DequantizeCast,
  DequantizeGatherBlock,
  DequantizeMatMulNBits,
  DequantizeOperation,
  ValueDType,
} from '../../numerics/dequantize-operation.ts';
import type { PartRole } from '../../numerics/operation.ts';
import { restore } from './bnb4.ts';
import {
  arenaBytes,
  bytesOf,
  type Cut,
  greatestCommonDivisor,
  tileUnits,
  type Window,
  type WindowResult,
} from './context.ts';
import { runDequantizeAffine } from './dequantize-affine.ts';
import { type DequantizeContext, readScales, writeValues } from './dequantize-parts.ts';

/** Values of one step of a panel: rows of it are written separately, so they should not be short. */
const PANEL_BYTES = 4 << 20;

export function dequantizeCut(operation: DequantizeOperation): Cut {
  switch (operation.kind) {
    case 'matmul-nbits':
      return { units: operation.columns, align: 1, heldBytes: 0, minUnits: 256 };
    case 'bnb4': {
      const align = bnb4Alignment(operation);
      return { units: operation.columns, align, heldBytes: 0, minUnits: Math.max(align, 256) };
    }
    case 'gather-block':
      return { units: operation.rows, align: gatherAlignment(operation), heldBytes: 0, minUnits: 2 };
    case 'cast': {
      const units = operation.scaled && operation.axis !== null ? 1 : (elementCount(operation.shape) ?? 0);
      return { units, align: 1024, heldBytes: 0, minUnits: 1 << 20 };
    }
    case 'affine':
      return { units: 1, align: 1, heldBytes: 0, minUnits: 1 };
    default:
      return operation satisfies never;
  }
}

export function runDequantize(
  operation: DequantizeOperation,
  window: Window,
  context: DequantizeContext,
): Promise<WindowResult> {
  switch (operation.kind) {
    case 'matmul-nbits':
      return runMatMulNBits(operation, window, context);
    case 'bnb4':
      return runBnb4(operation, window, context);
    case 'gather-block':
      return runGatherBlock(operation, window, context);
    case 'cast':
      return runCast(operation, window, context);
    case 'affine':
      return runDequantizeAffine(operation, context);
    default:
      return operation satisfies never;
  }
}

interface Panel {
  readonly rows: number;
  readonly columns: number;
  readonly transposed: boolean;
  readonly to: ValueDType;
}

/** Writes columns [start, start + n) of W, given as [n, K], in the stored order of the result. */
async function writeColumns(
  context: DequantizeContext,
  { rows, columns, transposed, to }: Panel,
  start: number,
  values: Float32Array,
  turned: Float32Array,
): Promise<void> {
  if (transposed) return writeValues(context, to, start * rows, values);
  const width = values.length / rows;
  const rowMajor = turned.subarray(0, values.length);
  context.kernels.transpose(bytesOf(values), width, rows, 4, bytesOf(rowMajor));
  if (width === columns) return writeValues(context, to, 0, rowMajor);
  for (let row = 0; row < rows; row++) {
    await writeValues(context, to, row * columns + start, rowMajor.subarray(row * width, (row + 1) * width));
  }
}

async function runMatMulNBits(
  operation: DequantizeMatMulNBits,
  window: Window,
  context: DequantizeContext,
): Promise<WindowResult> {
  const { rows, bits, blockSize, scaleType, zeroPoints } = operation;
  const { kernels } = context;
  const blocks = Math.ceil(rows / blockSize);
  const slots = blocks * blockSize;
  const stride = (slots * bits) / 8;
  const zeroStride = Math.ceil((blocks * bits) / 8);
  const step = tileUnits(slots * 4, window.end - window.start, 4, PANEL_BYTES);
  const arena: Arena = kernels.arena(
    arenaBytes(step * stride, step * slots, step * slots * 4, step * rows * 4, step * rows * 4),
  );
  const packed = arena.u8(step * stride);
  const codes = arena.u8(step * slots);
  const padded = arena.f32(step * slots);
  const values = arena.f32(step * rows);
  const turned = arena.f32(step * rows);
  for (let column = window.start; column < window.end; column += step) {
    await context.checkpoint();
    const width = Math.min(step, window.end - column);
    const bytes = packed.subarray(0, width * stride);
    await context.read('packed', column * stride, bytes);
    const scales = await readScales(context, 'scales', scaleType, column * blocks, width * blocks);
    const used = codes.subarray(0, width * slots);
    kernels.unpackBits(bytes, bits, 'lowFirst', used);
    const out = padded.subarray(0, used.length);
    if (zeroPoints === 'real') {
      const zeros = await readScales(context, 'zeroPoints', scaleType, column * blocks, width * blocks);
      restoreReal(used, scales, zeros, blockSize, out);
    } else {
      const points = zeroPoints
        ? await readRows(context, 'zeroPoints', column, width, blocks, zeroStride, bits)
        : undefined;
      const middle = 1 << (bits - 1);
      kernels.dequantizeRowBlocks(used, false, bits, width, slots, blockSize, scales, points, middle, out);
    }
    for (let c = 0; c < width; c++) values.set(out.subarray(c * slots, c * slots + rows), c * rows);
    await writeColumns(context, operation, column, values.subarray(0, width * rows), turned);
  }
  return { count: rows * (window.end - window.start), nonFinite: 0 };
}

/** f32((code − zero) · scale) of whole blocks, with zeros that are no codes. */
export function restoreReal(
  codes: Uint8Array,
  scales: Float32Array,
  zeros: Float32Array,
  blockSize: number,
  values: Float32Array,
): void {
  for (let block = 0, at = 0; block < scales.length; block++) {
    const scale = scales[block]!;
    const zero = zeros[block]!;
    for (const end = at + blockSize; at < end; at++) values[at] = Math.fround(codes[at]! - zero) * scale;
  }
}

/** Codes of `rows` rows that are each packed into `rowBytes`, one per byte without the unused slots. */
async function readRows(
  context: DequantizeContext,
  role: PartRole,
  row: number,
  rows: number,
  rowLength: number,
  rowBytes: number,
  bits: 2 | 4 | 8,
): Promise<Uint8Array> {
  const packed = new Uint8Array(rows * rowBytes);
  await context.read(role, row * rowBytes, packed);
  const slots = (rowBytes * 8) / bits;
  const padded = new Uint8Array(rows * slots);
  context.kernels.unpackBits(packed, bits, 'lowFirst', padded);
  if (slots === rowLength) return padded;
  const codes = new Uint8Array(rows * rowLength);
  for (let r = 0; r < rows; r++) codes.set(padded.subarray(r * slots, r * slots + rowLength), r * rowLength);
  return codes;
}

/** Columns between two places where a block and a byte start with a column. */
function bnb4Alignment({ rows, blockSize }: DequantizeBnb4): number {
  const even = blockSize % 2 === 0 ? blockSize : blockSize * 2;
  return Math.max(1, even / greatestCommonDivisor(even, rows));
}

async function runBnb4(
  operation: DequantizeBnb4,
  window: Window,
  context: DequantizeContext,
): Promise<WindowResult> {
  const { rows, blockSize, codebook, scaleType } = operation;
  const { kernels } = context;
  const step = tileUnits(rows * 4, window.end - window.start, bnb4Alignment(operation), PANEL_BYTES);
  const elements = step * rows;
  const arena = kernels.arena(arenaBytes(elements / 2 + 1, elements, elements * 4, elements * 4));
  const packed = arena.u8(Math.ceil(elements / 2));
  const codes = arena.u8(elements);
  const values = arena.f32(elements);
  const turned = arena.f32(elements);
  for (let column = window.start; column < window.end; column += step) {
    await context.checkpoint();
    const count = rows * Math.min(step, window.end - column);
    const first = column * rows;
    const bytes = packed.subarray(0, Math.ceil(count / 2));
    await context.read('packed', first / 2, bytes);
    const absmax = await readScales(
      context,
      'absmax',
      scaleType,
      first / blockSize,
      Math.ceil(count / blockSize),
    );
    kernels.unpackBits(bytes, 4, 'highFirst', codes.subarray(0, count));
    restore(codes.subarray(0, count), absmax, blockSize, codebook, values.subarray(0, count));
    await writeColumns(context, operation, column, values.subarray(0, count), turned);
  }
  return { count: rows * (window.end - window.start), nonFinite: 0 };
}

function gatherAlignment({ columns, blockSize, storage }: DequantizeGatherBlock): number {
  if (storage === 'uint8') return 1;
  return columns % 2 === 0 && Math.ceil(columns / blockSize) % 2 === 0 ? 1 : 2;
}

async function runGatherBlock(
  operation: DequantizeGatherBlock,
  window: Window,
  context: DequantizeContext,
): Promise<WindowResult> {
  const { columns, bits, blockSize, storage, signed, scaleType, zeroPoints, to } = operation;
  const { kernels } = context;
  const blocks = Math.ceil(columns / blockSize);
  const step = tileUnits(
    columns * 4,
    window.end - window.start,
    gatherAlignment(operation),
    context.tileBytes,
  );
  const values = new Float32Array(step * columns);
  const codesOf = (role: PartRole, row: number, rows: number, length: number): Promise<Uint8Array> =>
    storage === 'uint8'
      ? readRows(context, role, row, rows, length, Math.ceil((length * bits) / 8), bits)
      : readFlat(context, role, row * length, rows * length, bits);
  for (let row = window.start; row < window.end; row += step) {
    await context.checkpoint();
    const rows = Math.min(step, window.end - row);
    const codes = await codesOf('data', row, rows, columns);
    const scales = await readScales(context, 'scales', scaleType, row * blocks, rows * blocks);
    const points = zeroPoints ? await codesOf('zeroPoints', row, rows, blocks) : undefined;
    const out = values.subarray(0, rows * columns);
    // Typed tensors have no implicit zero point; bytes have their middle code.
    const zero = storage === 'typed' ? 0 : 1 << (bits - 1);
    kernels.dequantizeRowBlocks(codes, signed, bits, rows, columns, blockSize, scales, points, zero, out);
    await writeValues(context, to, row * columns, out);
  }
  return { count: (window.end - window.start) * columns, nonFinite: 0 };
}

/** Codes [index, index + count) of a flat packed part; `index` starts a byte. */
async function readFlat(
  context: DequantizeContext,
  role: PartRole,
  index: number,
  count: number,
  bits: 2 | 4 | 8,
): Promise<Uint8Array> {
  const packed = new Uint8Array(Math.ceil((count * bits) / 8));
  await context.read(role, (index * bits) / 8, packed);
  const codes = new Uint8Array(count);
  context.kernels.unpackBits(packed, bits, 'lowFirst', codes);
  return codes;
}

async function runCast(
  operation: DequantizeCast,
  window: Window,
  context: DequantizeContext,
): Promise<WindowResult> {
  const { shape, from, scaled, axis, scaleType, to } = operation;
  const { kernels } = context;
  const count = elementCount(shape) ?? 0;
  const perChannel = scaled && axis !== null;
  const start = perChannel ? 0 : window.start;
  const end = perChannel ? count : window.end;
  const channels = axis === null ? 1 : (shape[axis] ?? 1);
  const inner = axis === null ? count : shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const scales = scaled ? await readScales(context, 'scales', scaleType, 0, channels) : undefined;
  const size = DTYPES[from].bits / 8;
  const tile = Math.max(1024, Math.floor(context.tileBytes / 4));
  const raw = new Uint8Array(tile * size);
  const values = new Float32Array(tile);
  for (let first = start; first < end; first += tile) {
    await context.checkpoint();
    const out = values.subarray(0, Math.min(tile, end - first));
    const bytes = raw.subarray(0, out.length * size);
    await context.read('data', first * size, bytes);
    if (from === 'f32') bytesOf(out).set(bytes);
    else kernels.convert(from, 'f32', bytes, bytesOf(out), out.length);
    if (scales !== undefined) {
      for (let i = 0; i < out.length; i++) {
        out[i] = out[i]! * scales[Math.floor((first + i) / inner) % channels]!;
      }
    }
    await writeValues(context, to, first, out);
  }
  return { count: end - start, nonFinite: 0 };
}
