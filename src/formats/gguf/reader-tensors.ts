/**
 * Tensor descriptions of a GGUF file and the layout of its data: as ggml demands, payloads follow each other in the order
 * of the descriptions, each padded to the alignment, and each must lie within the file. That last check is the one whose
 * absence in another quantizer leaked memory into published models (CVE-2026-7482).
 */

import { GGML_TYPES, type GgmlType, ggmlBytes, ggmlTypeOf } from '../../core/ggml-types.ts';
import { WhittleError } from '../../errors.ts';
import { type Budget, hold, limitError } from './budget.ts';
import { type Cursor, truncated } from './cursor.ts';
import type { GgufTensor } from './gguf.ts';
import { decodeName } from './value-types.ts';

/** Longest tensor name, bytes: ggml keeps 64 with the NUL at the end. */
export const MAX_NAME_BYTES = 63;
export const MAX_DIMENSIONS = 4;
/** Longest description: name, four dimensions, type, offset. */
const MAX_TENSOR_BYTES = 8 + MAX_NAME_BYTES + 4 + 8 * MAX_DIMENSIONS + 4 + 8;

export interface TensorSection {
  readonly count: number;
  readonly alignment: number;
  readonly shard: number;
}

interface Description {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: GgmlType;
  readonly bytes: number;
}

/**
 * Reads the descriptions at the cursor and places their payloads.
 * @throws WhittleError E_TRUNCATED, E_LIMIT, E_GGUF, E_DUPLICATE, E_SHAPE, E_DTYPE, E_OFFSET
 */
export async function readTensors(
  cursor: Cursor,
  budget: Budget,
  { count, alignment, shard }: TensorSection,
): Promise<{ tensors: GgufTensor[]; dataOffset: number; notes: string[] }> {
  const { source } = cursor;
  const names = new Set<string>();
  const described: Description[] = [];
  let end = 0;
  for (let i = 0; i < count; i++) {
    await cursor.want(MAX_TENSOR_BYTES);
    const start = cursor.position;
    const tensor = readDescription(cursor, budget, i);
    if (names.has(tensor.name)) throw duplicateName(budget, tensor.name, start);
    names.add(tensor.name);
    assertOffset(cursor, budget, tensor.name, end);
    end += padded(tensor.bytes, alignment);
    described.push(tensor);
    if (cursor.position > budget.limits.metadataBytes) {
      throw limitError(budget, 'metadataBytes', 'the tensor descriptions are too long', cursor.position);
    }
  }
  const headEnd = cursor.position;
  const dataOffset = padded(headEnd, alignment);
  if (count > 0 && dataOffset > source.size) {
    throw truncated(
      source,
      headEnd,
      dataOffset - headEnd,
      source.size,
      'the padding before the tensors’ data',
    );
  }
  const tensors = placeTensors(described, cursor, dataOffset, alignment, shard);
  return {
    tensors,
    dataOffset,
    notes: endNotes(source.size, count === 0 ? headEnd : dataOffset, end, alignment),
  };
}

function readDescription(cursor: Cursor, budget: Budget, index: number): Description {
  const start = cursor.position;
  const name = readName(cursor, budget, index);
  const where = { file: budget.file, tensor: name };
  const shapeAt = cursor.position;
  const shape = readShape(cursor, budget, name);
  const typeAt = cursor.position;
  const number = cursor.u32(`the type of tensor ${JSON.stringify(name)}`);
  const type = ggmlTypeOf(number);
  if (type === undefined) {
    throw new WhittleError('E_DTYPE', 'the tensor has an unknown type', {
      ...where,
      offset: typeAt,
      expected: 'a type of ggml 0.25',
      found: `type ${number}${REMOVED_TYPES[number] === undefined ? '' : ` (${REMOVED_TYPES[number]})`}`,
      hint:
        REMOVED_TYPES[number] === undefined
          ? 'The file is damaged, or newer than this version of whittle.'
          : 'llama.cpp no longer has that type. Quantize the original model again.',
    });
  }
  const { size } = GGML_TYPES[type];
  if ((shape[0] ?? 1) % size !== 0) {
    throw new WhittleError('E_SHAPE', 'the rows of the tensor do not divide into blocks', {
      ...where,
      offset: shapeAt,
      expected: `a first dimension that is a multiple of ${size} (${type})`,
      found: String(shape[0]),
      hint: 'The file is damaged, or was made by a faulty tool. Download or convert it again.',
    });
  }
  const bytes = ggmlBytes(
    type,
    shape.reduce((product, dimension) => product * dimension, 1),
  );
  if (!Number.isSafeInteger(bytes)) throw tooLarge(budget, name, shapeAt, shape);
  hold(budget, name.length, start);
  return { name, shape, type, bytes };
}

/** Numbers of types that older files have. */
const REMOVED_TYPES: Readonly<Record<number, string>> = {
  4: 'q4_2, removed in 2023',
  5: 'q4_3, removed in 2023',
  31: 'q4_0_4_4, removed in 2024',
  32: 'q4_0_4_8, removed in 2024',
  33: 'q4_0_8_8, removed in 2024',
  36: 'iq4_nl_4_4, removed in 2024',
  37: 'iq4_nl_4_8, removed in 2024',
  38: 'iq4_nl_8_8, removed in 2024',
};

