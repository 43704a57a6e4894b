/**
 * WebAssembly kernels over blocks: quantization down columns and along rows, bitsandbytes codes, and back; packing and
 * transposition. Groups that a kernel flags (a value or a reciprocal that is not finite) are redone by the reference, so
 * are ragged ends and shapes that do not fill vectors.
 */

import type { BlockOptions, Kernels } from './kernels.ts';
import { FLAGS, FLAGS_BYTES, type KernelMemory, STAGE_BYTES, WORK, WORK_BYTES } from './wasm-memory.ts';

const RULES = { nbits: 0, qdq: 1, gather: 2 } as const;
/** Bytes of values that are staged at once; the rest of the stage is for the outputs. */
const STAGED_VALUES = STAGE_BYTES / 2;

export type BlockKernels = Pick<
  Kernels,
  | 'quantizeColumnBlocks'
  | 'quantizeRowBlocks'
  | 'quantizeColumnBlocksRowMajor'
  | 'quantizeBnb4'
  | 'dequantizeRowBlocks'
>;

const half = (options: BlockOptions): number => (options.scaleType === 'f16' ? 1 : 0);
const flag = (value: boolean): number => (value ? 1 : 0);

/** The first `length` elements, or none of an array that may be empty. */
function optional(zeroPoints: Uint8Array, start: number): Uint8Array {
  return zeroPoints.length === 0 ? zeroPoints : zeroPoints.subarray(start);
}

export function blockKernels(memory: KernelMemory, reference: Kernels): BlockKernels {
  return {
    quantizeColumnBlocks: columnBlocks(memory, reference),
    quantizeRowBlocks: rowBlocks(memory, reference),
    quantizeColumnBlocksRowMajor: rowMajorColumnBlocks(memory, reference),
    quantizeBnb4: bnb4(memory, reference),
    dequantizeRowBlocks: dequantizer(memory, reference),
  };
}

