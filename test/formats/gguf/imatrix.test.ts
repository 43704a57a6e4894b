/** Importance matrices: both forms read alike, what llama-quantize refuses is refused, and the GGUF form is written. */

import { describe, expect, test } from 'vitest';
import { formatError, isWhittleError } from '../../../src/errors.ts';
import type { Imatrix, ImatrixEntry } from '../../../src/formats/gguf/imatrix-types.ts';
import {
  imatrixContent,
  layoutImatrix,
  readImportance,
  readValues,
} from '../../../src/formats/gguf/imatrix-writer.ts';
import { openImatrix } from '../../../src/formats/gguf/open.ts';
import { encodeFile } from '../../../src/formats/onnx/model.ts';
import { memorySource } from '../../../src/io/memory-source.ts';
import { type BuildOptions, buildGguf, joined, text, u32 } from './build-gguf.ts';
import { buildLegacyImatrix, floats, imatrixGguf } from './build-imatrix.ts';
import { countingSource } from './counting-source.ts';
import { ggmlReader } from './ggml-reader.ts';

const GGML = await ggmlReader();

const DENSE = { name: 'blk.0.attn_q.weight', sums: [[10, 20, 31]], counts: [10] };
const EXPERTS = {
  name: 'blk.0.ffn_down_exps.weight',
  sums: [
    [3, 5],
    [7, 9],
    [2, 4],
  ],
  counts: [3, 0, 2.5],
};

function open(bytes: Uint8Array): Promise<Imatrix> {
  return openImatrix(memorySource(bytes, 'm.imatrix'));
}

async function codeOf(bytes: Uint8Array): Promise<string> {
  const counting = countingSource(memorySource(bytes, 'm.imatrix'));
  try {
    await (await openImatrix(counting.source)).close();
    return 'opened';
  } catch (error) {
    if (!isWhittleError(error)) throw error;
    expect(counting.isClosed).toBe(true);
    expect(formatError(error)).toContain('m.imatrix');
    return error.code;
  }
}

function entryOf(imatrix: Imatrix, name: string): ImatrixEntry {
  const entry = imatrix.entries.get(name);
  if (entry === undefined) throw new Error(`no ${name}`);
  return entry;
}

describe('the GGUF form', () => {
  test('sums, counts and what they were made from are given', async () => {
    const imatrix = await open(buildGguf(imatrixGguf([EXPERTS, DENSE], ['a.txt', 'b.txt'], 12, 256)));
    expect([imatrix.form, imatrix.chunks, imatrix.chunkSize]).toEqual(['gguf', 12, 256]);
    expect(imatrix.datasets).toEqual(['a.txt', 'b.txt']);
    expect([...imatrix.entries.keys()]).toEqual([EXPERTS.name, DENSE.name]);
    const experts = entryOf(imatrix, EXPERTS.name);
    expect([experts.columns, experts.matrices]).toEqual([2, 3]);
    expect([...(await readValues(experts))]).toEqual([3, 5, 7, 9, 2, 4]);
  });

  test('importance is sum / count in f32, the count rounded; 1 where nothing was counted', async () => {
    const imatrix = await open(buildGguf(imatrixGguf([EXPERTS, DENSE])));
    const f = Math.fround;
    expect([...(await readImportance(entryOf(imatrix, EXPERTS.name)))]).toEqual([
      1,
      f(5 / 3),
      1,
      1,
      f(2 / 3),
      f(4 / 3),
    ]);
    expect([...(await readImportance(entryOf(imatrix, DENSE.name)))]).toEqual([1, 2, f(3.1)]);
  });

  test('an error quotes no more than the beginning of a text, however long the file has it', async () => {
    const model = buildGguf({ metadata: [['general.architecture', 'string', 'x'.repeat(1_000_000)]] });
    const error = await open(model).catch((reason: unknown) => reason);
    expect(isWhittleError(error) && formatError(error).length).toBeLessThan(5000);
    expect(isWhittleError(error) && error.details.found).toMatch(/x…$/);
  });

  const with_ = (change: (options: BuildOptions) => BuildOptions): Uint8Array =>
    buildGguf(change(imatrixGguf([DENSE])));
  const without = (key: string): Uint8Array =>
    with_((options) => ({ ...options, metadata: options.metadata?.filter(([name]) => name !== key) ?? [] }));
  test.each<[string, Uint8Array, string]>([
    ['a model', buildGguf({ metadata: [['general.architecture', 'string', 'llama']] }), 'E_IMATRIX'],
    ['no datasets', without('imatrix.datasets'), 'E_IMATRIX'],
    ['no chunk count', without('imatrix.chunk_count'), 'E_IMATRIX'],
    ['no chunk size', without('imatrix.chunk_size'), 'E_IMATRIX'],
    [
      'datasets of numbers',
      with_(({ metadata = [], ...rest }) => ({
        ...rest,
        metadata: [...metadata.filter(([k]) => k !== 'imatrix.datasets'), ['imatrix.datasets', 'u8[]', [1]]],
      })),
      'E_IMATRIX',
    ],
    [
      'a chunk count as text',
      with_(({ metadata = [], ...rest }) => ({
        ...rest,
        metadata: [
          ...metadata.filter(([k]) => k !== 'imatrix.chunk_count'),
          ['imatrix.chunk_count', 'string', '1'],
        ],
      })),
      'E_IMATRIX',
    ],
    ['no entries', with_((options) => ({ ...options, tensors: [] })), 'E_IMATRIX'],
    [
      'other tensors only',
      with_((o) => ({ ...o, tensors: [{ name: 'x', shape: [1], type: 'f32' }] })),
      'E_IMATRIX',
    ],
    ['sums without counts', with_((o) => ({ ...o, tensors: o.tensors?.slice(0, 1) })), 'E_IMATRIX'],
    ['counts without sums', with_((o) => ({ ...o, tensors: o.tensors?.slice(1) })), 'E_IMATRIX'],
    [
      'sums of type f16',
      with_((o) => ({
        ...o,
        tensors: o.tensors?.map((t) => ({ ...t, type: 'f16' as const, bytes: undefined })),
      })),
      'E_IMATRIX',
    ],
    [
      'three values for two counts',
      buildGguf(imatrixGguf([{ name: 'w', sums: [[1, 2, 3]], counts: [1, 1] }])),
      'E_IMATRIX',
    ],
    ['no values', buildGguf(imatrixGguf([{ name: 'w', sums: [[]], counts: [1] }])), 'E_IMATRIX'],
    ['no counts', buildGguf(imatrixGguf([{ name: 'w', sums: [[1]], counts: [] }])), 'E_IMATRIX'],
  ])('%s is refused', async (_, bytes, code) => {
    expect(await codeOf(bytes)).toBe(code);
  });
});

