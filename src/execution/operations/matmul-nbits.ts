/**
 * MatMulNBits (docs/onnx.md 3.1): blocks of B rows down each column of W[K, N], codes stored column by column.
 *
 * A window is a range of columns, whose packed bytes are contiguous in the file; it holds them all (K·bits/8 each) while
 * tiles of whole runs of rows stream by, so that every input byte is read once. A stored [N, K] weight is turned tile by
 * tile and takes the same path, hence gives the same bytes.
 */

import type { Arena, BlockOptions } from '../../kernels/kernels.ts';
import type { MatMulNBitsOperation } from '../../numerics/operation.ts';
import {
  arenaBytes,
  bytesOf,
  type OperationContext,
  type OperationRunner,
  tileUnits,
  type Window,
} from './context.ts';
import { checkFinite, createLoader, type Loader, scratchBytes } from './load.ts';
import { storedScales, workingScaleType, writeScales } from './scales.ts';
import { collectSums, type SumsCollector } from './sums.ts';

/** Columns below which the reads of a row-major panel get too short to be quick. */
const MIN_PANEL = 256;

interface Sizes {
  readonly blocks: number;
  readonly blockBytes: number;
  /** Packed bytes of one column. */
  readonly stride: number;
}

function sizesOf({ rows, blockSize, bits }: MatMulNBitsOperation): Sizes {
  const blocks = Math.ceil(rows / blockSize);
  const blockBytes = (blockSize * bits) / 8;
  return { blocks, blockBytes, stride: blocks * blockBytes };
}

export const matMulNBitsRunner: OperationRunner<MatMulNBitsOperation> = {
  cut(operation) {
    const { blocks, stride } = sizesOf(operation);
    return {
      units: operation.columns,
      align: 1,
      heldBytes:
        stride + blocks * (4 + (operation.scaleType === 'f16' ? 2 : 0) + (operation.symmetric ? 0 : 2)),
      minUnits: operation.transposed ? 16 : MIN_PANEL,
    };
  },

  async run(operation, window, context) {
    const { rows, columns, transposed, bits, blockSize, symmetric, from } = operation;
    const { kernels } = context;
    const sizes = sizesOf(operation);
    const { blocks, stride } = sizes;
    const width = window.end - window.start;
    const tile = tileShape(operation, width, context.tileBytes);
    const elements = tile.rows * tile.columns;
    const arena = kernels.arena(
      arenaBytes(
        width * stride,
        width * blocks * 4,
        symmetric ? 0 : width * blocks,
        elements * 4,
        transposed ? elements * 4 : 0,
        scratchBytes(from, elements),
        ...(context.measure ? measureSizes(operation, tile) : []),
      ),
    );
    const packed = arena.u8(width * stride);
    const scales = arena.f32(width * blocks);
    const zeroPoints = arena.u8(symmetric ? 0 : width * blocks);
    const values = arena.f32(elements);
    const turned = arena.f32(transposed ? elements : 0);
    const loader = createLoader(context, from, arena, elements);
    const collector = collectSums(kernels, context.measure);
    const measure = context.measure ? createMeasure(operation, tile, context, arena, collector) : undefined;
    const options: BlockOptions = {
      rule: 'nbits',
      bits,
      blockSize,
      symmetric,
      scaleType: workingScaleType(operation),
    };
    let nonFinite = 0;
    for await (const piece of tiles(operation, window, tile, context, loader, values, turned)) {
      const at = piece.column - window.start;
      const firstBlock = piece.row / blockSize;
      const bad = kernels.quantizeColumnBlocks(
        piece.values,
        piece.rows,
        piece.columns,
        options,
        packed.subarray(at * stride),
        stride,
        scales.subarray(at * blocks),
        blocks,
        zeroPoints.subarray(at * blocks),
        firstBlock,
      );
      nonFinite += bad;
      checkFinite(context, bad, piece.values, (place) => {
        const row = piece.row + Math.floor(place / piece.columns);
        const column = piece.column + (place % piece.columns);
        return transposed ? column * rows + row : row * columns + column;
      });
      measure?.(piece, at, packed, stride, scales, zeroPoints);
    }
    await context.write('packed', window.start * stride, packed);
    await writeScales(context, operation, 'scales', window.start * blocks, scales);
    if (!symmetric) {
      const bytes = packZeroPoints(operation, width, zeroPoints, context);
      await context.write('zeroPoints', window.start * Math.ceil((blocks * bits) / 8), bytes);
    }
    return { count: rows * width, nonFinite, sums: collector.sums };
  },
};

interface TileShape {
  readonly rows: number;
  readonly columns: number;
}

/** Rows in whole runs of (8 / bits)·B, since the tail of a ragged block looks back within its run. */
function tileShape(operation: MatMulNBitsOperation, width: number, tileBytes: number): TileShape {
  const { rows, blockSize, bits, transposed } = operation;
  if (transposed) return { rows, columns: tileUnits(rows * 4, width, 4, tileBytes) };
  return { rows: tileUnits(width * 4, rows, (8 / bits) * blockSize, tileBytes), columns: width };
}

