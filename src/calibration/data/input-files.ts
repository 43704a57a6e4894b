/**
 * Inputs that the user gives as files: .npy (NumPy format 1.0 to 3.0, little-endian, C order), .json (nested arrays of numbers)
 * or anything else as raw little-endian elements of the input's own type. Source: numpy.lib.format. Nothing in a file is
 * evaluated: the .npy header is matched, not run, and object arrays are refused.
 */

import { byteLength, DTYPES, type DType } from '../../core/dtype.ts';
import { elementCount, formatShape, type Shape } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import type { RuntimeTensor, RuntimeValueInfo } from '../../runtime/runtime.ts';
import { jsonTensor } from './json-tensor.ts';
import { parseNpyHeader } from './npy.ts';
import { makeTensor, tensorValues } from './tensor-values.ts';

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
  const { dtype, shape, start } = parseNpyHeader(bytes);
  return { dtype, shape, data: bytes.slice(start) };
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
  return jsonTensor(value, dtype);
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