describe('the old form', () => {
  const entries = [
    { name: 'blk.0.attn_q.weight', calls: 4, values: [4, 8, 2] },
    { name: 'blk.0.ffn_up.weight', calls: 0, values: [0.5] },
  ];

  test.each([
    ['with chunks and dataset', 7, 'wiki.txt', 7, ['wiki.txt']],
    ['with chunks', 7, undefined, 7, []],
    ['that ends behind its entries', undefined, undefined, 0, []],
    ['with an empty dataset', 7, '', 7, []],
  ])('%s is read', async (_, chunks, dataset, foundChunks, datasets) => {
    const imatrix = await open(buildLegacyImatrix({ entries, chunks, dataset }));
    expect([imatrix.form, imatrix.chunks, imatrix.datasets, imatrix.chunkSize]).toEqual([
      'dat',
      foundChunks,
      datasets,
      undefined,
    ]);
    const q = entryOf(imatrix, 'blk.0.attn_q.weight');
    expect([q.columns, q.matrices, q.counts]).toEqual([3, 1, 4]);
    expect([...(await readImportance(q))]).toEqual([1, 2, 0.5]);
    // Nothing was counted: the values are taken as they are.
    expect([...(await readImportance(entryOf(imatrix, 'blk.0.ffn_up.weight')))]).toEqual([0.5]);
  });

  const name = joined(u32(1), text('w'));
  test.each<[string, Uint8Array, string]>([
    ['nothing', new Uint8Array(), 'E_EMPTY'],
    ['no entries', u32(0), 'E_IMATRIX'],
    ['−1 entries', joined(u32(2 ** 32 - 1), u32(0)), 'E_IMATRIX'],
    ['2^31 − 1 entries', joined(u32(2 ** 31 - 1), new Uint8Array(40)), 'E_IMATRIX'],
    ['a million entries in 40 bytes', joined(u32(1_000_000), new Uint8Array(40)), 'E_TRUNCATED'],
    ['a name of −1', joined(u32(1), u32(2 ** 32 - 1), new Uint8Array(20)), 'E_IMATRIX'],
    ['a name past the end', joined(u32(1), u32(1000), new Uint8Array(20)), 'E_TRUNCATED'],
    ['an empty name', joined(u32(1), u32(0), u32(1), u32(1), u32(0), u32(0)), 'E_IMATRIX'],
    ['a name with a NUL', joined(u32(1), u32(2), Uint8Array.of(65, 0), u32(1), u32(1), u32(0)), 'E_IMATRIX'],
    ['no values', joined(u32(1), name, u32(1), u32(0), u32(0)), 'E_IMATRIX'],
    ['−1 values', joined(u32(1), name, u32(1), u32(2 ** 32 - 1), u32(0)), 'E_IMATRIX'],
    ['values past the end', joined(u32(1), name, u32(1), u32(1000), u32(0)), 'E_TRUNCATED'],
    [
      'an entry twice',
      joined(u32(2), name, u32(1), u32(1), floats([1]), name, u32(1), u32(1), floats([1])),
      'E_DUPLICATE',
    ],
    [
      'half a number behind the entries',
      joined(u32(1), name, u32(1), u32(1), floats([1]), Uint8Array.of(1)),
      'E_TRUNCATED',
    ],
    [
      'a dataset past the end',
      joined(u32(1), name, u32(1), u32(1), floats([1]), u32(1), u32(9)),
      'E_TRUNCATED',
    ],
    [
      'bytes behind the dataset',
      joined(buildLegacyImatrix({ entries, chunks: 1, dataset: 'd' }), Uint8Array.of(1)),
      'E_IMATRIX',
    ],
    ['a web page', text('<html><body>404 not found'), 'E_NOT_A_MODEL'],
    ['a Git LFS pointer', text('version https://git-lfs.github.com/spec/v1\n'), 'E_LFS_POINTER'],
  ])('%s is refused', async (_, bytes, code) => {
    expect(await codeOf(bytes)).toBe(code);
  });

  test('every cut of a file is refused, or ends behind its entries or chunks', async () => {
    const whole = buildLegacyImatrix({ entries, chunks: 7, dataset: 'wiki.txt' });
    const bare = buildLegacyImatrix({ entries }).length;
    for (let length = 1; length < whole.length; length++) {
      const code = await codeOf(whole.subarray(0, length));
      if (length === bare || length === bare + 4) expect(code).toBe('opened');
      else expect(code).toBe('E_TRUNCATED');
    }
  });
});