interface Tile {
  /** Row-major [rows, columns], whatever the stored order. */
  readonly values: Float32Array;
  readonly row: number;
  readonly rows: number;
  readonly column: number;
  readonly columns: number;
}

async function* tiles(
  operation: MatMulNBitsOperation,
  window: Window,
  shape: TileShape,
  context: OperationContext,
  loader: Loader,
  values: Float32Array,
  turned: Float32Array,
): AsyncGenerator<Tile> {
  if (operation.transposed) {
    for (let column = window.start; column < window.end; column += shape.columns) {
      await context.checkpoint();
      const columns = Math.min(shape.columns, window.end - column);
      const stored = values.subarray(0, columns * shape.rows);
      await loader.contiguous(column * shape.rows, stored);
      const tile = turned.subarray(0, stored.length);
      context.kernels.transpose(bytesOf(stored), columns, shape.rows, 4, bytesOf(tile));
      yield { values: tile, row: 0, rows: shape.rows, column, columns };
    }
    return;
  }
  const { start: column, end } = window;
  for (let row = 0; row < operation.rows; row += shape.rows) {
    await context.checkpoint();
    const rows = Math.min(shape.rows, operation.rows - row);
    const tile = values.subarray(0, rows * (end - column));
    await loader.panel(row, rows, column, end, operation.columns, tile);
    yield { values: tile, row, rows, column, columns: end - column };
  }
}

/** [columns, ⌈blocks·bits/8⌉] bytes; slots after the last block hold the middle code. */
function packZeroPoints(
  { rows, bits, blockSize }: MatMulNBitsOperation,
  columns: number,
  codes: Uint8Array,
  context: OperationContext,
): Uint8Array {
  const blocks = Math.ceil(rows / blockSize);
  const rowBytes = Math.ceil((blocks * bits) / 8);
  const slots = (rowBytes * 8) / bits;
  const bytes = new Uint8Array(columns * rowBytes);
  if (slots === blocks) {
    context.kernels.packBits(codes, bits, 'lowFirst', bytes);
    return bytes;
  }
  const padded = new Uint8Array(columns * slots).fill(1 << (bits - 1));
  for (let c = 0; c < columns; c++) padded.set(codes.subarray(c * blocks, (c + 1) * blocks), c * slots);
  context.kernels.packBits(padded, bits, 'lowFirst', bytes);
  return bytes;
}

function measureSizes({ blockSize, bits }: MatMulNBitsOperation, tile: TileShape): number[] {
  const blocks = Math.ceil(tile.rows / blockSize);
  const slots = tile.columns * blocks * blockSize;
  return [(slots * bits) / 8, slots, slots * 4, slots * 4];
}

type Measure = (
  tile: Tile,
  at: number,
  packed: Uint8Array,
  stride: number,
  scales: Float32Array,
  zeroPoints: Uint8Array,
) => void;

/** Reads the codes of one tile back, dequantizes them and adds up the error against the tile. */
function createMeasure(
  operation: MatMulNBitsOperation,
  shape: TileShape,
  context: OperationContext,
  arena: Arena,
  collector: SumsCollector,
): Measure {
  const { blockSize, bits, symmetric } = operation;
  const { kernels } = context;
  const { blocks, blockBytes } = sizesOf(operation);
  const most = shape.columns * Math.ceil(shape.rows / blockSize) * blockSize;
  const packedTile = arena.u8((most * bits) / 8);
  const codes = arena.u8(most);
  const columnMajor = arena.f32(most);
  const rowMajor = arena.f32(most);
  return (tile, at, packed, stride, scales, zeroPoints) => {
    const first = tile.row / blockSize;
    const count = Math.ceil(tile.rows / blockSize);
    const length = count * blockSize;
    const bytes = count * blockBytes;
    const tileScales = new Float32Array(tile.columns * count);
    const tileZeroPoints = new Uint8Array(tile.columns * count);
    for (let c = 0; c < tile.columns; c++) {
      const from = (at + c) * stride + first * blockBytes;
      packedTile.set(packed.subarray(from, from + bytes), c * bytes);
      const block = (at + c) * blocks + first;
      tileScales.set(scales.subarray(block, block + count), c * count);
      tileZeroPoints.set(zeroPoints.subarray(block, block + count), c * count);
    }
    const used = tile.columns * length;
    kernels.unpackBits(
      packedTile.subarray(0, tile.columns * bytes),
      bits,
      'lowFirst',
      codes.subarray(0, used),
    );
    kernels.dequantizeRowBlocks(
      codes.subarray(0, used),
      false,
      bits,
      tile.columns,
      length,
      blockSize,
      storedScales(context, operation, tileScales),
      symmetric ? undefined : tileZeroPoints,
      1 << (bits - 1),
      columnMajor.subarray(0, used),
    );
    const restored = rowMajor.subarray(0, used);
    kernels.transpose(bytesOf(columnMajor.subarray(0, used)), tile.columns, length, 4, bytesOf(restored));
    collector.add(tile.values, restored.subarray(0, tile.rows * tile.columns));
  };
}