function readName(cursor: Cursor, budget: Budget, index: number): string {
  const start = cursor.position;
  const what = `the name of tensor ${index + 1}`;
  const length = cursor.count(what);
  if (length > MAX_NAME_BYTES) {
    if (length > cursor.rest) throw truncated(cursor.source, start + 8, length, cursor.source.size, what);
    throw nameError(budget, start, `${what} is too long`, `${length} bytes`);
  }
  const name = decodeName(cursor.bytes(length, what));
  if (name === undefined) throw nameError(budget, start, `${what} is not UTF-8 text`);
  if (name === '') throw nameError(budget, start, `${what} is empty`);
  // ggml compares names up to the first NUL: two of ours could be one of its.
  if (name.includes('\0')) throw nameError(budget, start, `${what} holds a NUL`);
  return name;
}

function nameError(budget: Budget, offset: number, message: string, found?: string): WhittleError {
  return new WhittleError('E_GGUF', message, {
    file: budget.file,
    offset,
    expected: `1 to ${MAX_NAME_BYTES} bytes of text`,
    found,
    hint: 'The file is damaged, or was made by a faulty tool. Download or convert it again.',
  });
}

function readShape(cursor: Cursor, budget: Budget, tensor: string): number[] {
  const what = `the shape of tensor ${JSON.stringify(tensor)}`;
  const start = cursor.position;
  const dimensions = cursor.u32(what);
  if (dimensions > MAX_DIMENSIONS) {
    throw new WhittleError('E_SHAPE', 'the tensor has too many dimensions', {
      file: budget.file,
      tensor,
      offset: start,
      expected: `at most ${MAX_DIMENSIONS}`,
      found: String(dimensions),
      hint: 'The file is damaged, or newer than this version of whittle.',
    });
  }
  const shape: number[] = [];
  let product = 1;
  for (let i = 0; i < dimensions; i++) {
    const at = cursor.position;
    const exact = cursor.u64(what);
    if (exact > BigInt(budget.limits.dimension)) {
      throw new WhittleError('E_SHAPE', 'a dimension of the tensor is negative or too large', {
        file: budget.file,
        tensor,
        offset: at,
        expected: `0 to ${budget.limits.dimension}`,
        found: String(BigInt.asIntN(64, exact)),
        hint: 'The file is damaged: download or convert it again.',
      });
    }
    shape.push(Number(exact));
    product *= Number(exact);
  }
  if (!Number.isSafeInteger(product)) throw tooLarge(budget, tensor, start, shape);
  // No dimension is one value, as [1] is.
  return dimensions === 0 ? [1] : shape;
}

function tooLarge(budget: Budget, tensor: string, offset: number, shape: readonly number[]): WhittleError {
  return new WhittleError('E_SHAPE', 'the tensor has more values than a file can hold', {
    file: budget.file,
    tensor,
    offset,
    expected: `at most ${Number.MAX_SAFE_INTEGER} values and bytes`,
    found: shape.join(' × '),
    hint: 'The file is damaged: download or convert it again.',
  });
}

function duplicateName(budget: Budget, tensor: string, offset: number): WhittleError {
  return new WhittleError('E_DUPLICATE', 'two tensors have the same name', {
    file: budget.file,
    tensor,
    offset,
    expected: 'unique names',
    hint: 'Convert the model again.',
  });
}

function assertOffset(cursor: Cursor, budget: Budget, tensor: string, expected: number): void {
  const offset = cursor.position;
  const found = cursor.u64(`the offset of tensor ${JSON.stringify(tensor)}`);
  if (found === BigInt(expected)) return;
  throw new WhittleError('E_OFFSET', 'the data of the tensor is not where it should be', {
    file: budget.file,
    tensor,
    offset,
    expected: `offset ${expected}: right behind the tensor before it, padded`,
    found: `offset ${found}`,
    hint: 'Tensors with gaps or sharing bytes are not GGUF. Convert the model again.',
  });
}

function placeTensors(
  described: readonly Description[],
  { source }: Cursor,
  dataOffset: number,
  alignment: number,
  shard: number,
): GgufTensor[] {
  let offset = dataOffset;
  return described.map(({ name, shape, type, bytes }) => {
    if (offset + bytes > source.size) {
      throw truncated(source, offset, bytes, source.size, `the data of tensor ${JSON.stringify(name)}`).with({
        tensor: name,
      });
    }
    const data = { source, offset, length: bytes };
    offset += padded(bytes, alignment);
    return { name, shape, type, data, shard };
  });
}

/** What is odd about the end of the file without harm: llama.cpp reads such files. */
function endNotes(size: number, dataOffset: number, dataBytes: number, alignment: number): string[] {
  const end = dataOffset + dataBytes;
  if (size < end) return ['the padding behind the last tensor is missing'];
  const extra = size - end;
  // A file without tensors may end with or without the padding of its head.
  if (extra === 0 || (dataBytes === 0 && size === padded(dataOffset, alignment))) return [];
  return [`${extra} bytes follow the last tensor (from byte ${end}); nothing reads them`];
}

export function padded(length: number, alignment: number): number {
  return Math.ceil(length / alignment) * alignment;
}
