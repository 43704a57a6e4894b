/**
 * Block quantization over tiles: down columns (packed for MatMulNBits, or row-major for QDQ) and along rows; and back.
 * The mathematics of one block stand in block-rules.ts; here are only the layouts (docs/onnx.md 3.1, 3.2, 3.4).
 */

import type { BlockOptions } from '../kernels.ts';
import {
  type BlockParameters,
  type BlockRange,
  blockCoder,
  blockParameters,
  scanBlock,
} from './block-rules.ts';

const newRange = (): BlockRange => ({ min: 0, max: 0, nonFinite: 0 });
const newParameters = (): BlockParameters => ({ scale: 0, reciprocal: 0, zero: 0 });

/**
 * See `Kernels.quantizeColumnBlocks`. Slots that no row fills (docs/onnx.md 3.1): unused bytes of the last block are 0; unused
 * slots of its last used byte repeat the previous byte's when that byte belongs to the same run of 8/bits blocks of the
 * column, else 0. The previous byte may lie in an earlier tile: `packed` then still holds it.
 */
export function quantizeColumnBlocks(
  tile: Float32Array,
  rows: number,
  columns: number,
  options: BlockOptions,
  packed: Uint8Array,
  packedStride: number,
  scales: Float32Array,
  scaleStride: number,
  zeroPoints: Uint8Array,
  firstBlock: number,
): number {
  const { bits, blockSize } = options;
  const perByte = 8 / bits;
  const blockBytes = (blockSize * bits) / 8;
  const code = blockCoder(options);
  const range = newRange();
  const parameters = newParameters();
  for (let start = 0, block = firstBlock; start < rows; start += blockSize, block++) {
    const length = Math.min(blockSize, rows - start);
    const usedBytes = Math.ceil(length / perByte);
    for (let c = 0; c < columns; c++) {
      scanBlock(tile, start * columns + c, length, columns, range);
      blockParameters(range, options, parameters);
      const index = c * scaleStride + block;
      scales[index] = parameters.scale;
      if (zeroPoints.length > 0) zeroPoints[index] = parameters.zero;
      const out = c * packedStride + block * blockBytes;
      let at = start * columns + c;
      for (let b = 0, row = 0; b < usedBytes; b++) {
        let byte = 0;
        for (let slot = 0; slot < perByte; slot++, row++, at += columns) {
          if (row < length) {
            byte |= code(tile[at]!, parameters) << (slot * bits);
          } else if (b > 0 || block % perByte !== 0) {
            byte |= packed[out + b - 1]! & (((1 << bits) - 1) << (slot * bits));
          }
        }
        packed[out + b] = byte;
      }
      packed.fill(0, out + usedBytes, out + blockBytes);
    }
  }
  return range.nonFinite;
}

/** See `Kernels.quantizeRowBlocks`. */
export function quantizeRowBlocks(
  values: Float32Array,
  rows: number,
  rowLength: number,
  options: BlockOptions,
  codes: Uint8Array,
  scales: Float32Array,
  zeroPoints: Uint8Array,
): number {
  const { blockSize } = options;
  const code = blockCoder(options);
  const range = newRange();
  const parameters = newParameters();
  let index = 0;
  for (let row = 0; row < rows; row++) {
    for (let start = 0; start < rowLength; start += blockSize, index++) {
      const first = row * rowLength + start;
      const length = Math.min(blockSize, rowLength - start);
      scanBlock(values, first, length, 1, range);
      blockParameters(range, options, parameters);
      scales[index] = parameters.scale;
      if (zeroPoints.length > 0) zeroPoints[index] = parameters.zero;
      for (let i = first; i < first + length; i++) codes[i] = code(values[i]!, parameters);
    }
  }
  return range.nonFinite;
}

/** See `Kernels.quantizeColumnBlocksRowMajor`. */
export function quantizeColumnBlocksRowMajor(
  tile: Float32Array,
  rows: number,
  columns: number,
  options: BlockOptions,
  codes: Uint8Array,
  scales: Float32Array,
  zeroPoints: Uint8Array,
): number {
  const { blockSize } = options;
  const code = blockCoder(options);
  const range = newRange();
  const parameters = newParameters();
  let index = 0;
  for (let start = 0; start < rows; start += blockSize) {
    const length = Math.min(blockSize, rows - start);
    for (let c = 0; c < columns; c++, index++) {
      const first = start * columns + c;
      scanBlock(tile, first, length, columns, range);
      blockParameters(range, options, parameters);
      scales[index] = parameters.scale;
      if (zeroPoints.length > 0) zeroPoints[index] = parameters.zero;
      for (let i = 0, at = first; i < length; i++, at += columns) codes[at] = code(tile[at]!, parameters);
    }
  }
  return range.nonFinite;
}

/** See `Kernels.dequantizeRowBlocks`: f32((code − zero) · scale); `signed` codes are two's complement of `bits` bits. */
export function dequantizeRowBlocks(
  codes: Uint8Array,
  signed: boolean,
  bits: 2 | 4 | 8,
  rows: number,
  rowLength: number,
  blockSize: number,
  scales: Float32Array,
  zeroPoints: Uint8Array | undefined,
  defaultZeroPoint: number,
  target: Float32Array,
): void {
  const shift = 32 - bits;
  const decode = signed
    ? (code: number): number => (code << shift) >> shift
    : (code: number): number => (code << shift) >>> shift;
  let index = 0;
  for (let row = 0; row < rows; row++) {
    for (let start = 0; start < rowLength; start += blockSize, index++) {
      const scale = scales[index]!;
      const zero = zeroPoints === undefined ? defaultZeroPoint : decode(zeroPoints[index]!);
      const end = row * rowLength + Math.min(start + blockSize, rowLength);
      for (let i = row * rowLength + start; i < end; i++) target[i] = (decode(codes[i]!) - zero) * scale;
    }
  }
}
