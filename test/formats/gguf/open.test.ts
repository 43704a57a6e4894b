/** What is read of a good file: metadata of every type, tensors, versions, alignments, and how little of it is read. */

import { mkdtemp, open, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { GgufArrayEntry, GgufModel } from '../../../src/formats/gguf/gguf.ts';
import { openGguf } from '../../../src/formats/gguf/open.ts';
import { blobSource } from '../../../src/io/blob-source.ts';
import { memorySource } from '../../../src/io/memory-source.ts';
import { SHARED_ABSENT, sharedPath } from '../../shared.ts';
import { type BuildEntry, buildGguf, joined } from './build-gguf.ts';
import { countingSource } from './counting-source.ts';

const ALL_TYPES: readonly BuildEntry[] = [
  ['general.architecture', 'string', 'llama'],
  ['a.u8', 'u8', 255],
  ['a.i8', 'i8', -128],
  ['a.u16', 'u16', 65535],
  ['a.i16', 'i16', -32768],
  ['a.u32', 'u32', 4294967295],
  ['a.i32', 'i32', -2147483648],
  ['a.f32', 'f32', 0.5],
  ['a.bool', 'bool', true],
  ['a.string', 'string', 'déjà vu 日本 \u0000 end'],
  ['a.u64', 'u64', 2n ** 64n - 1n],
  ['a.i64', 'i64', -(2n ** 63n)],
  ['a.f64', 'f64', 1e300],
];

function array(model: GgufModel, key: string): GgufArrayEntry {
  const entry = model.entry(key);
  if (entry?.type !== 'array') throw new Error(`${key} is no array`);
  return entry;
}

describe('metadata', () => {
  test.each([2, 3])('every scalar type of version %i is decoded, in file order', async (version) => {
    await using model = await openGguf(memorySource(buildGguf({ version, metadata: ALL_TYPES })));
    expect(model.version).toBe(version);
    expect(model.architecture).toBe('llama');
    expect(model.metadata.map(({ key }) => key)).toEqual(ALL_TYPES.map(([key]) => key));
    for (const [key, type, value] of ALL_TYPES) {
      expect(model.value(key)).toBe(value);
      expect(model.entry(key)?.type).toBe(type);
    }
    expect(model.notes).toEqual([]);
  });

  test.each([
    ['u8[]', [0, 255]],
    ['i8[]', [-128, 127]],
    ['u16[]', [65535]],
    ['i16[]', [-1, 2]],
    ['u32[]', [1, 2, 3]],
    ['i32[]', [-1, 0]],
    ['f32[]', [1.5, -0.25]],
    ['bool[]', [true, false]],
    ['string[]', ['', 'a', 'ü', 'a\u0000b']],
    ['u64[]', [1n, 2n ** 63n]],
    ['i64[]', [-1n]],
    ['f64[]', [Math.PI]],
    ['string[]', []],
    ['f32[]', []],
  ] as const)('%s are decoded on demand, whole and in pieces', async (type, values) => {
    const bytes = buildGguf({
      metadata: [
        ['k', type, values],
        ['after', 'u8', 7],
      ],
    });
    await using model = await openGguf(memorySource(bytes));
    const entry = array(model, 'k');
    expect(entry.count).toBe(values.length);
    expect(await model.readArray(entry)).toEqual(values);
    expect(await model.readArray(entry, 1)).toEqual(values.slice(1));
    expect(await model.readArray(entry, 1, 1)).toEqual(values.slice(1, 2));
    expect(await model.readArray(entry, 99, 5)).toEqual([]);
    expect(model.value('after')).toBe(7);
    expect(model.value('k')).toBeUndefined();
    await expect(model.readArray(entry, -1)).rejects.toMatchObject({ code: 'E_USAGE' });
  });

  test('names like __proto__ are plain data', async () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'a\u001b[31m\u0000b'];
    const metadata = names.map((key): BuildEntry => [key, 'string', `of ${key}`]);
    await using model = await openGguf(
      memorySource(buildGguf({ metadata, tensors: [{ name: '__proto__', shape: [1], type: 'f32' }] })),
    );
    for (const key of names) expect(model.value(key)).toBe(`of ${key}`);
    expect(model.value('valueOf')).toBeUndefined();
    expect(model.tensors[0]?.name).toBe('__proto__');
  });

  test('the record of an entry is its bytes in the file', async () => {
    const bytes = buildGguf({ metadata: ALL_TYPES });
    await using model = await openGguf(memorySource(bytes));
    const records = model.metadata.map(({ record }) =>
      bytes.subarray(record.offset, record.offset + record.length),
    );
    expect(joined(bytes.subarray(0, 24), ...records)).toEqual(
      bytes.subarray(0, 24 + joined(...records).length),
    );
  });

  test('texts that are not UTF-8 are values like others, and keep their bytes', async () => {
    const bytes = buildGguf({
      metadata: [
        ['k', 'string', 'ab'],
        ['l', 'u8', 1],
      ],
    });
    bytes.set([0xff, 0xfe], bytes.indexOf(0x61, 30));
    await using model = await openGguf(memorySource(bytes));
    expect(model.value('k')).toBe('\ufffd\ufffd');
    expect(model.value('l')).toBe(1);
  });
});

