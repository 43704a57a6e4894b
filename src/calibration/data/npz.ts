/**
 * NumPy's archive of arrays (.npz): a ZIP file with one .npy for each name (source: numpy.savez; PKWARE APPNOTE 6.3, sections 4.3
 * and 4.5.3 for archives beyond 4 GiB). The central directory is what counts. Members are stored or deflated; stored ones are read where
 * they lie, deflated ones are inflated up to the size that they declare, never more, and checked by their CRC.
 */

import { crc32, inflateRawSync } from 'node:zlib';
import { WhittleError } from '../../errors.ts';
import { assertRange, memorySource } from '../../io/memory-source.ts';
import type { ByteSource } from '../../io/source.ts';
import { type StoredArray, storedNpy, withFile } from './array-rows.ts';

const LOCAL = 0x04034b50;
const ENTRY = 0x02014b50;
const END = 0x06054b50;
const END64 = 0x06064b50;
const LOCATOR64 = 0x07064b50;
const END_SIZE = 22;
const MAX_COMMENT = 65535;
const MAX_ENTRIES = 4096;
const MAX_DIRECTORY = 16 << 20;
/** Inflated members are held in memory. */
const MAX_INFLATED = 2 ** 30;

interface Entry {
  readonly name: string;
  readonly method: number;
  readonly crc: number;
  readonly packed: number;
  readonly size: number;
  readonly at: number;
}

/** @throws WhittleError E_DATA where it is no .npz, E_TRUNCATED, E_CHECKSUM, E_LIMIT; see storedNpy */
export function readNpz(file: string): Promise<Map<string, StoredArray>> {
  return withFile(file, async (source) => {
    const arrays = new Map<string, StoredArray>();
    for (const entry of await directory(source)) {
      if (entry.name.endsWith('/')) continue;
      if (!/\.npy$/i.test(entry.name)) {
        throw corrupt(source, `it holds ${entry.name.slice(0, 80)}, which is no .npy`, entry.at);
      }
      const name = entry.name.replace(/\.npy$/i, '');
      if (arrays.has(name)) {
        throw new WhittleError('E_DUPLICATE', 'two arrays have one name', { file, tensor: name });
      }
      arrays.set(name, await openEntry(source, entry));
    }
    return arrays;
  });
}

async function openEntry(source: ByteSource, entry: Entry): Promise<StoredArray> {
  const head = await read(source, entry.at, 30);
  if (head.getUint32(0, true) !== LOCAL)
    throw corrupt(source, 'a member does not begin where it should', entry.at);
  const start = entry.at + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  if (entry.method === 0) {
    if (entry.packed !== entry.size) throw corrupt(source, 'a stored member has two sizes', entry.at);
    return storedNpy(source, start, entry.size);
  }
  if (entry.method !== 8) throw corrupt(source, `compression ${entry.method} is not known`, entry.at);
  if (entry.size > MAX_INFLATED) {
    throw new WhittleError('E_LIMIT', 'a compressed array is too large to be held in memory', {
      file: source.name,
      tensor: entry.name,
      expected: `at most ${MAX_INFLATED} bytes`,
      found: `${entry.size} bytes`,
      hint: 'Save it with numpy.savez, which does not compress.',
    });
  }
  assertRange(source.name, source.size, start, entry.packed);
  const packed = new Uint8Array(entry.packed);
  await source.readInto(start, packed);
  let bytes: Uint8Array;
  try {
    bytes = inflateRawSync(packed, { maxOutputLength: Math.max(1, entry.size) });
  } catch (cause) {
    throw corrupt(source, 'a compressed array cannot be inflated', start, cause);
  }
  if (bytes.length !== entry.size) throw corrupt(source, 'a compressed array has another size', start);
  if (crc32(bytes) !== entry.crc) {
    throw new WhittleError('E_CHECKSUM', 'a compressed array is not what was written', {
      file: source.name,
      tensor: entry.name,
      hint: 'Download or copy the file again.',
    });
  }
  const array = await storedNpy(memorySource(bytes, source.name), 0, bytes.length);
  return { ...array, bytes };
}

