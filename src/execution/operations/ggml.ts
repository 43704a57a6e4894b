/**
 * Rows of a ggml type to another: each row through f32, tile by tile, in kernel memory from reading to writing. Units are
 * rows; rows are independent, so cuts never change bytes (docs/gguf.md). With importance a tile ends where its matrix does,
 * since each matrix has a slice of its own.
 *
 * What llama-quantize refuses is refused: NaN and Inf among the weights, scales of a source that are none, and values too
 * large for the target, whose scale would become infinite. From a type to itself the bytes are copied, and looked at the same way.
 */

import { GGML_TYPES, type GgmlType, ggmlBytes, isBlockType } from '../../core/ggml-types.ts';
import { WhittleError } from '../../errors.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import { firstBadBlock, firstBadHalf } from '../../numerics/ggml-scales.ts';
import type { GgmlOperation } from '../../numerics/operation.ts';
import {
  arenaBytes,
  bytesOf,
  type OperationContext,
  type OperationRunner,
  tileUnits,
  type Window,
  type WindowResult,
} from './context.ts';
import { importanceReader } from './importance.ts';
import { collectSums } from './sums.ts';

/** Values that make a window of their own worth while. */
const MIN_VALUES = 1 << 18;

export const ggmlRunner: OperationRunner<GgmlOperation> = {
  cut: ({ rows, columns }) => ({
    units: rows,
    align: 1,
    heldBytes: 0,
    minUnits: Math.max(1, Math.ceil(MIN_VALUES / Math.max(1, columns))),
    fine: true,
  }),

  run(operation, window, context) {
    return operation.from === operation.to
      ? copyRows(operation, window, context)
      : convertRows(operation, window, context);
  },
};

async function convertRows(
  operation: GgmlOperation,
  window: Window,
  context: OperationContext,
): Promise<WindowResult> {
  const { from, to, columns, matrixRows } = operation;
  const { kernels, measure } = context;
  for (const type of [from, to]) if (isBlockType(type)) await kernels.prepareBlocks(type);
  const rows = tileUnits(columns * 4, window.end - window.start, 1, context.tileBytes);
  const count = rows * columns;
  const sourceRow = ggmlBytes(from, columns);
  const targetRow = ggmlBytes(to, columns);
  const arena = kernels.arena(
    arenaBytes(
      count * 4,
      from === 'f32' ? 0 : rows * sourceRow,
      to === 'f32' ? 0 : rows * targetRow,
      measure ? count * 4 : 0,
      operation.importance === undefined ? 0 : columns * 4,
    ),
  );
  const values = arena.f32(count);
  const source = from === 'f32' ? bytesOf(values) : arena.u8(rows * sourceRow);
  const target = to === 'f32' ? bytesOf(values) : arena.u8(rows * targetRow);
  const restored = arena.f32(measure ? count : 0);
  const importance = importanceReader(operation, context, arena);
  const collector = collectSums(kernels, measure);
  // Without importance no scale exceeds the largest value, and those of halves fit into halves.
  const alwaysFits = from === 'f16' && importance === undefined;
  let nonFinite = 0;
  for (let row = window.start; row < window.end; ) {
    await context.checkpoint();
    const matrix = Math.floor(row / matrixRows);
    const end = importance === undefined ? window.end : Math.min(window.end, (matrix + 1) * matrixRows);
    const height = Math.min(rows, end - row);
    const part = values.subarray(0, height * columns);
    const input = source.subarray(0, height * sourceRow);
    const output = target.subarray(0, height * targetRow);
    await context.read(row * sourceRow, input);
    if (isBlockType(from)) assertScales(from, input, row * columns, 'the weight');
    const found = decode(kernels, from, input, part) ?? kernels.range(part).nonFinite;
    if (found > 0 && (context.nonFinite === 'error' || isBlockType(to))) {
      throw notFinite(found, part, row * columns);
    }
    nonFinite += found;
    encode(kernels, to, part, columns, await importance?.of(matrix), output);
    if (found === 0 && !alwaysFits) assertStored(to, output, row * columns);
    if (measure) {
      const back = restored.subarray(0, part.length);
      decode(kernels, to, output, back);
      collector.add(part, back);
    }
    await context.write('data', row * targetRow, output);
    row += height;
  }
  return { count: (window.end - window.start) * columns, nonFinite, sums: collector.sums };
}

