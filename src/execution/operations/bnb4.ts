/**
 * MatMulBnb4 (docs/onnx.md 3.3): the transposed weight [N, K] as one run of values, in blocks that cross its rows, two codes
 * to a byte with the first in the high nibble.
 *
 * A window is a range of columns of W (rows of the transposed weight) that starts where a block and a byte start; of a
 * row-major [K, N] weight it is gathered, turned tile by tile, in memory.
 */

import { FP4_LEVELS, NF4_LEVELS } from '../../numerics/encodings/codebooks.ts';
import type { Bnb4Operation } from '../../numerics/operation.ts';
import {
  arenaBytes,
  bytesOf,
  greatestCommonDivisor,
  type OperationContext,
  type OperationRunner,
  tileUnits,
  type Window,
} from './context.ts';
import { checkFinite, createLoader, type Loader, scratchBytes } from './load.ts';
import { storedScales, writeScales } from './scales.ts';
import { collectSums } from './sums.ts';

/** Columns between two places where a block starts with a column. */
function alignment({ rows, blockSize }: Bnb4Operation): number {
  const even = blockSize % 2 === 0 ? blockSize : blockSize * 2;
  return Math.max(1, even / greatestCommonDivisor(even, rows));
}

/** Values that are gathered at once: rows of a panel this wide are read in pieces that are not too short. */
const STEP_BYTES = 8 << 20;

export const bnb4Runner: OperationRunner<Bnb4Operation> = {
  cut(operation) {
    const align = alignment(operation);
    return {
      units: operation.columns,
      align,
      heldBytes: operation.rows * 0.625,
      minUnits: operation.transposed ? align : Math.max(align, 256),
    };
  },

  async run(operation, window, context) {
    const { rows, transposed, codebook, blockSize, from } = operation;
    const { kernels } = context;
    const align = alignment(operation);
    const step = tileUnits(
      rows * 4,
      window.end - window.start,
      align,
      transposed ? context.tileBytes : STEP_BYTES,
    );
    const elements = rows * step;
    const tileRows = tileUnits(step * 4, rows, 16, context.tileBytes);
    const gathered = transposed ? 0 : tileRows * step;
    const blocks = Math.ceil(elements / blockSize);
    const arena = kernels.arena(
      arenaBytes(
        elements * 4,
        gathered * 4,
        gathered * 4,
        scratchBytes(from, transposed ? elements : gathered),
        elements,
        blocks * 4,
        elements / 2 + 1,
        context.measure ? elements * 4 : 0,
      ),
    );
    const values = arena.f32(elements);
    const tile = arena.f32(gathered);
    const turned = arena.f32(gathered);
    const loader = createLoader(context, from, arena, transposed ? elements : gathered);
    const codes = arena.u8(elements);
    const absmax = arena.f32(blocks);
    const packed = arena.u8(Math.ceil(elements / 2));
    const restored = arena.f32(context.measure ? elements : 0);
    const collector = collectSums(kernels, context.measure);
    let nonFinite = 0;
    for (let column = window.start; column < window.end; column += step) {
      const end = Math.min(column + step, window.end);
      const count = rows * (end - column);
      const run = values.subarray(0, count);
      await gather(operation, { start: column, end }, context, loader, {
        values: run,
        tile,
        turned,
        tileRows,
      });
      const used = Math.ceil(count / blockSize);
      const bad = kernels.quantizeBnb4(
        run,
        blockSize,
        codebook,
        codes.subarray(0, count),
        absmax.subarray(0, used),
      );
      nonFinite += bad;
      checkFinite(context, bad, run, (place) => {
        const row = place % rows;
        const at = column + Math.floor(place / rows);
        return transposed ? at * rows + row : row * operation.columns + at;
      });
      const bytes = packed.subarray(0, Math.ceil(count / 2));
      kernels.packBits(codes.subarray(0, count), 4, 'highFirst', bytes);
      if (count % 2 === 1) {
        // The code of zero fills the last low nibble.
        const last = bytes.length - 1;
        bytes[last] = (bytes[last]! & 0xf0) | (codebook === 'nf4' ? 7 : 0);
      }
      if (context.measure) {
        const back = restored.subarray(0, count);
        restore(
          codes.subarray(0, count),
          storedScales(context, operation, absmax.subarray(0, used)),
          blockSize,
          codebook,
          back,
        );
        collector.add(run, back);
      }
      const first = column * rows;
      await context.write('packed', first / 2, bytes);
      await writeScales(context, operation, 'absmax', first / blockSize, absmax.subarray(0, used));
    }
    return { count: rows * (window.end - window.start), nonFinite, sums: collector.sums };
  },
};

interface Workspace {
  readonly values: Float32Array;
  readonly tile: Float32Array;
  readonly turned: Float32Array;
  readonly tileRows: number;
}

/** Fills `values` with rows [start, end) of the transposed weight. */
async function gather(
  operation: Bnb4Operation,
  { start, end }: Window,
  context: OperationContext,
  loader: Loader,
  { values, tile, turned, tileRows }: Workspace,
): Promise<void> {
  const { rows, columns, transposed } = operation;
  if (transposed) {
    await context.checkpoint();
    return loader.contiguous(start * rows, values);
  }
  const width = end - start;
  for (let row = 0; row < rows; row += tileRows) {
    await context.checkpoint();
    const height = Math.min(tileRows, rows - row);
    const piece = tile.subarray(0, height * width);
    await loader.panel(row, height, start, end, columns, piece);
    const columnMajor = turned.subarray(0, piece.length);
    context.kernels.transpose(bytesOf(piece), height, width, 4, bytesOf(columnMajor));
    for (let c = 0; c < width; c++) {
      values.set(columnMajor.subarray(c * height, (c + 1) * height), c * rows + row);
    }
  }
}

const FP4 = Float32Array.from({ length: 16 }, (_, code) =>
  code < 8 ? FP4_LEVELS[code]! : -FP4_LEVELS[code - 8]!,
);

/** x = level(code) · absmax of its block, in f32. */
export function restore(
  codes: Uint8Array,
  absmax: Float32Array,
  blockSize: number,
  codebook: 'nf4' | 'fp4',
  target: Float32Array,
): void {
  const levels = codebook === 'nf4' ? NF4_LEVELS : FP4;
  for (let i = 0; i < codes.length; i++) {
    target[i] = levels[codes[i]! & 15]! * absmax[Math.floor(i / blockSize)]!;
  }
}