function columnBlocks(memory: KernelMemory, reference: Kernels): Kernels['quantizeColumnBlocks'] {
  const kernel = memory.kernel('nbitsColumnBlocks');
  return (
    tile,
    rows,
    columns,
    options,
    packed,
    packedStride,
    scales,
    scaleStride,
    zeroPoints,
    firstBlock,
  ) => {
    const { rule, bits, blockSize, symmetric } = options;
    const groups = Math.ceil(columns / 4);
    const fits = blockSize * 64 + 4096 <= WORK_BYTES && groups <= FLAGS_BYTES;
    const suits = rule === 'nbits' && blockSize % 16 === 0 && columns >= 4 && fits;
    const blocks = suits ? Math.floor(rows / blockSize) : 0;
    const blockBytes = (blockSize * bits) / 8;
    let nonFinite = 0;

    /** The reference for column `c` of block `block` (counted from the tile's first). */
    const redo = (c: number, block: number): void => {
      const column = new Float32Array(blockSize);
      for (let i = 0; i < blockSize; i++) column[i] = tile[(block * blockSize + i) * columns + c]!;
      nonFinite += reference.quantizeColumnBlocks(
        column,
        blockSize,
        1,
        options,
        packed.subarray(c * packedStride),
        packedStride,
        scales.subarray(c * scaleStride),
        scaleStride,
        optional(zeroPoints, c * scaleStride),
        firstBlock + block,
      );
    };

    if (
      memory.isResident(tile, packed, scales, zeroPoints) ||
      (zeroPoints.length === 0 && memory.isResident(tile, packed, scales))
    ) {
      const step = Math.max(1, Math.floor(FLAGS_BYTES / groups));
      for (let start = 0; start < blocks; start += step) {
        const count = Math.min(step, blocks - start);
        memory.bytes(FLAGS, count * groups).fill(0);
        const flagged = kernel(
          memory.address(tile, start * blockSize * columns),
          columns,
          count,
          blockSize,
          bits,
          flag(symmetric),
          half(options),
          memory.address(packed, (firstBlock + start) * blockBytes),
          packedStride,
          memory.address(scales, firstBlock + start),
          scaleStride,
          zeroPoints.length === 0 ? 0 : memory.address(zeroPoints, firstBlock + start),
          WORK,
          FLAGS,
        );
        if (flagged > 0) {
          const flags = memory.bytes(FLAGS, count * groups).slice();
          for (let i = 0; i < flags.length; i++) {
            if (flags[i] === 0) continue;
            const first = (i % groups) * 4;
            for (let c = first; c < Math.min(first + 4, columns); c++)
              redo(c, start + Math.floor(i / groups));
          }
        }
      }
    } else if (blocks > 0) {
      // A panel of columns of one block at a time: values in, codes out, then each column's part to its place.
      const width = Math.max(4, Math.min(columns, Math.floor(STAGED_VALUES / (blockSize * 4)) & ~15));
      for (let block = 0; block < blocks; block++) {
        for (let left = 0; left < columns; left += width) {
          // The last panel may be narrower than a vector: it then begins further left.
          const first = Math.max(0, Math.min(left, columns - 4));
          const count = Math.min(width, columns - first);
          const values = memory.reserve(blockSize * count * 4);
          for (let i = 0; i < blockSize; i++) {
            const at = (block * blockSize + i) * columns + first;
            memory.floats(values + i * count * 4, count).set(tile.subarray(at, at + count));
          }
          const codes = memory.reserve(count * blockBytes);
          const scale = memory.reserve(count * 4);
          const zero = memory.reserve(count);
          const panelGroups = Math.ceil(count / 4);
          memory.bytes(FLAGS, panelGroups).fill(0);
          kernel(
            values,
            count,
            1,
            blockSize,
            bits,
            flag(symmetric),
            half(options),
            codes,
            blockBytes,
            scale,
            1,
            zero,
            WORK,
            FLAGS,
          );
          const flags = memory.bytes(FLAGS, panelGroups);
          const codeBytes = memory.bytes(codes, count * blockBytes);
          const scaleValues = memory.floats(scale, count);
          const zeroCodes = memory.bytes(zero, count);
          for (let i = left - first; i < count; i++) {
            const c = first + i;
            const at = c * scaleStride + firstBlock + block;
            if (flags[i >> 2] === 1) {
              redo(c, block);
              continue;
            }
            packed.set(
              codeBytes.subarray(i * blockBytes, (i + 1) * blockBytes),
              c * packedStride + (firstBlock + block) * blockBytes,
            );
            scales[at] = scaleValues[i]!;
            if (zeroPoints.length > 0) zeroPoints[at] = zeroCodes[i]!;
          }
          memory.deliver();
        }
      }
    }
    const rest = rows - blocks * blockSize;
    if (rest > 0) {
      nonFinite += reference.quantizeColumnBlocks(
        tile.subarray(blocks * blockSize * columns),
        rest,
        columns,
        options,
        packed,
        packedStride,
        scales,
        scaleStride,
        zeroPoints,
        firstBlock + blocks,
      );
    }
    return nonFinite;
  };
}

