/**
 * Reads the head of one GGUF file (versions 2 and 3): metadata, tensor descriptions, where the data begins. Payloads and
 * arrays are not read; an array of texts is walked, since nothing else tells where it ends.
 *
 * Strict: every rule that ggml's own reader enforces is enforced here, with the byte where it is broken, and a count is
 * compared with what the file can hold before anything is allocated for it (CVE-2024-21802, -2025-53630, -2026-27940). Texts
 * are data: nothing in them is looked at.
 *
 * Source: ggml's gguf specification; docs/gguf.md.
 */

import { printable, WhittleError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';
import type { Limits } from '../limits.ts';
import { type Budget, createBudget, hold, limitError } from './budget.ts';
import { type Cursor, createCursor, truncated } from './cursor.ts';
import type { GgufEntry, GgufScalarType, GgufTensor } from './gguf.ts';
import { readTensors } from './reader-tensors.ts';
import { decodeName, decodeText, decodeValue, VALUE_BYTES, valueTypeOf } from './value-types.ts';
import { assertVersion } from './versions.ts';

export const DEFAULT_ALIGNMENT = 32;
/** Largest alignment: more would let one padded byte cost megabytes. */
export const MAX_ALIGNMENT = 1024 * 1024;
export const ALIGNMENT_KEY = 'general.alignment';

/** The head of one file. */
export interface GgufHead {
  readonly version: 2 | 3;
  readonly alignment: number;
  readonly metadata: ReadonlyMap<string, GgufEntry>;
  readonly tensors: readonly GgufTensor[];
  /** Where the data begins. */
  readonly dataOffset: number;
  readonly notes: readonly string[];
}

/** Magic, version, two counts. */
const HEADER_BYTES = 24;
/** Shortest key: length, one byte, type, a value of one byte. */
const MIN_ENTRY_BYTES = 8 + 1 + 4 + 1;
/** Shortest tensor: length, one byte, no dimensions, type, offset. */
const MIN_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8;

/**
 * Reads the head of the file in `source`, which is known to begin with the magic.
 * @param shard Number of the file among the parts of a split model.
 * @throws WhittleError E_TRUNCATED, E_VERSION, E_GGUF, E_LIMIT, E_DUPLICATE, E_ALIGN, E_SHAPE, E_DTYPE, E_OFFSET
 */
export async function readHead(source: ByteSource, limits: Limits, shard = 0): Promise<GgufHead> {
  const budget = createBudget(source.name, limits);
  const cursor = createCursor(source);
  await cursor.want(HEADER_BYTES);
  cursor.u32('the magic');
  const version = assertVersion(cursor.u32('the version'), source.name);
  const tensorCount = takeCount(cursor, budget, 'tensors', MIN_TENSOR_BYTES);
  const entryCount = takeCount(cursor, budget, 'keys', MIN_ENTRY_BYTES);
  const metadata = new Map<string, GgufEntry>();
  for (let i = 0; i < entryCount; i++) {
    const entry = await readEntry(cursor, budget, i);
    if (metadata.has(entry.key)) throw duplicateKey(entry);
    metadata.set(entry.key, entry);
    assertHeadSize(cursor, budget);
  }
  const alignment = alignmentOf(metadata, source.name);
  const { tensors, dataOffset, notes } = await readTensors(cursor, budget, {
    count: tensorCount,
    alignment,
    shard,
  });
  return { version, alignment, metadata, tensors, dataOffset, notes };
}

/** @throws WhittleError E_LIMIT */
export function assertHeadSize(cursor: Cursor, budget: Budget): void {
  if (cursor.position <= budget.limits.metadataBytes) return;
  throw limitError(budget, 'metadataBytes', 'the metadata is too long', cursor.position);
}

function takeCount(cursor: Cursor, budget: Budget, what: 'tensors' | 'keys', minBytes: number): number {
  const offset = cursor.position;
  const exact = cursor.u64(`the number of ${what}`);
  if (exact > BigInt(budget.limits.tensors)) {
    throw limitError(budget, 'tensors', `the file says that it has too many ${what}`, offset, exact);
  }
  const count = Number(exact);
  if (count * minBytes > cursor.rest) {
    throw new WhittleError('E_TRUNCATED', `the file is too short for the ${what} that it says it has`, {
      file: budget.file,
      offset,
      expected: `at least ${count * minBytes} bytes for ${count} ${what}`,
      found: `${cursor.rest} bytes`,
      hint: 'Download or copy the file again: it is incomplete, or the number is wrong.',
    });
  }
  return count;
}

async function readEntry(cursor: Cursor, budget: Budget, index: number): Promise<GgufEntry> {
  const { source } = cursor;
  const start = cursor.position;
  const key = await readKey(cursor, budget, index);
  const name = JSON.stringify(key);
  await cursor.want(4 + 4 + 8);
  const at = cursor.position;
  const number = cursor.u32(`the value type of ${name}`);
  const type = valueTypeOf(number);
  if (type === undefined) throw unknownType(budget, key, at, number);
  if (type === 'array') {
    const { elementType, count, offset } = await readArrayHead(cursor, budget, key);
    await skipElements(cursor, budget, key, elementType, count);
    const elements = { source, offset, length: cursor.position - offset };
    const record = { source, offset: start, length: cursor.position - start };
    return { key, type, elementType, count, elements, record };
  }
  const value = await readScalar(cursor, budget, key, type);
  return { key, type, value, record: { source, offset: start, length: cursor.position - start } };
}

async function readKey(cursor: Cursor, budget: Budget, index: number): Promise<string> {
  const start = cursor.position;
  const bytes = await readText(cursor, budget, `key ${index + 1}`);
  const key = decodeName(bytes);
  if (key === undefined || key === '') {
    throw new WhittleError('E_GGUF', `key ${index + 1} is ${key === '' ? 'empty' : 'not UTF-8 text'}`, {
      file: budget.file,
      offset: start,
      expected: 'a name',
      hint: 'The file is damaged, or was made by a faulty tool. Download or convert it again.',
    });
  }
  return key;
}

/** The bytes of a text, valid until the next read; charged. */
async function readText(cursor: Cursor, budget: Budget, what: string): Promise<Uint8Array> {
  const start = cursor.position;
  await cursor.want(8);
  const length = cursor.count(`the length of ${what}`);
  assertText(cursor, budget, start, length, what);
  hold(budget, length, start);
  await cursor.want(length);
  return cursor.bytes(length, what);
}

function assertText(cursor: Cursor, budget: Budget, start: number, length: number, what: string): void {
  if (length > cursor.rest)
    throw truncated(cursor.source, start + 8, length, cursor.position + cursor.rest, what);
  if (length > budget.limits.stringBytes) {
    throw limitError(budget, 'stringBytes', `the text of ${what} is too long`, start, length);
  }
}

async function readScalar(
  cursor: Cursor,
  budget: Budget,
  key: string,
  type: GgufScalarType,
): Promise<string | number | bigint | boolean> {
  const what = `the value of ${JSON.stringify(key)}`;
  if (type === 'string') return decodeText(await readText(cursor, budget, what));
  const start = cursor.position;
  const length = VALUE_BYTES[type];
  await cursor.want(length);
  const bytes = cursor.bytes(length, what);
  if (type === 'bool') assertBool(bytes, budget, key, start);
  return decodeValue(new DataView(bytes.buffer, bytes.byteOffset, length), 0, type);
}

async function readArrayHead(
  cursor: Cursor,
  budget: Budget,
  key: string,
): Promise<{ elementType: GgufScalarType; count: number; offset: number }> {
  const name = JSON.stringify(key);
  await cursor.want(12);
  const at = cursor.position;
  const number = cursor.u32(`the element type of ${name}`);
  const elementType = valueTypeOf(number);
  if (elementType === undefined) throw unknownType(budget, key, at, number);
  if (elementType === 'array') {
    throw new WhittleError('E_GGUF', `the value of ${name} is an array of arrays`, {
      file: budget.file,
      offset: at,
      expected: 'an array of single values',
      hint: 'No reader of llama.cpp takes nested arrays. Convert the model again.',
    });
  }
  const countAt = cursor.position;
  const exact = cursor.u64(`the length of the array ${name}`);
  if (exact > BigInt(budget.limits.arrayElements)) {
    throw limitError(budget, 'arrayElements', `the array ${name} is too long`, countAt, exact);
  }
  const count = Number(exact);
  const least = count * (elementType === 'string' ? 8 : VALUE_BYTES[elementType]);
  if (least > cursor.rest) {
    const end = cursor.position + cursor.rest;
    throw truncated(cursor.source, cursor.position, least, end, `the array ${name}`);
  }
  return { elementType, count, offset: cursor.position };
}

async function skipElements(
  cursor: Cursor,
  budget: Budget,
  key: string,
  elementType: GgufScalarType,
  count: number,
): Promise<void> {
  if (elementType === 'string') {
    await skipTexts(cursor, budget, key, count);
  } else if (elementType === 'bool') {
    // Few and short in real files, so that they can be looked at.
    await cursor.want(Math.min(count, cursor.rest));
    const start = cursor.position;
    assertBool(cursor.bytes(count, JSON.stringify(key)), budget, key, start);
  } else {
    cursor.skip(count * VALUE_BYTES[elementType], JSON.stringify(key));
  }
}

async function skipTexts(cursor: Cursor, budget: Budget, key: string, count: number): Promise<void> {
  for (let left = count; left > 0; ) {
    await cursor.want(8);
    const done = cursor.skipTexts(left, budget.limits.stringBytes);
    left -= done;
    assertHeadSize(cursor, budget);
    if (done > 0) continue;
    const what = `text ${count - left + 1} of ${JSON.stringify(key)}`;
    const start = cursor.position;
    const length = cursor.count(`the length of ${what}`);
    assertText(cursor, budget, start, length, what);
    cursor.skip(length, what);
    left--;
  }
}

function assertBool(bytes: Uint8Array, budget: Budget, key: string, start: number): void {
  const index = bytes.findIndex((byte) => byte > 1);
  if (index < 0) return;
  throw new WhittleError('E_GGUF', `the value of ${JSON.stringify(key)} is not a bool`, {
    file: budget.file,
    offset: start + index,
    expected: '0 or 1',
    found: String(bytes[index]),
    hint: 'The file is damaged, or was made by a faulty tool. Download or convert it again.',
  });
}

function unknownType(budget: Budget, key: string, offset: number, found: number): WhittleError {
  return new WhittleError('E_GGUF', `the value of ${JSON.stringify(key)} has an unknown type`, {
    file: budget.file,
    offset,
    expected: 'a type from 0 to 12',
    found: String(found),
    hint: 'The file is damaged, or newer than this version of whittle.',
  });
}

function duplicateKey({ key, record }: GgufEntry): WhittleError {
  return new WhittleError('E_DUPLICATE', `two values have the key "${printable(key)}"`, {
    file: record.source.name,
    offset: record.offset,
    expected: 'unique keys',
    hint: 'Convert the model again: readers differ in which of the two they take.',
  });
}

function alignmentOf(metadata: ReadonlyMap<string, GgufEntry>, file: string): number {
  const entry = metadata.get(ALIGNMENT_KEY);
  if (entry === undefined) return DEFAULT_ALIGNMENT;
  const found = entry.type === 'array' ? undefined : entry.value;
  if (entry.type === 'u32' && typeof found === 'number' && isAlignment(found)) return found;
  throw new WhittleError('E_ALIGN', `"${ALIGNMENT_KEY}" is not an alignment`, {
    file,
    offset: entry.record.offset,
    expected: `a power of two up to ${MAX_ALIGNMENT}, of type u32`,
    found: `${entry.type === 'array' ? 'an array' : `${String(entry.value).slice(0, 80)} of type ${entry.type}`}`,
    hint: 'The file is damaged, or was made by a faulty tool. Download or convert it again.',
  });
}

export function isAlignment(value: number): boolean {
  return Number.isInteger(value) && value > 0 && value <= MAX_ALIGNMENT && (value & (value - 1)) === 0;
}
