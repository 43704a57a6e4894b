/**
 * The header of NumPy's array file (.npy, format 1.0 to 3.0; source: numpy.lib.format): little-endian numbers or bool in C order.
 * The header is a Python expression; it is matched, never run, and object arrays are refused.
 */

import { byteLength, type DType } from '../../core/dtype.ts';
import { elementCount, type Shape } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';

const TYPES: Readonly<Record<string, DType>> = {
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
const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
/** Headers of real arrays have about 100 bytes; 64 KiB is what version 1.0 can express. */
export const MAX_NPY_HEADER = 65536;
export const NPY_PREFIX = 12;

export interface NpyHeader {
  readonly dtype: DType;
  readonly shape: Shape;
  /** Bytes before the elements. */
  readonly start: number;
  /** Bytes of the elements. */
  readonly bytes: number;
}

/**
 * @param bytes - the file's beginning: all of it, or at least `NPY_PREFIX + MAX_NPY_HEADER` bytes
 * @throws WhittleError E_NOT_A_MODEL, E_DTYPE, E_SHAPE
 */
export function parseNpyHeader(bytes: Uint8Array): NpyHeader {
  const wrong = (message: string, found?: string): WhittleError =>
    new WhittleError('E_NOT_A_MODEL', message, { found, hint: 'save the array with numpy.save' });
  if (bytes.length < NPY_PREFIX || MAGIC.some((byte, index) => bytes[index] !== byte))
    throw wrong('this is no .npy file');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const major = view.getUint8(6);
  if (major < 1 || major > 3) throw wrong('unknown version of the .npy format', String(major));
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const before = major === 1 ? 10 : 12;
  const start = before + length;
  if (length > MAX_NPY_HEADER || start > bytes.length) throw wrong('the .npy header is cut short');
  const header = new TextDecoder().decode(bytes.subarray(before, start));
  const descr = /'descr':\s*'([<>|=])([a-zA-Z]\d*)'/.exec(header);
  const order = /'fortran_order':\s*(True|False)/.exec(header)?.[1];
  const dims = /'shape':\s*\(([\d,\sL]*)\)/.exec(header)?.[1];
  if (descr === null || order === undefined || dims === undefined)
    throw wrong('the .npy header cannot be read', header);
  const dtype = TYPES[descr[2] ?? ''];
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
  const count = elementCount(shape);
  if (count === undefined) {
    throw new WhittleError('E_SHAPE', 'the .npy file claims more elements than any file holds', {
      found: dims,
    });
  }
  return { dtype, shape, start, bytes: byteLength(dtype, count) };
}