function rowBlocks(memory: KernelMemory, reference: Kernels): Kernels['quantizeRowBlocks'] {
  const kernel = memory.kernel('rowBlocks');
  return (values, valueRows, valueRowLength, options, codes, scales, zeroPoints) => {
    const { rule, bits, blockSize, symmetric } = options;
    // Without ragged ends all blocks are contiguous: every block is a row of its own.
    const even = valueRowLength % blockSize === 0;
    const rowLength = even ? blockSize : valueRowLength;
    const rows = even ? (valueRows * valueRowLength) / blockSize : valueRows;
    const perRow = Math.ceil(rowLength / blockSize);
    const step = Math.floor(STAGED_VALUES / (perRow * blockSize * 4 + 16));
    if (blockSize % 16 !== 0 || step < 4) {
      return reference.quantizeRowBlocks(
        values,
        valueRows,
        valueRowLength,
        options,
        codes,
        scales,
        zeroPoints,
      );
    }
    let nonFinite = 0;
    const redo = (block: number): void => {
      const row = Math.floor(block / perRow);
      const start = (block % perRow) * blockSize;
      const first = row * rowLength + start;
      const length = Math.min(blockSize, rowLength - start);
      nonFinite += reference.quantizeRowBlocks(
        values.subarray(first, first + length),
        1,
        length,
        options,
        codes.subarray(first, first + length),
        scales.subarray(block),
        optional(zeroPoints, block),
      );
    };
    const redoFlagged = (first: number, blocks: number, flagged: number): void => {
      if (flagged === 0) return;
      const flags = memory.bytes(FLAGS, Math.ceil(blocks / 4)).slice();
      for (let block = 0; block < blocks; block++) if (flags[block >> 2] === 1) redo(first + block);
    };
    const call = (from: number, blocks: number, to: number, scale: number, zero: number): number => {
      memory.bytes(FLAGS, blocks / 4).fill(0);
      return kernel(
        from,
        blocks,
        blockSize,
        RULES[rule],
        bits,
        flag(symmetric),
        half(options),
        to,
        scale,
        zero,
        FLAGS,
      );
    };

    let done = 0;
    const outputs = zeroPoints.length === 0 ? [codes, scales] : [codes, scales, zeroPoints];
    if (even && memory.isResident(values, ...outputs)) {
      for (const whole = rows - (rows % 4); done < whole; ) {
        const blocks = Math.min(whole - done, FLAGS_BYTES * 4);
        const zero = zeroPoints.length === 0 ? 0 : memory.address(zeroPoints, done);
        const from = memory.address(values, done * blockSize);
        const flagged = call(
          from,
          blocks,
          memory.address(codes, done * blockSize),
          memory.address(scales, done),
          zero,
        );
        redoFlagged(done, blocks, flagged);
        done += blocks;
      }
    }
    for (; done < rows; done += step) {
      const count = Math.min(step, rows - done);
      const blocks = count * perRow;
      const padded = Math.ceil(blocks / 4) * 4;
      const from = memory.reserve(padded * blockSize * 4);
      const staged = memory.floats(from, padded * blockSize);
      for (let i = 0; i < count; i++) {
        const row = values.subarray((done + i) * rowLength, (done + i + 1) * rowLength);
        staged.set(row, i * perRow * blockSize);
        // A ragged block repeats its last value, which changes neither its range nor its other codes.
        staged.fill(row[rowLength - 1]!, i * perRow * blockSize + rowLength, (i + 1) * perRow * blockSize);
      }
      staged.fill(0, blocks * blockSize);
      const to = memory.reserve(padded * blockSize);
      const scale = memory.reserve(padded * 4);
      const zero = memory.reserve(padded);
      const flagged = call(from, padded, to, scale, zero);
      for (let i = 0; i < count; i++) {
        codes.set(memory.bytes(to + i * perRow * blockSize, rowLength), (done + i) * rowLength);
      }
      scales.set(memory.floats(scale, blocks), done * perRow);
      if (zeroPoints.length > 0) zeroPoints.set(memory.bytes(zero, blocks), done * perRow);
      redoFlagged(done * perRow, blocks, flagged);
      memory.deliver();
    }
    return nonFinite;
  };
}

function rowMajorColumnBlocks(
  memory: KernelMemory,
  reference: Kernels,
): Kernels['quantizeColumnBlocksRowMajor'] {
  const kernel = memory.kernel('qdqColumnBlocks');
  return (tile, rows, columns, options, codes, scales, zeroPoints) => {
    const { rule, bits, blockSize, symmetric } = options;
    const groups = Math.ceil(columns / 4);
    const outputs = zeroPoints.length === 0 ? [codes, scales] : [codes, scales, zeroPoints];
    const resident = memory.isResident(tile, ...outputs);
    const fits = resident || Math.min(blockSize, rows) * columns * 4 <= STAGED_VALUES;
    if (rule !== 'qdq' || columns < 4 || groups > FLAGS_BYTES || !fits) {
      return reference.quantizeColumnBlocksRowMajor(tile, rows, columns, options, codes, scales, zeroPoints);
    }
    const blocks = Math.ceil(rows / blockSize);
    const step = resident ? Math.max(1, Math.floor(FLAGS_BYTES / groups)) : 1;
    let nonFinite = 0;
    for (let start = 0; start < blocks; start += step) {
      const count = Math.min(step, blocks - start);
      const firstRow = start * blockSize;
      const lastSize = Math.min(blockSize, rows - (start + count - 1) * blockSize);
      const length = ((count - 1) * blockSize + lastSize) * columns;
      const from = memory.input(tile, firstRow * columns, length);
      const to = memory.output(codes, firstRow * columns, length);
      const scale = memory.output(scales, start * columns, count * columns);
      const zero = zeroPoints.length === 0 ? 0 : memory.output(zeroPoints, start * columns, count * columns);
      memory.bytes(FLAGS, count * groups).fill(0);
      const flagged = kernel(
        from,
        columns,
        count,
        blockSize,
        lastSize,
        bits,
        flag(symmetric),
        half(options),
        to,
        scale,
        zero,
        FLAGS,
      );
      memory.deliver();
      if (flagged === 0) continue;
      const flags = memory.bytes(FLAGS, count * groups).slice();
      for (let i = 0; i < flags.length; i++) {
        if (flags[i] === 0) continue;
        const block = start + Math.floor(i / groups);
        const left = (i % groups) * 4;
        for (let c = left; c < Math.min(left + 4, columns); c++) nonFinite += redo(block, c);
      }
    }
    return nonFinite;

    function redo(block: number, c: number): number {
      const length = Math.min(blockSize, rows - block * blockSize);
      const column = new Float32Array(length);
      const first = block * blockSize * columns + c;
      for (let i = 0; i < length; i++) column[i] = tile[first + i * columns]!;
      const columnCodes = new Uint8Array(length);
      const at = block * columns + c;
      const found = reference.quantizeColumnBlocksRowMajor(
        column,
        length,
        1,
        options,
        columnCodes,
        scales.subarray(at),
        optional(zeroPoints, at),
      );
      for (let i = 0; i < length; i++) codes[first + i * columns] = columnCodes[i]!;
      return found;
    }
  };
}

