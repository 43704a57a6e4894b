/**
 * Opens importance matrices in both file forms of llama-imatrix: GGUF (sums of squares and counts for each weight) and the old
 * `.dat` (sums already divided, with one number for each weight). Values stay in the file.
 *
 * Strict: sizes are compared with the file before anything is held; a matrix that llama-quantize would refuse or read
 * otherwise is refused. A `.dat` of the first kind, which ends behind its entries, is accepted.
 *
 * Source: llama.cpp's imatrix-loader; docs/gguf.md.
 */

import { WhittleError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';
import { DEFAULT_LIMITS, type Limits } from '../limits.ts';
import { describeForeign, readHeadBytes } from '../sniff.ts';
import { createBudget, hold, limitError } from './budget.ts';
import { type Cursor, createCursor, truncated } from './cursor.ts';
import type { GgufModel, GgufTensor } from './gguf.ts';
import type { Imatrix, ImatrixEntry } from './imatrix-types.ts';
import { isGguf } from './model-sniff.ts';
import { openGgufSource } from './open-source.ts';
import { decodeName, decodeText } from './value-types.ts';

export const DATASETS_KEY = 'imatrix.datasets';
export const CHUNK_COUNT_KEY = 'imatrix.chunk_count';
export const CHUNK_SIZE_KEY = 'imatrix.chunk_size';
export const SUMS_SUFFIX = '.in_sum2';
export const COUNTS_SUFFIX = '.counts';

export interface OpenImatrixOptions {
  readonly limits?: Partial<Limits> | undefined;
}

/**
 * Opens an importance matrix, which owns the source from then on, also where opening fails.
 * @throws WhittleError E_IMATRIX (it is none, or breaks a rule), E_TRUNCATED, E_LIMIT, E_DUPLICATE, and what `openGgufSource`
 *   throws
 */
export async function openImatrixSource(
  source: ByteSource,
  options: OpenImatrixOptions = {},
): Promise<Imatrix> {
  try {
    const head = await readHeadBytes(source, 'imatrix');
    if (await isGguf(source)) return await fromGguf(await openGgufSource(source, options));
    const foreign = describeForeign(head, 'imatrix', source.name);
    if (foreign !== undefined) throw foreign;
    return await readLegacy(source, { ...DEFAULT_LIMITS, ...options.limits });
  } catch (error) {
    await source.close();
    throw error instanceof WhittleError ? error.with({ file: source.name }) : error;
  }
}

// The GGUF form

async function fromGguf(model: GgufModel): Promise<Imatrix> {
  const keys = [DATASETS_KEY, CHUNK_COUNT_KEY, CHUNK_SIZE_KEY];
  const absent = keys.filter((key) => model.entry(key) === undefined);
  if (absent.length > 0) {
    throw new WhittleError('E_IMATRIX', 'the file is GGUF, but no importance matrix', {
      file: model.file,
      expected: `the keys ${keys.join(', ')}`,
      found: `no ${absent.join(', ')}${model.architecture === undefined ? '' : `; a model (${model.architecture})`}`,
      hint: 'Give the file that llama-imatrix wrote.',
    });
  }
  const entries = gatherEntries(model);
  return {
    file: model.file,
    form: 'gguf',
    entries,
    datasets: await readDatasets(model),
    chunks: chunkNumber(model, CHUNK_COUNT_KEY),
    chunkSize: chunkNumber(model, CHUNK_SIZE_KEY),
    close: () => model.close(),
  };
}

async function readDatasets(model: GgufModel): Promise<string[]> {
  const entry = model.entry(DATASETS_KEY);
  if (entry?.type !== 'array' || entry.elementType !== 'string') {
    throw wrongKey(model, DATASETS_KEY, 'an array of texts');
  }
  return (await model.readArray(entry)).map(String);
}

function chunkNumber(model: GgufModel, key: string): number {
  const entry = model.entry(key);
  if (entry?.type !== 'u32' || typeof entry.value !== 'number') {
    throw wrongKey(model, key, 'a number of type u32');
  }
  return entry.value;
}

function wrongKey(model: GgufModel, key: string, expected: string): WhittleError {
  const entry = model.entry(key);
  return new WhittleError('E_IMATRIX', `"${key}" of the importance matrix is of the wrong type`, {
    file: model.file,
    offset: entry?.record.offset,
    expected,
    found: entry?.type,
    hint: 'Make the matrix again with llama-imatrix.',
  });
}

interface Pair {
  sums?: GgufTensor;
  counts?: GgufTensor;
}

function gatherEntries(model: GgufModel): Map<string, ImatrixEntry> {
  const pairs = new Map<string, Pair>();
  const pairOf = (name: string): Pair => {
    const pair = pairs.get(name) ?? {};
    pairs.set(name, pair);
    return pair;
  };
  for (const tensor of model.tensors) {
    if (tensor.name.endsWith(SUMS_SUFFIX)) {
      pairOf(tensor.name.slice(0, -SUMS_SUFFIX.length)).sums = tensor;
    } else if (tensor.name.endsWith(COUNTS_SUFFIX)) {
      pairOf(tensor.name.slice(0, -COUNTS_SUFFIX.length)).counts = tensor;
    }
  }
  const entries = new Map<string, ImatrixEntry>();
  for (const [name, pair] of pairs) entries.set(name, entryOf(name, pair, model.file));
  if (entries.size > 0) return entries;
  throw new WhittleError('E_IMATRIX', 'the importance matrix has no entries', {
    file: model.file,
    expected: `tensors "<weight>${SUMS_SUFFIX}" and "<weight>${COUNTS_SUFFIX}"`,
    found: `${model.tensors.length} other tensors`,
    hint: 'Make the matrix again with llama-imatrix.',
  });
}

function entryOf(name: string, { sums, counts }: Pair, file: string): ImatrixEntry {
  if (sums === undefined || counts === undefined) {
    throw wrongEntry(file, name, `both "${SUMS_SUFFIX}" and "${COUNTS_SUFFIX}"`, 'one of them');
  }
  if (sums.type !== 'f32' || counts.type !== 'f32') {
    throw wrongEntry(file, name, 'sums and counts of type f32', `${sums.type} and ${counts.type}`);
  }
  const values = sums.data.length / 4;
  const matrices = counts.data.length / 4;
  const columns = values / matrices;
  if (matrices < 1 || values < 1 || !Number.isInteger(columns)) {
    throw wrongEntry(file, name, 'as many values for each count', `${values} values, ${matrices} counts`);
  }
  return {
    name,
    columns,
    matrices,
    values: { kind: 'range', ...sums.data },
    counts: { kind: 'range', ...counts.data },
  };
}

function wrongEntry(file: string, tensor: string, expected: string, found: string): WhittleError {
  return new WhittleError('E_IMATRIX', 'an entry of the importance matrix is not complete', {
    file,
    tensor,
    expected,
    found,
    hint: 'Make the matrix again with llama-imatrix.',
  });
}

// The old form

/** Length of the name, one byte of it, number of calls, number of values, one value. */
const MIN_ENTRY_BYTES = 4 + 1 + 4 + 4 + 4;

async function readLegacy(source: ByteSource, limits: Limits): Promise<Imatrix> {
  const cursor = createCursor(source);
  const budget = createBudget(source.name, limits);
  await cursor.want(4);
  const count = cursor.u32('the number of entries') | 0;
  if (count < 1 || (count > limits.tensors && count * MIN_ENTRY_BYTES > cursor.rest)) {
    throw new WhittleError('E_IMATRIX', 'this is not an importance matrix', {
      file: source.name,
      offset: 0,
      expected: 'a GGUF file, or a .dat file that begins with the number of its entries',
      found: `the number ${count}`,
      hint: 'Give the file that llama-imatrix wrote.',
    });
  }
  if (count > limits.tensors)
    throw limitError(budget, 'tensors', 'the matrix has too many entries', 0, count);
  if (count * MIN_ENTRY_BYTES > cursor.rest) {
    throw truncated(source, 4, count * MIN_ENTRY_BYTES, source.size, `the ${count} entries`);
  }
  const entries = new Map<string, ImatrixEntry>();
  for (let i = 0; i < count; i++) {
    const start = cursor.position;
    const entry = await readLegacyEntry(cursor, limits, i);
    hold(budget, entry.name.length, start);
    if (entries.has(entry.name)) {
      throw new WhittleError('E_DUPLICATE', 'two entries of the importance matrix have the same name', {
        file: source.name,
        tensor: entry.name,
        offset: start,
        hint: 'Make the matrix again with llama-imatrix.',
      });
    }
    entries.set(entry.name, entry);
  }
  const { chunks, datasets } = await readTrailer(cursor, limits);
  return {
    file: source.name,
    form: 'dat',
    entries,
    datasets,
    chunks,
    chunkSize: undefined,
    close: () => source.close(),
  };
}

async function readLegacyEntry(cursor: Cursor, limits: Limits, index: number): Promise<ImatrixEntry> {
  const { source } = cursor;
  const start = cursor.position;
  const what = `entry ${index + 1}`;
  const name = decodeName(await takeText(cursor, limits, `the name of ${what}`));
  if (name === undefined || name === '' || name.includes('\0')) {
    throw legacyError(source.name, start, `the name of ${what} is empty or no text`);
  }
  await cursor.want(8);
  const calls = cursor.u32(what) | 0;
  const at = cursor.position;
  const columns = cursor.u32(what) | 0;
  if (columns < 1) {
    throw legacyError(source.name, at, `${what} has no values`, `${columns} values`, name);
  }
  const offset = cursor.position;
  cursor.skip(4 * columns, `the values of ${JSON.stringify(name)}`);
  return {
    name,
    columns,
    matrices: 1,
    values: { kind: 'range', source, offset, length: 4 * columns },
    // llama-quantize takes the values as they are where nothing was counted.
    counts: Math.max(1, calls),
  };
}

/** Chunks, then the name of the text; the first .dat files end before it. */
async function readTrailer(
  cursor: Cursor,
  limits: Limits,
): Promise<{ chunks: number; datasets: readonly string[] }> {
  if (cursor.rest === 0) return { chunks: 0, datasets: [] };
  await cursor.want(4);
  const chunks = Math.max(0, cursor.u32('the number of chunks') | 0);
  if (cursor.rest === 0) return { chunks, datasets: [] };
  const dataset = decodeText(await takeText(cursor, limits, 'the name of the dataset'));
  if (cursor.rest > 0) {
    throw legacyError(
      cursor.source.name,
      cursor.position,
      'bytes follow the end of the matrix',
      `${cursor.rest} bytes`,
    );
  }
  return { chunks, datasets: dataset === '' ? [] : [dataset] };
}

async function takeText(cursor: Cursor, limits: Limits, what: string): Promise<Uint8Array> {
  const start = cursor.position;
  await cursor.want(4);
  const length = cursor.u32(`the length of ${what}`) | 0;
  if (length < 0)
    throw legacyError(cursor.source.name, start, `the length of ${what} is negative`, `${length}`);
  if (length > cursor.rest) throw truncated(cursor.source, start + 4, length, cursor.source.size, what);
  if (length > limits.stringBytes) {
    throw limitError(
      { file: cursor.source.name, limits },
      'stringBytes',
      `${what} is too long`,
      start,
      length,
    );
  }
  await cursor.want(length);
  return cursor.bytes(length, what);
}

function legacyError(
  file: string,
  offset: number,
  message: string,
  found?: string,
  tensor?: string,
): WhittleError {
  return new WhittleError('E_IMATRIX', message, {
    file,
    tensor,
    offset,
    found,
    hint: 'The file is damaged, or is no importance matrix. Make the matrix again with llama-imatrix.',
  });
}
