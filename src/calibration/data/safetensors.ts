/**
 * Arrays in a safetensors file (source: the format's specification and its attack notes): 8 bytes with the length of a JSON header,
 * the header, then the elements. Strict: every tensor exactly as long as its shape says, none overlapping another, no gap,
 * nothing behind the last one.
 */

import { byteLength, type DType } from '../../core/dtype.ts';
import { elementCount, formatShape } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import { assertRange } from '../../io/memory-source.ts';
import { type StoredArray, withFile } from './array-rows.ts';
import { decodeText, isRecord, parseJsonText } from './read-text.ts';

const TYPES: Readonly<Record<string, DType>> = {
  F64: 'f64',
  F32: 'f32',
  F16: 'f16',
  BF16: 'bf16',
  I64: 'int64',
  I32: 'int32',
  I16: 'int16',
  I8: 'int8',
  U64: 'uint64',
  U32: 'uint32',
  U16: 'uint16',
  U8: 'uint8',
  BOOL: 'bool',
};
/** The limit of the reference reader. */
const MAX_HEADER = 100_000_000;

/** @throws WhittleError E_DATA where it is no safetensors file, E_TRUNCATED, E_DTYPE, E_TENSOR_SIZE, E_OFFSET */
export function readSafetensors(file: string): Promise<Map<string, StoredArray>> {
  return withFile(file, async (source) => {
    const prefix = new Uint8Array(8);
    await source.readInto(0, prefix);
    const length = Number(new DataView(prefix.buffer).getBigUint64(0, true));
    if (length < 2 || length > MAX_HEADER) {
      throw new WhittleError('E_DATA', 'this is no safetensors file', {
        file,
        offset: 0,
        expected: `a header of at most ${MAX_HEADER} bytes`,
        found: `${length} bytes`,
      });
    }
    assertRange(file, source.size, 8, length);
    const bytes = new Uint8Array(length);
    await source.readInto(8, bytes);
    const header = parseJsonText(decodeText(bytes, file, 8), file, 'the header');
    if (!isRecord(header)) throw new WhittleError('E_DATA', 'the header is no object', { file, offset: 8 });
    const arrays = new Map<string, StoredArray>();
    const ranges: { name: string; begin: number; end: number }[] = [];
    for (const [name, entry] of Object.entries(header)) {
      if (name === '__metadata__') continue;
      const { dtype, shape, begin, end } = describe(file, name, entry);
      ranges.push({ name, begin, end });
      arrays.set(name, { file, dtype, shape, offset: 8 + length + begin });
    }
    let at = 0;
    for (const { name, begin, end } of ranges.sort((a, b) => a.begin - b.begin || a.end - b.end)) {
      if (begin !== at) {
        throw new WhittleError(
          'E_OFFSET',
          begin < at ? 'two tensors overlap' : 'there is a gap before a tensor',
          {
            file,
            tensor: name,
            offset: 8 + length + begin,
          },
        );
      }
      at = end;
    }
    const size = source.size - 8 - length;
    if (at !== size) {
      throw new WhittleError(
        at > size ? 'E_TRUNCATED' : 'E_OFFSET',
        at > size ? 'the file ends before its last tensor does' : 'bytes follow the last tensor',
        {
          file,
          offset: 8 + length + Math.min(at, size),
          expected: `${at} bytes of tensors`,
          found: `${size} bytes`,
          hint: at > size ? 'Download or copy the file again: it is incomplete.' : undefined,
        },
      );
    }
    return arrays;
  });
}

function describe(
  file: string,
  tensor: string,
  entry: unknown,
): { dtype: DType; shape: number[]; begin: number; end: number } {
  const fail = (message: string): WhittleError =>
    new WhittleError('E_DATA', message, { file, tensor, found: JSON.stringify(entry)?.slice(0, 200) });
  if (!isRecord(entry)) throw fail('the header does not describe a tensor');
  const { dtype: type, shape: dims, data_offsets: offsets } = entry;
  const shape = counts(dims);
  const range = counts(offsets);
  const [begin, end] = range ?? [];
  if (shape === undefined || begin === undefined || end === undefined || range?.length !== 2 || end < begin) {
    throw fail('the header does not describe a tensor');
  }
  const dtype = typeof type === 'string' && Object.hasOwn(TYPES, type) ? TYPES[type] : undefined;
  if (dtype === undefined) {
    throw new WhittleError('E_DTYPE', 'the tensor is of a type that is not carried as data', {
      file,
      tensor,
      expected: Object.keys(TYPES).join(', '),
      found: String(type),
    });
  }
  const count = elementCount(shape);
  if (count === undefined || byteLength(dtype, count) !== end - begin) {
    throw new WhittleError('E_TENSOR_SIZE', 'the tensor does not fill its shape', {
      file,
      tensor,
      expected: `${type} ${formatShape(shape)}`,
      found: `${end - begin} bytes`,
    });
  }
  return { dtype, shape, begin, end };
}

function counts(value: unknown): number[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const numbers = value.filter(
    (item): item is number => typeof item === 'number' && Number.isSafeInteger(item) && item >= 0,
  );
  return numbers.length === value.length ? numbers : undefined;
}
