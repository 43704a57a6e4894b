/**
 * Inputs that the user gives as files: .npy (NumPy format 1.0 to 3.0, little-endian, C order), .json (nested arrays of numbers)
 * or anything else as raw little-endian elements of the input's own type. Source: numpy.lib.format. Nothing in a file is
 * evaluated: the .npy header is matched, not run, and object arrays are refused.
 */

import { byteLength, DTYPES, type DType } from '../../core/dtype.ts';
import { elementCount, formatShape, type Shape } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import type { RuntimeTensor, RuntimeValueInfo } from '../../runtime/runtime.ts';
import { makeTensor, tensorValues } from './tensor-values.ts';

const NPY_TYPES: Readonly<Record<string, DType>> = {
  f2: 'f16',
  f4: 'f32',
  f8: 'f64',
  i1: 'int8',
  i2: 'int16',
  i4: 'int32',
  i8: 'int64',
  u1: 'uint8',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
  b1: 'bool',
};
/** Headers of real arrays have about 100 bytes; 64 KiB is what version 1.0 can express. */
const MAX_NPY_HEADER = 65536;
const MAX_JSON_DEPTH = 8;

/**
 * Reads `file` as a value for `info`, converted to its type. `shape` is what the user said; needed for raw files of inputs
 * with open dimensions. E_NOT_FOUND, E_ACCESS, E_SHAPE, E_DTYPE, E_NOT_A_MODEL say what is wrong with it.
 */
export async function readInputFile(
  file: string,
  info: RuntimeValueInfo,
  shape: Shape | undefined,
): Promise<RuntimeTensor> {
  const bytes = await readBytes(file);
  try {
    return asInput(parseInput(file, bytes, info, shape), info);
  } catch (error) {
    throw error instanceof WhittleError ? error.with({ file, tensor: info.name }) : error;
  }
}

function parseInput(
  file: string,
  bytes: Uint8Array,
  info: RuntimeValueInfo,
  shape: Shape | undefined,
): RuntimeTensor {
  if (/\.npy$/i.test(file)) return parseNpy(bytes);
  if (/\.json$/i.test(file)) return parseJson(bytes, info.dtype);
  return { dtype: info.dtype, shape: rawShape(info, shape, bytes.length), data: bytes };
}

async function readBytes(file: string): Promise<Uint8Array> {
  const { readFile } = await import('node:fs/promises');
  try {
    return await readFile(file);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'ENOENT')
      throw new WhittleError('E_NOT_FOUND', 'the input file does not exist', { file, cause });
    if (code === 'EACCES' || code === 'EPERM') {
      throw new WhittleError('E_ACCESS', 'the input file may not be read', { file, cause });
    }
    throw new WhittleError('E_IO', 'the input file cannot be read', { file, found: String(cause), cause });
  }
}

/** Exported for its tests. */
export function parseNpy(bytes: Uint8Array): RuntimeTensor {
  const wrong = (message: string, found?: string): WhittleError =>
    new WhittleError('E_NOT_A_MODEL', message, { found, hint: 'save the array with numpy.save' });
  const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
  if (bytes.length < 12 || magic.some((byte, index) => bytes[index] !== byte))
    throw wrong('this is no .npy file');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const major = view.getUint8(6);
  if (major < 1 || major > 3) throw wrong('unknown version of the .npy format', String(major));
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = major === 1 ? 10 : 12;
  if (length > MAX_NPY_HEADER || start + length > bytes.length) throw wrong('the .npy header is cut short');
  const header = new TextDecoder().decode(bytes.subarray(start, start + length));
  const descr = /'descr':\s*'([<>|=])([a-zA-Z]\d*)'/.exec(header);
  const order = /'fortran_order':\s*(True|False)/.exec(header)?.[1];
  const dims = /'shape':\s*\(([\d,\sL]*)\)/.exec(header)?.[1];
  if (descr === null || order === undefined || dims === undefined)
    throw wrong('the .npy header cannot be read', header);
  const dtype = NPY_TYPES[descr[2] ?? ''];
  if (dtype === undefined || descr[1] === '>') {
    throw new WhittleError('E_DTYPE', 'the .npy file holds elements that are not carried', {
      expected: 'little-endian numbers or bool',
      found: `${descr[1]}${descr[2]}`,
    });
  }
  const shape = dims
    .split(',')
    .map((dim) => dim.trim().replace('L', ''))
    .filter((dim) => dim !== '')
    .map(Number);
  if (order === 'True' && shape.length > 1) {
    throw new WhittleError('E_SHAPE', 'the .npy file is in Fortran order', {
      hint: 'save it with numpy.save(file, numpy.ascontiguousarray(array))',
    });
  }
  return { dtype, shape, data: bytes.slice(start + length) };
}

