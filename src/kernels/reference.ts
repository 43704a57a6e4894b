/**
 * The plain-TypeScript kernels, which define every result; the WebAssembly kernels equal them bit for bit.
 * They run everywhere and need no build step. Families: reference/*.ts, each with its formulas and source.
 *
 * Lane order of all sums: element i adds to lane i mod 4; total = (lane 0 + lane 2) + (lane 1 + lane 3)
 * (reference/reductions.ts). Arguments are checked here (arguments.ts); the families trust them.
 */

import { WhittleError } from '../errors.ts';
import * as check from './arguments.ts';
import type { Arena, Kernels } from './kernels.ts';
import * as affine from './reference/affine.ts';
import * as blocks from './reference/blocks.ts';
import { quantizeBnb4 } from './reference/bnb4.ts';
import { convert } from './reference/convert.ts';
import * as layout from './reference/layout.ts';
import * as reductions from './reference/reductions.ts';

/** A bump allocator over one buffer; `place` maps an aligned offset to an array. */
export function bumpArena(buffer: ArrayBuffer, base: number, byteLength: number): Arena {
  let used = 0;
  const take = (bytes: number): number => {
    const offset = used;
    if (!Number.isSafeInteger(bytes) || bytes < 0 || offset + bytes > byteLength) {
      throw new WhittleError('E_LIMIT', 'kernel arena is full', {
        expected: `at most ${byteLength - offset} bytes`,
        found: `${bytes} bytes`,
      });
    }
    used = Math.ceil((offset + bytes) / 16) * 16;
    return base + offset;
  };
  return {
    u8: (length) => new Uint8Array(buffer, take(length), length),
    u16: (length) => new Uint16Array(buffer, take(length * 2), length),
    f32: (length) => new Float32Array(buffer, take(length * 4), length),
    f64: (length) => new Float64Array(buffer, take(length * 8), length),
  };
}

export const reference: Kernels = {
  backend: 'reference',
  arena(byteLength) {
    check.requireLength('byteLength', byteLength, 0);
    return bumpArena(new ArrayBuffer(byteLength), 0, byteLength);
  },
  range: reductions.range,
  powerSums: reductions.powerSums,
  histogram: reductions.histogram,
  errorSums(a, b) {
    check.checkPair(a, b);
    return reductions.errorSums(a, b);
  },
  convert(from, to, source, target, count, options) {
    check.checkConvert(from, to, source, target, count);
    convert(from, to, source, target, count, options);
  },
  quantizeAffine(values, scale, zeroPoint, low, high, rounding, target) {
    check.requireLength('target', target.length, values.length);
    affine.quantizeAffine(values, scale, zeroPoint, low, high, rounding, target);
  },
  dequantizeAffine(codes, scale, zeroPoint, target) {
    check.requireLength('target', target.length, codes.length);
    affine.dequantizeAffine(codes, scale, zeroPoint, target);
  },
  columnRange(values, columns, min, max) {
    check.checkColumns(values.length, columns, min.length, max.length);
    return affine.columnRange(values, columns, min, max);
  },
  quantizeAffineColumns(values, columns, scales, zeroPoints, low, high, rounding, target) {
    check.checkColumns(values.length, columns, scales.length, zeroPoints.length);
    check.requireLength('target', target.length, values.length);
    affine.quantizeAffineColumns(values, columns, scales, zeroPoints, low, high, rounding, target);
  },
  quantizeColumnBlocks(
    tile,
    rows,
    columns,
    options,
    packed,
    packedStride,
    scales,
    scaleStride,
    zeroPoints,
    first,
  ) {
    check.checkColumnBlocks(
      tile.length,
      rows,
      columns,
      options,
      packed.length,
      packedStride,
      scales.length,
      scaleStride,
      zeroPoints.length,
      first,
    );
    return blocks.quantizeColumnBlocks(
      tile,
      rows,
      columns,
      options,
      packed,
      packedStride,
      scales,
      scaleStride,
      zeroPoints,
      first,
    );
  },
  quantizeRowBlocks(values, rows, rowLength, options, codes, scales, zeroPoints) {
    const count = rows * Math.ceil(rowLength / options.blockSize);
    check.checkBlocks(
      values.length,
      rows * rowLength,
      options,
      codes.length,
      count,
      scales.length,
      zeroPoints.length,
    );
    return blocks.quantizeRowBlocks(values, rows, rowLength, options, codes, scales, zeroPoints);
  },
  quantizeColumnBlocksRowMajor(tile, rows, columns, options, codes, scales, zeroPoints) {
    const count = columns * Math.ceil(rows / options.blockSize);
    check.checkBlocks(
      tile.length,
      rows * columns,
      options,
      codes.length,
      count,
      scales.length,
      zeroPoints.length,
    );
    return blocks.quantizeColumnBlocksRowMajor(tile, rows, columns, options, codes, scales, zeroPoints);
  },
  quantizeBnb4(values, blockSize, codebook, codes, absmax) {
    check.checkBnb4(values.length, blockSize, codes.length, absmax.length);
    return quantizeBnb4(values, blockSize, codebook, codes, absmax);
  },
  dequantizeRowBlocks(codes, signed, bits, rows, rowLength, blockSize, scales, zeroPoints, zero, target) {
    const options = { rule: 'qdq', bits, blockSize, symmetric: true, scaleType: 'f32' } as const;
    const count = rows * Math.ceil(rowLength / blockSize);
    const zeroCount = zeroPoints?.length ?? count;
    check.checkBlocks(
      target.length,
      rows * rowLength,
      options,
      codes.length,
      count,
      scales.length,
      zeroCount,
    );
    blocks.dequantizeRowBlocks(
      codes,
      signed,
      bits,
      rows,
      rowLength,
      blockSize,
      scales,
      zeroPoints,
      zero,
      target,
    );
  },
  packBits(codes, bits, order, target) {
    check.checkBits(codes.length, bits, order, target.length);
    layout.packBits(codes, bits, order, target);
  },
  unpackBits(packed, bits, order, codes) {
    check.checkBits(codes.length, bits, order, packed.length);
    layout.unpackBits(packed, bits, order, codes);
  },
  transpose(source, rows, columns, elementSize, target) {
    check.checkTranspose(source.length, rows, columns, elementSize, target.length);
    layout.transpose(source, rows, columns, elementSize, target);
  },
};