describe('tensors', () => {
  test('shape, type and place of every tensor are given', async () => {
    const bytes = buildGguf({
      metadata: [['general.architecture', 'string', 'llama']],
      tensors: [
        { name: 'scalar', shape: [], type: 'f32', bytes: Uint8Array.of(1, 2, 3, 4) },
        { name: 'empty', shape: [32, 0], type: 'q4_0' },
        { name: 'blocks', shape: [256, 2, 1, 3], type: 'q4_K', bytes: new Uint8Array(864).fill(5) },
        { name: 'halves', shape: [3, 5], type: 'f16', bytes: new Uint8Array(30).fill(6) },
      ],
    });
    await using model = await openGguf(memorySource(bytes));
    expect(model.tensors.map(({ name, shape, type, shard }) => ({ name, shape, type, shard }))).toEqual([
      { name: 'scalar', shape: [1], type: 'f32', shard: 0 },
      { name: 'empty', shape: [32, 0], type: 'q4_0', shard: 0 },
      { name: 'blocks', shape: [256, 2, 1, 3], type: 'q4_K', shard: 0 },
      { name: 'halves', shape: [3, 5], type: 'f16', shard: 0 },
    ]);
    const payloads = model.tensors.map(({ data }) => bytes.subarray(data.offset, data.offset + data.length));
    expect(payloads.map((payload) => payload.length)).toEqual([4, 0, 864, 30]);
    expect(payloads[0]).toEqual(Uint8Array.of(1, 2, 3, 4));
    expect(payloads[2]?.every((byte) => byte === 5)).toBe(true);
    expect(payloads[3]?.every((byte) => byte === 6)).toBe(true);
  });

  test.each([1, 8, 64, 4096, 1024 * 1024])('alignment %i places the data', async (alignment) => {
    const tensors = [1, 2, 3].map((i) => ({
      name: `t${i}`,
      shape: [i],
      type: 'f32' as const,
      bytes: new Uint8Array(4 * i).fill(i),
    }));
    const bytes = buildGguf({ tensors, alignment });
    await using model = await openGguf(memorySource(bytes));
    expect(model.alignment).toBe(alignment);
    for (const [index, { data }] of model.tensors.entries()) {
      expect(data.offset % alignment).toBe(0);
      expect(bytes[data.offset]).toBe(index + 1);
    }
  });

  test('bytes behind the last tensor are a note', async () => {
    const bytes = buildGguf({ tensors: [{ name: 't', shape: [8], type: 'f32' }] });
    await using model = await openGguf(memorySource(joined(bytes, Uint8Array.of(1, 2, 3))));
    expect(model.notes).toEqual([
      `3 bytes follow the last tensor (from byte ${bytes.length}); nothing reads them`,
    ]);
  });

  test('missing padding behind the last tensor is a note, since llama.cpp reads such files', async () => {
    const bytes = buildGguf({ tensors: [{ name: 't', shape: [1], type: 'f32' }] });
    await using model = await openGguf(memorySource(bytes.subarray(0, bytes.length - 28)));
    expect(model.notes).toEqual(['the padding behind the last tensor is missing']);
  });
});