function parseJson(bytes: Uint8Array, dtype: DType): RuntimeTensor {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new WhittleError('E_NOT_A_MODEL', 'the input file is not JSON', {
      found: cause instanceof Error ? cause.message : String(cause),
      cause,
    });
  }
  const shape: number[] = [];
  for (let level: unknown = value; Array.isArray(level) && shape.length < MAX_JSON_DEPTH; level = level[0]) {
    shape.push(level.length);
  }
  const values: number[] = [];
  const collect = (part: unknown, depth: number): void => {
    if (depth === shape.length) {
      const number = typeof part === 'boolean' ? Number(part) : part;
      if (typeof number !== 'number') throw ragged('a number', part);
      values.push(number);
      return;
    }
    if (!Array.isArray(part) || part.length !== shape[depth])
      throw ragged(`an array of ${shape[depth]}`, part);
    for (const item of part) collect(item, depth + 1);
  };
  collect(value, 0);
  return makeTensor(dtype, shape, values);
}

function ragged(expected: string, found: unknown): WhittleError {
  return new WhittleError('E_SHAPE', 'the JSON input is not a regular array of numbers', {
    expected,
    found: (JSON.stringify(found) ?? 'nothing').slice(0, 80),
  });
}

/** The open dimension of a raw file follows from its length where only one is open. */
function rawShape(info: RuntimeValueInfo, shape: Shape | undefined, length: number): Shape {
  if (shape !== undefined) return shape;
  const open = info.shape.filter((dim) => typeof dim !== 'number').length;
  const known = info.shape.reduce<number>((product, dim) => product * (typeof dim === 'number' ? dim : 1), 1);
  const size = (length * 8) / DTYPES[info.dtype].bits / known;
  if (open > 1 || !Number.isInteger(size)) {
    throw new WhittleError('E_SHAPE', 'the shape of a raw input does not follow from its length', {
      expected: info.shape.map((dim) => dim ?? '?').join('×'),
      found: `${length} bytes`,
      hint: `give the shape too: --shape ${info.name}=…`,
    });
  }
  return info.shape.map((dim) => (typeof dim === 'number' ? dim : size));
}

/** Converted to the input's type; a tensor that cannot be its value is E_SHAPE. */
function asInput(tensor: RuntimeTensor, info: RuntimeValueInfo): RuntimeTensor {
  const count = elementCount(tensor.shape);
  if (count === undefined || byteLength(tensor.dtype, count) !== tensor.data.length) {
    throw new WhittleError('E_SHAPE', 'the input file does not fill its shape', {
      expected: `${formatShape(tensor.shape)} of ${tensor.dtype}`,
      found: `${tensor.data.length} bytes`,
    });
  }
  const agrees =
    tensor.shape.length === info.shape.length &&
    info.shape.every((dim, index) => typeof dim !== 'number' || dim === tensor.shape[index]);
  if (!agrees) {
    throw new WhittleError('E_SHAPE', 'the input file has another shape than the model wants', {
      expected: info.shape.map((dim) => dim ?? '?').join('×'),
      found: formatShape(tensor.shape),
    });
  }
  return tensor.dtype === info.dtype ? tensor : makeTensor(info.dtype, tensor.shape, tensorValues(tensor));
}