/** Bytes as they are, refused where they hold no numbers. */
async function copyRows(
  { from, columns }: GgmlOperation,
  window: Window,
  context: OperationContext,
): Promise<WindowResult> {
  const { kernels, measure } = context;
  const rowBytes = ggmlBytes(from, columns);
  const rows = tileUnits(rowBytes, window.end - window.start, 1, context.tileBytes);
  const arena = kernels.arena(arenaBytes(rows * rowBytes));
  const tile = from === 'f32' ? arena.f32(rows * columns) : undefined;
  const bytes = tile === undefined ? arena.u8(rows * rowBytes) : bytesOf(tile);
  for (let row = window.start; row < window.end; row += rows) {
    await context.checkpoint();
    const height = Math.min(rows, window.end - row);
    const part = bytes.subarray(0, height * rowBytes);
    await context.read(row * rowBytes, part);
    if (context.nonFinite === 'error') {
      if (tile !== undefined) {
        const values = tile.subarray(0, height * columns);
        const { nonFinite } = kernels.range(values);
        if (nonFinite > 0) throw notFinite(nonFinite, values, row * columns);
      } else assertStored(from, part, row * columns, 'the weight holds');
    }
    await context.write('data', row * rowBytes, part);
  }
  const count = (window.end - window.start) * columns;
  const sums = measure ? { count, maxAbs: 0, squaredError: 0, squaredA: 0, squaredB: 0, dot: 0 } : undefined;
  return { count, nonFinite: 0, sums };
}

/** Returns how many values are NaN or Inf, where decoding tells. */
function decode(
  kernels: Kernels,
  type: GgmlType,
  source: Uint8Array,
  target: Float32Array,
): number | undefined {
  if (type === 'f16') return kernels.decodeHalves(source, target);
  if (isBlockType(type)) kernels.dequantizeBlocks(type, source, target);
  else if (type === 'bf16') kernels.convert(type, 'f32', source, bytesOf(target), target.length);
  else if (type !== 'f32') throw unsupported(type);
  else if (source.byteOffset !== target.byteOffset || source.buffer !== target.buffer)
    bytesOf(target).set(source);
}

function encode(
  kernels: Kernels,
  type: GgmlType,
  values: Float32Array,
  columns: number,
  importance: Float32Array | undefined,
  target: Uint8Array,
): void {
  if (isBlockType(type)) kernels.quantizeBlocks(type, values, columns, importance, target);
  else if (type === 'f16' || type === 'bf16')
    kernels.convert('f32', type, bytesOf(values), target, values.length);
  else if (type !== 'f32') throw unsupported(type);
}

/** Finite values that the type cannot hold become infinite scales (or halves): nothing to write. */
function assertStored(type: GgmlType, bytes: Uint8Array, firstElement: number, holds?: string): void {
  if (isBlockType(type)) {
    assertScales(type, bytes, firstElement, holds === undefined ? undefined : 'the weight');
  } else if (type === 'f16' || type === 'bf16') {
    const place = firstBadHalf(type, bytes);
    if (place < 0) return;
    const element = firstElement + place;
    throw holds === undefined ? tooLarge(type, element) : notNumber(`${holds} NaN or Inf`, element);
  }
}

function assertScales(
  type: GgmlType,
  bytes: Uint8Array,
  firstElement: number,
  subject: string | undefined,
): void {
  if (!isBlockType(type)) return;
  const block = firstBadBlock(type, bytes);
  if (block < 0) return;
  const element = firstElement + block * GGML_TYPES[type].size;
  if (subject === undefined) throw tooLarge(type, element);
  throw notNumber(`${subject} has a block of ${type} whose scale is NaN or infinite`, element);
}

function notFinite(count: number, values: Float32Array, firstElement: number): WhittleError {
  const place = values.findIndex((value) => !Number.isFinite(value));
  return notNumber(`the weight holds ${values[place] ?? 'NaN'}`, firstElement + place, count);
}

function notNumber(message: string, element: number, count?: number): WhittleError {
  return new WhittleError('E_NONFINITE', `${message} at element ${element}`, {
    expected: 'finite values',
    ...(count !== undefined && {
      found: `${count} value${count === 1 ? '' : 's'} that are NaN or Inf near there`,
    }),
    hint: 'Repair the model or get it again: llama.cpp does not load such values, and block formats have no code for them.',
  });
}

function tooLarge(type: GgmlType, element: number): WhittleError {
  return new WhittleError('E_NONFINITE', `values near element ${element} are too large for ${type}`, {
    expected: 'a scale below 65,536',
    hint: 'Give this tensor a wider type (--tensor-type NAME=bf16).',
  });
}

function unsupported(type: GgmlType): WhittleError {
  return new WhittleError('E_UNSUPPORTED', `${type} holds no weights that can be converted`, {
    expected: 'f32, f16, bf16 or a block type',
    found: `${type} (${GGML_TYPES[type].id})`,
  });
}
