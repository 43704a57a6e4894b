/**
 * GatherBlockQuantized (docs/onnx.md 3.4): a table [rows, columns] in blocks along its columns; windows are ranges of rows.
 *
 * 'uint8' packs every row by itself; symmetric codes have an implicit zero point of 8 or 128, as the kernel gives them.
 * 'typed' stores INT4/UINT4 tensors packed flat, so that two rows may share a byte; symmetric codes become signed.
 */

import type { BlockOptions } from '../../kernels/kernels.ts';
import type { GatherBlockOperation } from '../../numerics/operation.ts';
import { arenaBytes, type OperationContext, type OperationRunner, tileUnits } from './context.ts';
import { checkFinite, createLoader, scratchBytes } from './load.ts';
import { writeCodes } from './qdq-block.ts';
import { storedScales, workingScaleType, writeScales } from './scales.ts';
import { collectSums } from './sums.ts';

function blocksOf({ columns, blockSize }: GatherBlockOperation): number {
  return Math.ceil(columns / blockSize);
}

function alignment(operation: GatherBlockOperation): number {
  if (operation.storage === 'uint8') return 1;
  return operation.columns % 2 === 0 && blocksOf(operation) % 2 === 0 ? 1 : 2;
}

export const gatherBlockRunner: OperationRunner<GatherBlockOperation> = {
  cut: (operation) => ({
    units: operation.rows,
    align: alignment(operation),
    heldBytes: 0,
    minUnits: alignment(operation),
  }),

  async run(operation, window, context) {
    const { columns, bits, blockSize, symmetric, storage, from } = operation;
    const { kernels } = context;
    const blocks = blocksOf(operation);
    const step = tileUnits(columns * 4, window.end - window.start, alignment(operation), context.tileBytes);
    const elements = step * columns;
    const arena = kernels.arena(
      arenaBytes(
        elements * 4,
        scratchBytes(from, elements),
        elements,
        step * blocks * 4,
        step * blocks,
        context.measure ? elements * 4 : 0,
      ),
    );
    const values = arena.f32(elements);
    const loader = createLoader(context, from, arena, elements);
    const codes = arena.u8(elements);
    const scales = arena.f32(step * blocks);
    const zeroPoints = arena.u8(step * blocks);
    const restored = arena.f32(context.measure ? elements : 0);
    const collector = collectSums(kernels, context.measure);
    const options: BlockOptions = {
      rule: 'gather',
      bits,
      blockSize,
      symmetric,
      scaleType: workingScaleType(operation),
    };
    let nonFinite = 0;
    for (let row = window.start; row < window.end; row += step) {
      await context.checkpoint();
      const rows = Math.min(step, window.end - row);
      const tile = values.subarray(0, rows * columns);
      const tileCodes = codes.subarray(0, tile.length);
      const tileScales = scales.subarray(0, rows * blocks);
      const tileZeroPoints = zeroPoints.subarray(0, rows * blocks);
      await loader.contiguous(row * columns, tile);
      const bad = kernels.quantizeRowBlocks(
        tile,
        rows,
        columns,
        options,
        tileCodes,
        tileScales,
        tileZeroPoints,
      );
      nonFinite += bad;
      checkFinite(context, bad, tile, (place) => row * columns + place);
      if (context.measure) {
        const back = restored.subarray(0, tile.length);
        kernels.dequantizeRowBlocks(
          tileCodes,
          false,
          bits,
          rows,
          columns,
          blockSize,
          storedScales(context, operation, tileScales),
          symmetric ? undefined : tileZeroPoints,
          1 << (bits - 1),
          back,
        );
        collector.add(tile, back);
      }
      if (storage === 'typed') {
        if (symmetric) makeSigned(tileCodes, bits);
        const room = new Uint8Array(Math.ceil(tile.length / 2));
        await writeCodes(context, 'data', row * columns, bits, tileCodes, room);
        if (!symmetric) await writeCodes(context, 'zeroPoints', row * blocks, bits, tileZeroPoints, room);
      } else {
        await writeRows(context, 'data', row, columns, bits, tileCodes);
        if (!symmetric) await writeRows(context, 'zeroPoints', row, blocks, bits, tileZeroPoints);
      }
      await writeScales(context, operation, 'scales', row * blocks, tileScales);
    }
    return { count: (window.end - window.start) * columns, nonFinite, sums: collector.sums };
  },
};

/** Codes with their zero in the middle to two's complement. */
function makeSigned(codes: Uint8Array, bits: 4 | 8): void {
  const middle = 1 << (bits - 1);
  const mask = (1 << bits) - 1;
  for (let i = 0; i < codes.length; i++) codes[i] = (codes[i]! ^ middle) & mask;
}

/** Packs every row by itself; a row of odd length ends in a byte whose high slot is 0. */
async function writeRows(
  context: OperationContext,
  role: 'data' | 'zeroPoints',
  row: number,
  rowLength: number,
  bits: 4 | 8,
  codes: Uint8Array,
): Promise<void> {
  const rowBytes = Math.ceil((rowLength * bits) / 8);
  if (bits === 8) return context.write(role, row * rowBytes, codes);
  const slots = rowBytes * 2;
  const rows = codes.length / rowLength;
  const bytes = new Uint8Array(rows * rowBytes);
  if (slots === rowLength) {
    context.kernels.packBits(codes, bits, 'lowFirst', bytes);
  } else {
    const padded = new Uint8Array(rows * slots);
    for (let r = 0; r < rows; r++) padded.set(codes.subarray(r * rowLength, (r + 1) * rowLength), r * slots);
    context.kernels.packBits(padded, bits, 'lowFirst', bytes);
  }
  return context.write(role, row * rowBytes, bytes);
}
