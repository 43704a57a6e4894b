/**
 * Rows of a ggml type to another: each row through f32, tile by tile. Units are rows; rows are independent, so cuts never
 * change bytes (docs/gguf.md).
 */

import { BLOCK_TYPES, GGML_TYPES, type GgmlType, ggmlBytes, isBlockType } from '../../core/ggml-types.ts';
import { WhittleError } from '../../errors.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import type { GgmlOperation } from '../../numerics/operation.ts';
import { arenaBytes, bytesOf, type OperationRunner, tileUnits } from './context.ts';
import { collectSums } from './sums.ts';

export const ggmlRunner: OperationRunner<GgmlOperation> = {
  cut: ({ rows, columns }) => ({
    units: rows,
    align: 1,
    heldBytes: 0,
    minUnits: Math.max(1, Math.ceil((1 << 18) / Math.max(1, columns))),
  }),

  async run({ from, to, columns }, window, context) {
    const { kernels } = context;
    for (const type of [from, to]) if (isBlockType(type)) await kernels.prepareBlocks(type);
    const rows = tileUnits(columns * 4, window.end - window.start, 1, context.tileBytes);
    const count = rows * columns;
    const sourceRow = ggmlBytes(from, columns);
    const targetRow = ggmlBytes(to, columns);
    const arena = kernels.arena(
      arenaBytes(count * 4, rows * sourceRow, rows * targetRow, context.measure ? count * 4 : 0),
    );
    const values = arena.f32(count);
    const source = arena.u8(rows * sourceRow);
    const target = arena.u8(rows * targetRow);
    const restored = arena.f32(context.measure ? count : 0);
    const collector = collectSums(kernels, context.measure);
    for (let row = window.start; row < window.end; row += rows) {
      await context.checkpoint();
      const height = Math.min(rows, window.end - row);
      const part = values.subarray(0, height * columns);
      const input = source.subarray(0, height * sourceRow);
      const output = target.subarray(0, height * targetRow);
      await context.read(row * sourceRow, input);
      decode(kernels, from, input, part);
      const { nonFinite } = kernels.range(part);
      if (nonFinite > 0) throw notFinite(nonFinite);
      encode(kernels, to, part, columns, output);
      if (context.measure) {
        const back = restored.subarray(0, part.length);
        decode(kernels, to, output, back);
        collector.add(part, back);
      }
      await context.write('data', row * targetRow, output);
    }
    return { count: (window.end - window.start) * columns, nonFinite: 0, sums: collector.sums };
  },
};

function decode(kernels: Kernels, type: GgmlType, source: Uint8Array, target: Float32Array): void {
  if (isBlockType(type)) kernels.dequantizeBlocks(type, source, target);
  else if (type === 'f32') bytesOf(target).set(source);
  else if (type === 'f16' || type === 'bf16')
    kernels.convert(type, 'f32', source, bytesOf(target), target.length);
  else throw unsupported(type);
}

function encode(
  kernels: Kernels,
  type: GgmlType,
  values: Float32Array,
  columns: number,
  target: Uint8Array,
): void {
  if (isBlockType(type)) kernels.quantizeBlocks(type, values, columns, undefined, target);
  else if (type === 'f32') target.set(bytesOf(values));
  else if (type === 'f16' || type === 'bf16')
    kernels.convert('f32', type, bytesOf(values), target, values.length);
  else throw unsupported(type);
}

function unsupported(type: GgmlType): WhittleError {
  return new WhittleError('E_UNSUPPORTED', `${type} holds no weights that can be converted`, {
    expected: [...Object.keys(BLOCK_TYPES), 'f32', 'f16', 'bf16'].join(', '),
    found: `${type} (${GGML_TYPES[type].id})`,
  });
}

function notFinite(count: number): WhittleError {
  return new WhittleError('E_NONFINITE', 'the weight holds NaN or infinite values', {
    found: `${count} of them in one tile`,
    hint: 'Repair the model: the block formats have no code for them.',
  });
}
