/**
 * Blocked weights of DequantizeLinear (docs/onnx.md 3.2): codes in the stored order of the weight, packed flat.
 *
 * A window is a range of block rows of a [K, N] weight, of rows of a stored [N, K] one, or of whole matrices where many lie
 * one behind another (the filters of a convolution): contiguous in the source and in every part. It starts where codes and
 * zero points start a byte.
 */

import { DTYPES } from '../../core/dtype.ts';
import type { BlockOptions, Kernels } from '../../kernels/kernels.ts';
import { type QdqBlockOperation, qdqMatrices } from '../../numerics/operation.ts';
import { arenaBytes, type OperationContext, type OperationRunner, tileUnits } from './context.ts';
import { checkFinite, createLoader, scratchBytes } from './load.ts';
import { storedScales, workingScaleType, writeScales } from './scales.ts';
import { collectSums } from './sums.ts';

interface Form {
  readonly bits: 2 | 4 | 8;
  readonly symmetric: boolean;
  readonly blocks: number;
  /** Units of a window: block rows, rows of a transposed weight, or matrices. */
  readonly units: number;
  readonly unitElements: number;
  readonly unitScales: number;
  readonly align: number;
  /** Elements to which blocks are confined: a matrix of several; otherwise a tile, which ends with a block. */
  readonly matrixElements: number;
}

const BITS = { 2: 2, 4: 4, 8: 8 } as const;

function formOf(operation: QdqBlockOperation): Form {
  const { rows, columns, transposed, type, blockSize } = operation;
  const bits = BITS[DTYPES[type].bits];
  const blocks = Math.ceil(rows / blockSize);
  const perByte = 8 / bits;
  const matrices = qdqMatrices(operation);
  const whole = matrices > 1;
  const unitElements = transposed ? rows : (whole ? rows : blockSize) * columns;
  const unitScales = transposed ? blocks : whole ? blocks * columns : columns;
  const even = unitElements % perByte === 0 && unitScales % perByte === 0;
  return {
    bits,
    symmetric: !type.startsWith('u'),
    blocks,
    units: transposed ? columns : whole ? matrices : blocks,
    unitElements,
    unitScales,
    align: even ? 1 : perByte,
    matrixElements: whole ? rows * columns : Number.POSITIVE_INFINITY,
  };
}

export const qdqBlockRunner: OperationRunner<QdqBlockOperation> = {
  cut(operation) {
    const { units, align } = formOf(operation);
    return { units, align, heldBytes: 0, minUnits: align };
  },

  async run(operation, window, context) {
    const { rows, columns, transposed, blockSize, from } = operation;
    const { kernels } = context;
    const form = formOf(operation);
    const { bits, symmetric, unitElements, unitScales } = form;
    const step = tileUnits(unitElements * 4, window.end - window.start, form.align, context.tileBytes);
    const elements = step * unitElements;
    const arena = kernels.arena(
      arenaBytes(
        elements * 4,
        scratchBytes(from, elements),
        elements,
        (elements * bits) / 8 + 1,
        step * unitScales * 4,
        step * unitScales,
        context.measure ? elements * 4 : 0,
      ),
    );
    const values = arena.f32(elements);
    const loader = createLoader(context, from, arena, elements);
    const codes = arena.u8(elements);
    const packed = arena.u8(Math.ceil((elements * bits) / 8));
    const scales = arena.f32(step * unitScales);
    const zeroPoints = arena.u8(step * unitScales);
    const restored = arena.f32(context.measure ? elements : 0);
    const collector = collectSums(kernels, context.measure);
    const options: BlockOptions = {
      rule: 'qdq',
      bits,
      blockSize,
      symmetric,
      scaleType: workingScaleType(operation),
    };
    const total = qdqMatrices(operation) * rows * columns;
    let nonFinite = 0;
    let count = 0;
    for (let unit = window.start; unit < window.end; unit += step) {
      await context.checkpoint();
      const end = Math.min(unit + step, window.end);
      const first = unit * unitElements;
      const used = Math.min(end * unitElements, total) - first;
      const usedScales = (end - unit) * unitScales;
      const tile = values.subarray(0, used);
      const tileCodes = codes.subarray(0, used);
      const tileScales = scales.subarray(0, usedScales);
      const tileZeroPoints = zeroPoints.subarray(0, usedScales);
      await loader.contiguous(first, tile);
      const bad = transposed
        ? kernels.quantizeRowBlocks(tile, end - unit, rows, options, tileCodes, tileScales, tileZeroPoints)
        : quantizeMatrices(kernels, form, columns, options, tile, tileCodes, tileScales, tileZeroPoints);
      nonFinite += bad;
      count += used;
      checkFinite(context, bad, tile, (place) => first + place);
      if (context.measure) {
        const back = restored.subarray(0, used);
        const stored = storedScales(context, operation, tileScales);
        const points = symmetric ? undefined : tileZeroPoints;
        if (transposed) {
          kernels.dequantizeRowBlocks(
            tileCodes,
            symmetric,
            bits,
            end - unit,
            rows,
            blockSize,
            stored,
            points,
            0,
            back,
          );
        } else {
          forMatrices(form, used, (start, end, scale, lastScale) =>
            restoreColumnBlocks(
              tileCodes.subarray(start, end),
              symmetric,
              bits,
              columns,
              blockSize,
              stored.subarray(scale, lastScale),
              points?.subarray(scale, lastScale),
              back.subarray(start, end),
            ),
          );
        }
        collector.add(tile, back);
      }
      await writeCodes(context, 'data', first, bits, tileCodes, packed);
      await writeScales(context, operation, 'scales', unit * unitScales, tileScales);
      if (!symmetric) {
        await writeCodes(
          context,
          'zeroPoints',
          unit * unitScales,
          bits,
          tileZeroPoints,
          new Uint8Array(Math.ceil((usedScales * bits) / 8)),
        );
      }
    }
    return { count, nonFinite, sums: collector.sums };
  },
};

