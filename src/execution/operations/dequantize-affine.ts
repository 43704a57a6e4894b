/**
 * DequantizeLinear of a stored tensor: x = f32(code − zero point) · scale, with one scale for the tensor, for each index of
 * an axis, or for each block along an axis. The tensor is seen as [outer, length, inner] around that axis.
 */

import { DTYPES } from '../../core/dtype.ts';
import { elementCount } from '../../core/shape.ts';
import type { DequantizeAffine } from '../../numerics/dequantize-operation.ts';
import type { PartRole } from '../../numerics/operation.ts';
import type { WindowResult } from './context.ts';
import { type DequantizeContext, readScales, writeValues } from './dequantize-parts.ts';

export async function runDequantizeAffine(
  operation: DequantizeAffine,
  context: DequantizeContext,
): Promise<WindowResult> {
  const { shape, type, axis, blockSize, scaleType, zeroPoint, swapped, to } = operation;
  if (swapped === true) return runSwapped(operation, context);
  const count = elementCount(shape) ?? 0;
  const length = axis === null ? 1 : (shape[axis] ?? 1);
  const inner = axis === null ? count : shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const outer = axis === null ? 1 : shape.slice(0, axis).reduce((a, b) => a * b, 1);
  const blocks = blockSize === undefined ? length : Math.ceil(length / blockSize);
  const parameters = blockSize === undefined ? length : outer * blocks * inner;
  const scales = await readScales(context, 'scale', scaleType, 0, parameters);
  const zeroPoints = zeroPoint
    ? await readCodes(context, 'zeroPoint', type, 0, parameters)
    : new Int32Array(parameters);

  const tile = Math.max(8, Math.floor(context.tileBytes / 4 / 8) * 8);
  const values = new Float32Array(Math.min(tile, count));
  // Place of the next element: its index along the three parts of the view.
  let i = 0;
  let a = 0;
  let o = 0;
  for (let first = 0; first < count; first += tile) {
    await context.checkpoint();
    const out = values.subarray(0, Math.min(tile, count - first));
    const codes = await readCodes(context, 'data', type, first, out.length);
    for (let e = 0; e < out.length; ) {
      const run = Math.min(inner - i, out.length - e);
      if (blockSize === undefined) {
        const scale = scales[a]!;
        const zero = zeroPoints[a]!;
        for (let k = 0; k < run; k++) out[e + k] = Math.fround(codes[e + k]! - zero) * scale;
      } else {
        const base = (o * blocks + Math.floor(a / blockSize)) * inner + i;
        for (let k = 0; k < run; k++) {
          out[e + k] = Math.fround(codes[e + k]! - zeroPoints[base + k]!) * scales[base + k]!;
        }
      }
      e += run;
      i += run;
      if (i === inner) {
        i = 0;
        if (++a === length) {
          a = 0;
          o++;
        }
      }
    }
    await writeValues(context, to, first, out);
  }
  return { count, nonFinite: 0 };
}

/**
 * The last two axes exchanged: each matrix [a, b] of the stack is dequantized by itself, in bands of its columns, and written
 * turned. A band is read as pieces of rows, so memory stays at four tiles.
 */
async function runSwapped(operation: DequantizeAffine, context: DequantizeContext): Promise<WindowResult> {
  const { shape, type, axis, blockSize, scaleType, zeroPoint, to } = operation;
  const [a = 1, b = 1] = shape.slice(-2);
  const rank = shape.length;
  const matrices = shape.slice(0, -2).reduce((product, dim) => product * dim, 1);
  const scaleShape = shape.map((dim, i) => {
    if (axis === null || (blockSize === undefined && i !== axis)) return 1;
    return i === axis && blockSize !== undefined ? Math.ceil(dim / blockSize) : dim;
  });
  const parameters = scaleShape.reduce((product, dim) => product * dim, 1);
  const scales = await readScales(context, 'scale', scaleType, 0, parameters);
  const zeroPoints = zeroPoint
    ? await readCodes(context, 'zeroPoint', type, 0, parameters)
    : new Int32Array(parameters);
  /** Distance of the parameter of the next index of axis `i`. */
  const strideOf = (i: number): number =>
    scaleShape[i] === 1 ? 0 : scaleShape.slice(i + 1).reduce((product, dim) => product * dim, 1);
  const block = (i: number): number => (i === axis && blockSize !== undefined ? blockSize : 1);
  const rowStride = strideOf(rank - 2);
  const columnStride = strideOf(rank - 1);
  // A row of codes must start at a byte: whole rows where that is not given.
  const bits = DTYPES[type].bits;
  const step = bits < 8 && (b * bits) % 8 !== 0 ? b : Math.max(8, Math.floor(context.tileBytes / a / 8) * 8);
  for (let matrix = 0; matrix < matrices; matrix++) {
    let base = 0;
    for (let i = rank - 3, rest = matrix; i >= 0; i--) {
      const dim = shape[i] ?? 1;
      base += Math.floor((rest % dim) / block(i)) * strideOf(i);
      rest = Math.floor(rest / dim);
    }
    for (let column = 0; column < b; column += step) {
      await context.checkpoint();
      const width = Math.min(step, b - column);
      const turned = new Float32Array(width * a);
      const flat = width === b ? await readCodes(context, 'data', type, matrix * a * b, a * b) : undefined;
      for (let row = 0; row < a; row++) {
        const codes =
          flat?.subarray(row * b, row * b + b) ??
          (await readCodes(context, 'data', type, (matrix * a + row) * b + column, width));
        const rowBase = base + Math.floor(row / block(rank - 2)) * rowStride;
        for (let c = 0; c < width; c++) {
          const p = rowBase + Math.floor((column + c) / block(rank - 1)) * columnStride;
          turned[c * a + row] = Math.fround(codes[c]! - zeroPoints[p]!) * scales[p]!;
        }
      }
      await writeValues(context, to, (matrix * b + column) * a, turned);
    }
  }
  return { count: matrices * a * b, nonFinite: 0 };
}

/** Integer values of elements [index, index + count); `index` starts a byte. */
async function readCodes(
  context: DequantizeContext,
  role: PartRole,
  type: DequantizeAffine['type'],
  index: number,
  count: number,
): Promise<Int32Array> {
  const { bits, kind } = DTYPES[type];
  const bytes = new Uint8Array(Math.ceil((count * bits) / 8));
  await context.read(role, (index * bits) / 8, bytes);
  switch (type) {
    case 'int8':
      return Int32Array.from(new Int8Array(bytes.buffer));
    case 'uint8':
      return Int32Array.from(bytes);
    case 'int16':
      return Int32Array.from(new Int16Array(bytes.buffer));
    case 'uint16':
      return Int32Array.from(new Uint16Array(bytes.buffer));
    case 'int32':
      return new Int32Array(bytes.buffer);
    case 'int4':
    case 'uint4':
    case 'int2':
    case 'uint2': {
      const codes = new Uint8Array(count);
      context.kernels.unpackBits(bytes, bits, 'lowFirst', codes);
      const shift = 32 - bits;
      return Int32Array.from(codes, (code) => (kind === 'int' ? (code << shift) >> shift : code));
    }
    default:
      return type satisfies never;
  }
}