describe('how much is read', () => {
  test('a vocabulary is walked in pieces, and payloads and numbers are not read', async () => {
    const tokens = Array.from({ length: 50_000 }, (_, i) => `token ${i}`);
    const bytes = buildGguf({
      metadata: [
        ['tokens', 'string[]', tokens],
        ['scores', 'f32[]', new Array(500_000).fill(1)],
        ['after', 'string', 'seen'],
      ],
      tensors: [{ name: 't', shape: [1024, 1024], type: 'f32' }],
    });
    const counting = countingSource(memorySource(bytes));
    await using model = await openGguf(counting.source);
    expect(model.value('after')).toBe('seen');
    expect(counting.largest).toBeLessThanOrEqual(256 * 1024);
    expect(counting.total).toBeLessThan(2_000_000);
    const entry = array(model, 'tokens');
    expect(await model.readArray(entry, 49_998)).toEqual(tokens.slice(49_998));
  });

  test('a text longer than the window is walked over without being read', async () => {
    const long = 'x'.repeat(1_000_000);
    const bytes = buildGguf({
      metadata: [
        ['k', 'string[]', [long, 'b', long]],
        ['after', 'u8', 1],
      ],
    });
    const counting = countingSource(memorySource(bytes));
    await using model = await openGguf(counting.source);
    expect(model.value('after')).toBe(1);
    expect(counting.total).toBeLessThan(200_000);
    expect(await model.readArray(array(model, 'k'))).toEqual([long, 'b', long]);
  });

  test('a Blob opens as a file does', async () => {
    const bytes = buildGguf({ metadata: ALL_TYPES, tensors: [{ name: 't', shape: [4], type: 'f32' }] });
    await using model = await openGguf(blobSource(new Blob([bytes]), 'dropped.gguf'));
    expect(model.file).toBe('dropped.gguf');
    expect(model.tensors).toHaveLength(1);
  });
});

describe('files on disk', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'whittle-gguf-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  test('a sparse file of 100 GB opens by its head alone', async () => {
    const path = join(folder, 'large.gguf');
    const rows = 25_000_000_000 / 2000;
    const head = buildGguf({
      tensors: [{ name: 't', shape: [2000, rows], type: 'f32', bytes: new Uint8Array() }],
    });
    const file = await open(path, 'w');
    await file.write(head);
    await file.truncate(head.length + rows * 2000 * 4);
    await file.close();
    await using model = await openGguf(path);
    expect(model.bytes).toBeGreaterThan(1e11);
    expect(model.tensors[0]?.data.length).toBe(1e11);
  });

  test('a symbolic link is followed', async () => {
    const path = join(folder, 'real.gguf');
    const file = await open(path, 'w');
    await file.write(buildGguf({ metadata: ALL_TYPES }));
    await file.close();
    await symlink(path, join(folder, 'link.gguf'));
    await using model = await openGguf(join(folder, 'link.gguf'));
    expect(model.metadata).toHaveLength(ALL_TYPES.length);
  });
});

const REAL = sharedPath('models/lm/lm-f16.gguf');
test.skipIf(REAL === undefined)(`a real model is read [${SHARED_ABSENT} → skipped]`, async () => {
  await using model = await openGguf(REAL ?? '');
  expect(model.architecture).toBe('llama');
  expect(model.value('llama.block_count')).toBe(6);
  expect(await model.readArray(array(model, 'tokenizer.ggml.tokens'))).toHaveLength(4096);
  expect(model.tensors.reduce((sum, { data }) => sum + data.length, 0)).toBeLessThan(model.bytes);
});