async function directory(source: ByteSource): Promise<Entry[]> {
  const { entries, size, at } = await directoryPlace(source);
  if (entries > MAX_ENTRIES || size > MAX_DIRECTORY) {
    throw new WhittleError('E_LIMIT', 'the archive has too many members', {
      file: source.name,
      expected: `at most ${MAX_ENTRIES}`,
      found: `${entries}`,
    });
  }
  const view = await read(source, at, size);
  const found: Entry[] = [];
  for (let p = 0, i = 0; i < entries; i++) {
    if (p + 46 > size || view.getUint32(p, true) !== ENTRY) {
      throw corrupt(source, 'its directory is damaged', at + p);
    }
    const flags = view.getUint16(p + 8, true);
    if ((flags & 1) !== 0) throw corrupt(source, 'its members are encrypted', at + p);
    const nameLength = view.getUint16(p + 28, true);
    const extraLength = view.getUint16(p + 30, true);
    const next = p + 46 + nameLength + extraLength + view.getUint16(p + 32, true);
    if (next > size) throw corrupt(source, 'its directory is damaged', at + p);
    const nameBytes = new Uint8Array(view.buffer, view.byteOffset + p + 46, nameLength);
    const wide = wideFields(view, p + 46 + nameLength, extraLength);
    const field = (value: number): number => (value === 0xffff_ffff ? wide() : value);
    const unpacked = field(view.getUint32(p + 24, true));
    const packed = field(view.getUint32(p + 20, true));
    found.push({
      name: new TextDecoder().decode(nameBytes),
      method: view.getUint16(p + 10, true),
      crc: view.getUint32(p + 16, true),
      packed,
      size: unpacked,
      at: field(view.getUint32(p + 42, true)),
    });
    p = next;
  }
  return found;
}

/** The 64-bit values of an extra field 1, in their order: size, packed size, offset, each only where its 32 bits are all ones. */
function wideFields(view: DataView, start: number, length: number): () => number {
  const values: number[] = [];
  for (let p = start; p + 4 <= start + length; ) {
    const size = view.getUint16(p + 2, true);
    if (view.getUint16(p, true) === 1) {
      for (let q = p + 4; q + 8 <= Math.min(p + 4 + size, start + length); q += 8) {
        values.push(Number(view.getBigUint64(q, true)));
      }
    }
    p += 4 + size;
  }
  // A missing value becomes one that no file has room for: reading it says E_TRUNCATED.
  return () => values.shift() ?? Number.MAX_SAFE_INTEGER;
}

async function directoryPlace(source: ByteSource): Promise<{ entries: number; size: number; at: number }> {
  const length = Math.min(source.size, END_SIZE + MAX_COMMENT);
  const first = await read(source, 0, Math.min(4, source.size));
  const isZip = first.byteLength === 4 && [LOCAL, END].includes(first.getUint32(0, true));
  if (!isZip) throw corrupt(source, 'it does not begin as a ZIP archive does', 0);
  const tail = await read(source, source.size - length, length);
  for (let p = length - END_SIZE; p >= 0; p--) {
    if (tail.getUint32(p, true) !== END || p + END_SIZE + tail.getUint16(p + 20, true) !== length) continue;
    const entries = tail.getUint16(p + 10, true);
    const size = tail.getUint32(p + 12, true);
    const at = tail.getUint32(p + 16, true);
    if (entries !== 0xffff && size !== 0xffff_ffff && at !== 0xffff_ffff) return { entries, size, at };
    if (p < 20 || tail.getUint32(p - 20, true) !== LOCATOR64) return { entries, size, at };
    const end = await read(source, Number(tail.getBigUint64(p - 12, true)), 56);
    if (end.getUint32(0, true) !== END64)
      throw corrupt(source, 'its directory is damaged', source.size - length + p);
    const wide = (offset: number): number => Number(end.getBigUint64(offset, true));
    return { entries: wide(32), size: wide(40), at: wide(48) };
  }
  throw new WhittleError('E_TRUNCATED', 'the archive ends before its directory', {
    file: source.name,
    offset: source.size,
    hint: 'Download or copy the file again: it is incomplete.',
  });
}

async function read(source: ByteSource, offset: number, length: number): Promise<DataView> {
  const bytes = new Uint8Array(length);
  await source.readInto(offset, bytes);
  return new DataView(bytes.buffer);
}

function corrupt(source: ByteSource, what: string, offset: number, cause?: unknown): WhittleError {
  return new WhittleError('E_DATA', `this is no .npz file: ${what}`, {
    file: source.name,
    offset,
    hint: 'Save the arrays with numpy.savez.',
    ...(cause === undefined ? {} : { cause }),
  });
}
