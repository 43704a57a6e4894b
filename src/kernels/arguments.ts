/**
 * Length checks shared by both backends, so that a wrong call fails in the same way in each and never writes outside
 * its arrays. A failed check is a mistake of the caller inside the library or of a file's declared sizes.
 */

import { byteLength, type DType } from '../core/dtype.ts';
import { BLOCK_TYPES } from '../core/ggml-types.ts';
import { WhittleError } from '../errors.ts';
import type { BlockOptions, Kernels } from './kernels.ts';
import { CHECKSUM_BLOCK, CHECKSUM_LANES } from './reference/checksum.ts';

/** Throws E_TENSOR_SIZE unless `actual` is at least `needed` elements. */
export function requireLength(what: string, actual: number, needed: number): void {
  if (actual >= needed) return;
  throw new WhittleError('E_TENSOR_SIZE', `kernel argument '${what}' is too short`, {
    expected: `at least ${needed} elements`,
    found: `${actual} elements`,
  });
}

function requireWhole(what: string, length: number, of: number): void {
  if (Number.isSafeInteger(of) && (length === 0 || (of > 0 && length % of === 0))) return;
  throw new WhittleError('E_TENSOR_SIZE', `kernel argument '${what}' is not a whole number of rows`, {
    expected: `a multiple of ${of} elements`,
    found: `${length} elements`,
  });
}

function requireCount(what: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new WhittleError('E_SHAPE', `kernel argument '${what}' is not a count`, {
    expected: `an integer of at least ${least}`,
    found: String(value),
  });
}

function checkPair(a: Float32Array, b: Float32Array): void {
  requireLength('b', b.length, a.length);
}

function checkConvert(from: DType, to: DType, source: Uint8Array, target: Uint8Array, count: number): void {
  requireCount('count', count, 0);
  requireLength('source', source.length, byteLength(from, count));
  requireLength('target', target.length, byteLength(to, count));
}

function checkColumns(values: number, columns: number, ...vectors: number[]): void {
  requireCount('columns', columns, values === 0 ? 0 : 1);
  requireWhole('values', values, columns);
  for (const length of vectors) requireLength('vector of columns', length, columns);
}

function checkBlock(options: BlockOptions): void {
  requireCount('blockSize', options.blockSize, 1);
  if ((options.blockSize * options.bits) % 8 !== 0) {
    throw new WhittleError('E_SHAPE', 'a block must fill whole bytes', {
      expected: `a block size that is a multiple of ${8 / options.bits}`,
      found: String(options.blockSize),
    });
  }
}

function checkColumnBlocks(
  tile: number,
  rows: number,
  columns: number,
  options: BlockOptions,
  packed: number,
  packedStride: number,
  scales: number,
  scaleStride: number,
  zeroPoints: number,
  firstBlock: number,
): void {
  requireCount('rows', rows, 0);
  requireCount('columns', columns, 0);
  requireCount('firstBlock', firstBlock, 0);
  checkBlock(options);
  requireLength('tile', tile, rows * columns);
  if (rows === 0 || columns === 0) return;
  const end = firstBlock + Math.ceil(rows / options.blockSize);
  const blockBytes = (options.blockSize * options.bits) / 8;
  requireLength('packedStride', packedStride, columns > 1 ? end * blockBytes : 0);
  requireLength('scaleStride', scaleStride, columns > 1 ? end : 0);
  requireLength('packed', packed, (columns - 1) * packedStride + end * blockBytes);
  requireLength('scales', scales, (columns - 1) * scaleStride + end);
  if (zeroPoints > 0 || !options.symmetric) {
    requireLength('zeroPoints', zeroPoints, (columns - 1) * scaleStride + end);
  }
}

/** For blocks whose codes keep the order of the values; `blocks` is how many scales are written. */
function checkBlocks(
  values: number,
  count: number,
  options: BlockOptions,
  codes: number,
  blocks: number,
  scales: number,
  zeroPoints: number,
): void {
  requireCount('rows × length', count, 0);
  requireCount('blockSize', options.blockSize, 1);
  requireLength('values', values, count);
  requireLength('codes', codes, count);
  requireLength('scales', scales, blocks);
  if (zeroPoints > 0 || !options.symmetric) requireLength('zeroPoints', zeroPoints, blocks);
}

function checkBnb4(values: number, blockSize: number, codes: number, absmax: number): void {
  requireCount('blockSize', blockSize, 1);
  requireLength('codes', codes, values);
  requireLength('absmax', absmax, Math.ceil(values / blockSize));
}

function checkBits(codes: number, bits: number, order: 'lowFirst' | 'highFirst', packed: number): void {
  requireCount('bits', bits, 1);
  if (bits > (order === 'highFirst' ? 4 : 8)) {
    throw new WhittleError('E_DTYPE', 'codes of this width cannot be packed', {
      expected: order === 'highFirst' ? '1 to 4 bits' : '1 to 8 bits',
      found: String(bits),
    });
  }
  requireLength(
    'packed',
    packed,
    order === 'highFirst' ? Math.ceil(codes / 2) : Math.ceil((codes * bits) / 8),
  );
}

function checkTranspose(
  source: number,
  rows: number,
  columns: number,
  elementSize: number,
  target: number,
): void {
  requireCount('rows', rows, 0);
  requireCount('columns', columns, 0);
  requireLength('source', source, rows * columns * elementSize);
  requireLength('target', target, rows * columns * elementSize);
}

