/**
 * The values of a tensor as f32, whatever its type: what inspecting, comparing and sampling read. Pieces are whole blocks, so
 * that tensors of any size are read in bounded memory.
 */

import { GGML_TYPES, type GgmlType, ggmlBytes, isBlockType } from '../../core/ggml-types.ts';
import { WhittleError } from '../../errors.ts';
import type { GgufTensor } from '../../formats/gguf/gguf.ts';
import type { Kernels } from '../../kernels/kernels.ts';

/** Values of one piece: 4 MiB of f32; a multiple of every block. */
export const PIECE = 1 << 20;

export function valueCount({ shape }: Pick<GgufTensor, 'shape'>): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** Types that hold weights; others (integers, forms of llama.cpp's own arithmetic) have no values to speak of. */
export function hasValues(type: GgmlType): boolean {
  return isBlockType(type) || type === 'f32' || type === 'f16' || type === 'bf16' || type === 'f64';
}

/** Loads what decoding (and encoding) the types takes; later calls cost nothing. */
export async function prepareTypes(kernels: Kernels, types: Iterable<GgmlType>): Promise<void> {
  for (const type of types) if (isBlockType(type)) await kernels.prepareBlocks(type);
}

/** `source` holds whole blocks for the values of `target`. */
export function decodeValues(
  kernels: Kernels,
  type: GgmlType,
  source: Uint8Array,
  target: Float32Array,
): void {
  if (isBlockType(type)) kernels.dequantizeBlocks(type, source, target);
  else if (type === 'f32') bytesOf(target).set(source);
  else if (type === 'f16' || type === 'bf16' || type === 'f64') {
    kernels.convert(type, 'f32', source, bytesOf(target), target.length);
  } else throw noValues(type);
}

/** Rows of `columns` values to `type`. */
export function encodeValues(
  kernels: Kernels,
  type: GgmlType,
  values: Float32Array,
  columns: number,
  importance: Float32Array | undefined,
  target: Uint8Array,
): void {
  if (isBlockType(type)) kernels.quantizeBlocks(type, values, columns, importance, target);
  else if (type === 'f32') target.set(bytesOf(values));
  else if (type === 'f16' || type === 'bf16') {
    kernels.convert('f32', type, bytesOf(values), target, values.length);
  } else throw noValues(type);
}

/**
 * Yields the values in order. The array is reused: it is valid until the next step, and not beyond a call of
 * `kernels.arena`.
 */
export async function* tensorPieces(tensor: GgufTensor, kernels: Kernels): AsyncGenerator<Float32Array> {
  const count = valueCount(tensor);
  if (count === 0) return;
  await prepareTypes(kernels, [tensor.type]);
  const length = Math.min(PIECE, count);
  const arena = kernels.arena(length * 4 + ggmlBytes(tensor.type, length) + 64);
  const values = arena.f32(length);
  const raw = arena.u8(ggmlBytes(tensor.type, length));
  for (let start = 0; start < count; start += length) {
    const part = values.subarray(0, Math.min(length, count - start));
    await readValues(tensor, start, raw, part, kernels);
    yield part;
  }
}

/** Reads values from `start` on (a multiple of the block) by way of `raw`. */
export async function readValues(
  { type, data }: GgufTensor,
  start: number,
  raw: Uint8Array,
  target: Float32Array,
  kernels: Kernels,
): Promise<void> {
  const source = raw.subarray(0, ggmlBytes(type, target.length));
  await data.source.readInto(data.offset + ggmlBytes(type, start), source);
  decodeValues(kernels, type, source, target);
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function noValues(type: GgmlType): WhittleError {
  return new WhittleError('E_UNSUPPORTED', `${type} holds no weights that can be read`, {
    found: `${type} (type ${GGML_TYPES[type].id})`,
  });
}

/** All values of a tensor, in order. @throws WhittleError E_NONFINITE for NaN and Inf */
export async function tensorValues(tensor: GgufTensor, kernels: Kernels): Promise<Float32Array> {
  const values = new Float32Array(valueCount(tensor));
  let at = 0;
  for await (const piece of tensorPieces(tensor, kernels)) {
    values.set(piece, at);
    at += piece.length;
  }
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return values;
  throw new WhittleError('E_NONFINITE', 'an algorithm cannot weigh errors of values that are not finite', {
    tensor: tensor.name,
    expected: 'finite weights',
    found: `${values[bad]} at element ${bad}`,
  });
}