/** Calls with the elements and the scales, from and to, of each matrix of a tile of `used` elements. */
function forMatrices(
  { matrixElements, unitScales }: Form,
  used: number,
  work: (start: number, end: number, scale: number, lastScale: number | undefined) => void,
): void {
  if (used <= matrixElements) {
    work(0, used, 0, undefined);
    return;
  }
  for (let start = 0, scale = 0; start < used; start += matrixElements, scale += unitScales) {
    work(start, start + matrixElements, scale, scale + unitScales);
  }
}

/** Blocks down the columns of each matrix of a tile; the number of values that are not finite. */
function quantizeMatrices(
  kernels: Kernels,
  form: Form,
  columns: number,
  options: BlockOptions,
  tile: Float32Array,
  codes: Uint8Array,
  scales: Float32Array,
  zeroPoints: Uint8Array,
): number {
  let nonFinite = 0;
  forMatrices(form, tile.length, (start, end, scale, lastScale) => {
    nonFinite += kernels.quantizeColumnBlocksRowMajor(
      tile.subarray(start, end),
      (end - start) / columns,
      columns,
      options,
      codes.subarray(start, end),
      scales.subarray(scale, lastScale),
      zeroPoints.subarray(scale, lastScale),
    );
  });
  return nonFinite;
}

/** Packs one-per-byte codes low bits first and writes them at their place; `index` starts a byte. */
export async function writeCodes(
  context: OperationContext,
  role: 'data' | 'zeroPoints',
  index: number,
  bits: 2 | 4 | 8,
  codes: Uint8Array,
  packed: Uint8Array,
): Promise<void> {
  if (bits === 8) return context.write(role, index, codes);
  const bytes = packed.subarray(0, Math.ceil((codes.length * bits) / 8));
  context.kernels.packBits(codes, bits, 'lowFirst', bytes);
  return context.write(role, (index * bits) / 8, bytes);
}

/** x = (code − zeroPoint) · scale for blocks down the columns of a row-major tile. */
export function restoreColumnBlocks(
  codes: Uint8Array,
  signed: boolean,
  bits: 2 | 4 | 8,
  columns: number,
  blockSize: number,
  scales: Float32Array,
  zeroPoints: Uint8Array | undefined,
  target: Float32Array,
): void {
  const shift = 32 - bits;
  for (let start = 0, row = 0; start < codes.length; start += columns, row++) {
    const block = Math.floor(row / blockSize) * columns;
    for (let c = 0; c < columns; c++) {
      const code = codes[start + c]!;
      const value = signed ? (code << shift) >> shift : code & ((1 << bits) - 1);
      const zero = zeroPoints === undefined ? 0 : zeroPoints[block + c]!;
      target[start + c] = (value - zero) * scales[block + c]!;
    }
  }
}