/** The same kernels with their arguments checked. */
export function checkedKernels(kernels: Kernels): Kernels {
  return {
    backend: kernels.backend,
    arena(byteLength) {
      requireCount('byteLength', byteLength, 0);
      return kernels.arena(byteLength);
    },
    range: (values) => kernels.range(values),
    powerSums: (values, shift) => kernels.powerSums(values, shift),
    binCounts: (values, perUnit, first, counts) => kernels.binCounts(values, perUnit, first, counts),
    errorSums(a, b) {
      checkPair(a, b);
      return kernels.errorSums(a, b);
    },
    convert(from, to, source, target, count, options) {
      checkConvert(from, to, source, target, count);
      kernels.convert(from, to, source, target, count, options);
    },
    decodeHalves(source, target) {
      requireLength('source', source.length, target.length * 2);
      return kernels.decodeHalves(source, target);
    },
    quantizeAffine(values, scale, zeroPoint, low, high, rounding, target) {
      requireLength('target', target.length, values.length);
      kernels.quantizeAffine(values, scale, zeroPoint, low, high, rounding, target);
    },
    dequantizeAffine(codes, scale, zeroPoint, target) {
      requireLength('target', target.length, codes.length);
      kernels.dequantizeAffine(codes, scale, zeroPoint, target);
    },
    columnRange(values, columns, min, max) {
      checkColumns(values.length, columns, min.length, max.length);
      return kernels.columnRange(values, columns, min, max);
    },
    quantizeAffineColumns(values, columns, scales, zeroPoints, low, high, rounding, target) {
      checkColumns(values.length, columns, scales.length, zeroPoints.length);
      requireLength('target', target.length, values.length);
      kernels.quantizeAffineColumns(values, columns, scales, zeroPoints, low, high, rounding, target);
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
      zeros,
      first,
    ) {
      checkColumnBlocks(
        tile.length,
        rows,
        columns,
        options,
        packed.length,
        packedStride,
        scales.length,
        scaleStride,
        zeros.length,
        first,
      );
      return kernels.quantizeColumnBlocks(
        tile,
        rows,
        columns,
        options,
        packed,
        packedStride,
        scales,
        scaleStride,
        zeros,
        first,
      );
    },
    quantizeRowBlocks(values, rows, rowLength, options, codes, scales, zeros) {
      const blocks = rows * Math.ceil(rowLength / options.blockSize);
      const count = rows * rowLength;
      checkBlocks(values.length, count, options, codes.length, blocks, scales.length, zeros.length);
      return kernels.quantizeRowBlocks(values, rows, rowLength, options, codes, scales, zeros);
    },
    quantizeColumnBlocksRowMajor(tile, rows, columns, options, codes, scales, zeros) {
      const blocks = columns * Math.ceil(rows / options.blockSize);
      checkBlocks(tile.length, rows * columns, options, codes.length, blocks, scales.length, zeros.length);
      return kernels.quantizeColumnBlocksRowMajor(tile, rows, columns, options, codes, scales, zeros);
    },
    quantizeBnb4(values, blockSize, codebook, codes, absmax) {
      checkBnb4(values.length, blockSize, codes.length, absmax.length);
      return kernels.quantizeBnb4(values, blockSize, codebook, codes, absmax);
    },
    dequantizeRowBlocks(codes, signed, bits, rows, rowLength, blockSize, scales, zeros, zero, target) {
      const options = { rule: 'qdq', bits, blockSize, symmetric: true, scaleType: 'f32' } as const;
      const blocks = rows * Math.ceil(rowLength / blockSize);
      const count = rows * rowLength;
      checkBlocks(
        target.length,
        count,
        options,
        codes.length,
        blocks,
        scales.length,
        zeros?.length ?? blocks,
      );
      if (zeros !== undefined) requireLength('zeroPoints', zeros.length, blocks);
      kernels.dequantizeRowBlocks(
        codes,
        signed,
        bits,
        rows,
        rowLength,
        blockSize,
        scales,
        zeros,
        zero,
        target,
      );
    },
    packBits(codes, bits, order, target) {
      checkBits(codes.length, bits, order, target.length);
      kernels.packBits(codes, bits, order, target);
    },
    unpackBits(packed, bits, order, codes) {
      checkBits(codes.length, bits, order, packed.length);
      kernels.unpackBits(packed, bits, order, codes);
    },
    transpose(source, rows, columns, elementSize, target) {
      checkTranspose(source.length, rows, columns, elementSize, target.length);
      kernels.transpose(source, rows, columns, elementSize, target);
    },
    mixWords(bytes, lanes) {
      requireWhole('bytes', bytes.length, CHECKSUM_BLOCK);
      requireLength('lanes', lanes.length, CHECKSUM_LANES);
      kernels.mixWords(bytes, lanes);
    },
    prepareBlocks: (type) => kernels.prepareBlocks(type),
    quantizeBlocks(type, values, rowLength, importance, target) {
      const { size, bytes, importance: policy } = BLOCK_TYPES[type];
      requireCount('rowLength', rowLength, 0);
      requireWhole('values', values.length, rowLength);
      requireWhole('rowLength', rowLength, size);
      requireLength('target', target.length, (values.length / size) * bytes);
      if (importance !== undefined) requireLength('importance', importance.length, rowLength);
      if (importance === undefined && policy === 'required') {
        throw new WhittleError('E_USAGE', `${type} needs an importance matrix`, {
          hint: 'Pass one (--imatrix), or choose another type.',
        });
      }
      if (values.length === 0) return;
      kernels.quantizeBlocks(type, values, rowLength, policy === 'ignored' ? undefined : importance, target);
    },
    dequantizeBlocks(type, source, target) {
      const { size, bytes } = BLOCK_TYPES[type];
      requireWhole('source', source.length, bytes);
      const count = (source.length / bytes) * size;
      requireLength('target', target.length, count);
      if (count === 0) return;
      kernels.dequantizeBlocks(type, source, target.subarray(0, count));
    },
  };
}