describe('writing', () => {
  test('a matrix that was read is written byte for byte', async () => {
    const bytes = buildGguf(imatrixGguf([DENSE, EXPERTS], ['a.txt'], 5, 128));
    const imatrix = await open(bytes);
    const file = layoutImatrix(await imatrixContent(imatrix), 'out.gguf');
    expect(await encodeFile(file)).toEqual(bytes);
    // Sums are copied from the file, not held.
    expect(file.segments.filter(({ kind }) => kind === 'copy')).toHaveLength(4);
  });

  test('entries are sorted by the bytes of their names, and one matrix has one dimension, as ggml has it', async () => {
    const sums = (name: string, matrices = 1) => ({
      name,
      columns: 2,
      matrices,
      sums: new Float32Array(2 * matrices).fill(1),
      counts: new Float32Array(matrices).fill(1),
    });
    const content = {
      entries: [sums('\u{1F600}'), sums('b'), sums('blk.10.w', 2), sums('blk.2.w'), sums('\uFFFD')],
      datasets: [],
      chunks: 1,
      chunkSize: 512,
    };
    const bytes = await encodeFile(layoutImatrix(content, 'o.gguf'));
    const imatrix = await open(bytes);
    // U+FFFD comes before U+1F600 in bytes, behind it in UTF-16.
    expect([...imatrix.entries.keys()]).toEqual(['b', 'blk.10.w', 'blk.2.w', '\uFFFD', '\u{1F600}']);
    if (GGML !== undefined)
      expect(GGML.rewrite(bytes)).toEqual(bytes.subarray(0, GGML.rewrite(bytes).length));
  });

  test('an old file becomes sums and counts of tokens; importance stays what it was', async () => {
    const entries = [{ name: 'w', calls: 3, values: [1.1, 2.2, 3.3] }];
    const old = await open(buildLegacyImatrix({ entries, chunks: 3, dataset: 'wiki.txt' }));
    const bytes = await encodeFile(layoutImatrix(await imatrixContent(old), 'o.gguf'));
    const fresh = await open(bytes);
    expect([fresh.chunks, fresh.chunkSize, fresh.datasets]).toEqual([3, 512, ['wiki.txt']]);
    const entry = entryOf(fresh, 'w');
    expect([...(await readValues(entry))]).toEqual(
      [1.1, 2.2, 3.3].map((v) => Math.fround(Math.fround(v) * 512)),
    );
    expect(await readImportance(entry)).toEqual(await readImportance(entryOf(old, 'w')));
  });
});