function bnb4(memory: KernelMemory, reference: Kernels): Kernels['quantizeBnb4'] {
  const kernel = memory.kernel('bnb4');
  return (values, blockSize, codebook, codes, absmax) => {
    const resident = memory.isResident(values, codes, absmax);
    const suits = blockSize % 16 === 0 && (resident || blockSize * 4 <= STAGED_VALUES);
    const blocks = suits ? Math.floor(values.length / blockSize) : 0;
    const step = Math.min(FLAGS_BYTES, resident ? blocks : Math.floor(STAGED_VALUES / (blockSize * 4)));
    let nonFinite = 0;
    const redo = (first: number, end: number): void => {
      const from = first * blockSize;
      const to = Math.min(end * blockSize, values.length);
      const part = codes.subarray(from, to);
      nonFinite += reference.quantizeBnb4(
        values.subarray(from, to),
        blockSize,
        codebook,
        part,
        absmax.subarray(first),
      );
    };
    for (let start = 0; start < blocks; start += step) {
      const count = Math.min(step, blocks - start);
      const from = memory.input(values, start * blockSize, count * blockSize);
      const to = memory.output(codes, start * blockSize, count * blockSize);
      const largest = memory.output(absmax, start, count);
      memory.bytes(FLAGS, count).fill(0);
      const flagged = kernel(from, count, blockSize, flag(codebook === 'nf4'), to, largest, FLAGS);
      memory.deliver();
      if (flagged === 0) continue;
      const flags = memory.bytes(FLAGS, count).slice();
      for (let i = 0; i < count; i++) if (flags[i] === 1) redo(start + i, start + i + 1);
    }
    if (blocks * blockSize < values.length) redo(blocks, Math.ceil(values.length / blockSize));
    return nonFinite;
  };
}

function dequantizer(memory: KernelMemory, reference: Kernels): Kernels['dequantizeRowBlocks'] {
  const kernel = memory.kernel('dequantizeRowBlocks');
  return (codes, signed, bits, rows, rowLength, blockSize, scales, zeroPoints, defaultZeroPoint, target) => {
    const arrays = zeroPoints === undefined ? [codes, scales, target] : [codes, scales, zeroPoints, target];
    const resident = memory.isResident(...arrays);
    const perRow = Math.ceil(rowLength / blockSize);
    const step = resident ? rows : Math.floor(STAGED_VALUES / (rowLength * 4 + perRow * 8 + 1));
    const integer = Number.isInteger(defaultZeroPoint) && Math.abs(defaultZeroPoint) < 2 ** 20;
    if (step < 1 || (zeroPoints === undefined && !integer)) {
      reference.dequantizeRowBlocks(
        codes,
        signed,
        bits,
        rows,
        rowLength,
        blockSize,
        scales,
        zeroPoints,
        defaultZeroPoint,
        target,
      );
      return;
    }
    for (let row = 0; row < rows; row += step) {
      const count = Math.min(step, rows - row);
      const from = memory.input(codes, row * rowLength, count * rowLength);
      const scale = memory.input(scales, row * perRow, count * perRow);
      const zero = zeroPoints === undefined ? 0 : memory.input(zeroPoints, row * perRow, count * perRow);
      const to = memory.output(target, row * rowLength, count * rowLength);
      kernel(from, flag(signed), 32 - bits, count, rowLength, blockSize, scale, zero, defaultZeroPoint, to);
      memory.deliver();
    }
  };
}
