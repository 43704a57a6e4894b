/** Split models: opened by any part, refused where parts do not belong together, written and joined as llama-gguf-split does. */

import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isWhittleError, type WhittleError } from '../../../src/errors.ts';
import { openGguf } from '../../../src/formats/gguf/open.ts';
import { mergeGguf, type SplitOptions, splitGguf, splitItems } from '../../../src/formats/gguf/split.ts';
import { parseSplitName, splitName } from '../../../src/formats/gguf/split-names.ts';
import { encodeFile } from '../../../src/formats/onnx/model.ts';
import { memorySource } from '../../../src/io/memory-source.ts';
import { siblingsFrom } from '../../../src/io/siblings-location.ts';
import { type BuildEntry, type BuildOptions, type BuildTensor, buildGguf } from './build-gguf.ts';
import { ggmlReader } from './ggml-reader.ts';

const GGML = await ggmlReader();

const METADATA: readonly BuildEntry[] = [
  ['general.architecture', 'string', 'llama'],
  ['llama.block_count', 'u32', 4],
  ['tokenizer.ggml.tokens', 'string[]', ['<s>', 'a']],
];

/** Tensors of 32, 64, 96 … bytes. */
function tensorsOf(count: number, from = 0): BuildTensor[] {
  return Array.from({ length: count }, (_, i) => ({
    name: `blk.${from + i}.w`,
    shape: [8, i + 1],
    type: 'f32' as const,
    bytes: new Uint8Array(32 * (i + 1)).fill(from + i + 1),
  }));
}

const WHOLE: BuildOptions = { metadata: METADATA, tensors: tensorsOf(4) };

function splitKeys(no: number, count: number, tensors: number): BuildEntry[] {
  return [
    ['split.no', 'u16', no],
    ['split.tensors.count', 'i32', tensors],
    ['split.count', 'u16', count],
  ];
}

type Parts = Map<string, Uint8Array>;

/** Three parts by hand: metadata and one tensor, one tensor, two tensors. */
function threeParts(change: (parts: Parts) => void = () => {}): Parts {
  const tensors = tensorsOf(4);
  const parts: Parts = new Map([
    [
      'm-00001-of-00003.gguf',
      buildGguf({ metadata: [...METADATA, ...splitKeys(0, 3, 4)], tensors: tensors.slice(0, 1) }),
    ],
    ['m-00002-of-00003.gguf', buildGguf({ metadata: splitKeys(1, 3, 4), tensors: tensors.slice(1, 2) })],
    ['m-00003-of-00003.gguf', buildGguf({ metadata: splitKeys(2, 3, 4), tensors: tensors.slice(2) })],
  ]);
  change(parts);
  return parts;
}

async function openParts(parts: Parts, name: string) {
  const bytes = parts.get(name);
  if (bytes === undefined) throw new Error(name);
  return openGguf(memorySource(bytes, name), { siblings: siblingsFrom(parts, name) });
}

async function errorOf(parts: Parts, name = 'm-00001-of-00003.gguf'): Promise<WhittleError> {
  try {
    await (await openParts(parts, name)).close();
  } catch (error) {
    if (isWhittleError(error)) return error;
    throw error;
  }
  throw new Error('it was opened');
}

describe('a split model', () => {
  test.each([1, 2, 3])('is opened whole by its part %i', async (part) => {
    await using model = await openParts(threeParts(), splitName('m', part - 1, 3));
    expect(model.file).toBe('m-00001-of-00003.gguf');
    expect(model.architecture).toBe('llama');
    expect(model.tensors.map(({ name, shard }) => [name, shard])).toEqual([
      ['blk.0.w', 0],
      ['blk.1.w', 1],
      ['blk.2.w', 2],
      ['blk.3.w', 2],
    ]);
    expect(model.sources).toHaveLength(3);
    for (const { shard, data } of model.tensors) expect(data.source).toBe(model.sources[shard]);
    expect(model.bytes).toBe([...threeParts().values()].reduce((sum, { length }) => sum + length, 0));
  });

  test('of one part is a file like others, whatever its name', async () => {
    const bytes = buildGguf({ ...WHOLE, metadata: [...METADATA, ...splitKeys(0, 1, 4)] });
    await using model = await openGguf(memorySource(bytes, 'any.gguf'));
    expect(model.tensors).toHaveLength(4);
  });

  test('notes name the part', async () => {
    const parts = threeParts((all) => {
      const bytes = all.get('m-00002-of-00003.gguf') ?? new Uint8Array();
      all.set('m-00002-of-00003.gguf', new Uint8Array([...bytes, 1]));
    });
    await using model = await openParts(parts, 'm-00001-of-00003.gguf');
    expect(model.notes).toEqual([expect.stringMatching(/^m-00002-of-00003\.gguf: 1 bytes follow/)]);
  });
});

describe('on disk', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'whittle-split-'));
    for (const [name, bytes] of threeParts()) {
      await writeFile(join(folder, `blob-${name}`), bytes);
      await symlink(join(folder, `blob-${name}`), join(folder, name));
    }
  });
  afterAll(() => rm(folder, { recursive: true }));

  test('the other parts are found beside the named one, also as links of a download cache', async () => {
    await using model = await openGguf(join(folder, 'm-00002-of-00003.gguf'));
    expect(model.tensors).toHaveLength(4);
    expect(model.file).toBe(join(folder, 'm-00001-of-00003.gguf'));
  });
});

describe('parts that do not belong together are refused', () => {
  const of = (no: number, count: number, total: number, tensors: BuildTensor[], extra: BuildEntry[] = []) =>
    buildGguf({ metadata: [...extra, ...splitKeys(no, count, total)], tensors });
  test.each<[string, (parts: Parts) => void, string]>([
    ['38 part 2 is missing', (all) => all.delete('m-00002-of-00003.gguf'), 'part 2 of 3 is missing'],
    [
      '39 a part of another number',
      (all) => all.set('m-00002-of-00003.gguf', of(2, 3, 4, tensorsOf(1, 1))),
      'not the part that its name says',
    ],
    [
      '39 a part of another count',
      (all) => all.set('m-00002-of-00003.gguf', of(1, 4, 4, tensorsOf(1, 1))),
      'not the part that its name says',
    ],
    [
      '39 a part without the keys',
      (all) => all.set('m-00002-of-00003.gguf', buildGguf({ tensors: tensorsOf(1, 1) })),
      'not the part that its name says',
    ],
    [
      '40 a part of a model with more tensors',
      (all) => all.set('m-00002-of-00003.gguf', of(1, 3, 9, tensorsOf(1, 1))),
      'expects 9 tensors',
    ],
    [
      '40 a tensor less than all parts expect',
      (all) => all.set('m-00002-of-00003.gguf', of(1, 3, 4, [])),
      'expects 4 tensors',
    ],
    [
      '40 a tensor in two parts',
      (all) => all.set('m-00002-of-00003.gguf', of(1, 3, 4, tensorsOf(1, 0))),
      'stands in two parts',
    ],
    [
      '40 a part of another architecture',
      (all) =>
        all.set(
          'm-00002-of-00003.gguf',
          of(1, 3, 4, tensorsOf(1, 1), [['general.architecture', 'string', 'gemma']]),
        ),
      'different architectures',
    ],
    [
      '40 a part of another alignment',
      (all) =>
        all.set(
          'm-00002-of-00003.gguf',
          buildGguf({
            alignment: 64,
            metadata: [['general.alignment', 'u32', 64], ...splitKeys(1, 3, 4)],
            tensors: tensorsOf(1, 1),
          }),
        ),
      'alignments of the parts differ',
    ],
    [
      '40 a part of another version',
      (all) =>
        all.set(
          'm-00002-of-00003.gguf',
          buildGguf({ version: 2, metadata: splitKeys(1, 3, 4), tensors: tensorsOf(1, 1) }),
        ),
      'versions of the parts differ',
    ],
  ])('%s', async (_, change, message) => {
    const error = await errorOf(threeParts(change));
    expect(error.code).toBe('E_SPLIT');
    expect(error.message).toContain(message);
  });

  test.each<[string, Uint8Array, string]>([
    ['a renamed part', buildGguf({ metadata: splitKeys(0, 3, 4) }), 'renamed.gguf'],
    ['a name of another count', buildGguf({ metadata: splitKeys(0, 3, 4) }), 'm-00001-of-00002.gguf'],
    ['a name of another number', buildGguf({ metadata: splitKeys(0, 3, 4) }), 'm-00002-of-00003.gguf'],
    ['a count of type string', buildGguf({ metadata: [['split.count', 'string', 'x']] }), 'm.gguf'],
    ['a count of −1', buildGguf({ metadata: [['split.count', 'i32', -1]] }), 'm.gguf'],
    ['a count as an array', buildGguf({ metadata: [['split.count', 'u16[]', [3]]] }), 'm.gguf'],
    ['no number', buildGguf({ metadata: [['split.count', 'u16', 3]] }), 'm-00001-of-00003.gguf'],
  ])('%s', async (_, bytes, name) => {
    expect((await errorOf(new Map([[name, bytes]]), name)).code).toBe('E_SPLIT');
  });

  test('a broken part is named in the error', async () => {
    const error = await errorOf(threeParts((all) => all.set('m-00003-of-00003.gguf', new Uint8Array())));
    expect([error.code, error.details.file]).toEqual(['E_EMPTY', 'm-00003-of-00003.gguf']);
  });
});

describe('splitting', () => {
  async function split(options: SplitOptions, whole: BuildOptions = WHOLE): Promise<Parts> {
    await using model = await openGguf(memorySource(buildGguf(whole)));
    const parts: Parts = new Map();
    for (const file of splitGguf(model, 'm', options)) parts.set(file.name, await encodeFile(file));
    return parts;
  }

  async function tensorCounts(parts: Parts): Promise<number[]> {
    const counts: number[] = [];
    for (const [index, bytes] of [...parts.values()].entries()) {
      const name = splitName('m', index, parts.size);
      await using model = await openParts(parts, name);
      expect(parts.get(name)).toBe(bytes);
      counts[index] = model.tensors.filter(({ shard }) => shard === index).length;
    }
    return counts;
  }

  test.each<[string, SplitOptions, number[]]>([
    ['by tensors', { maxTensors: 2 }, [2, 2]],
    ['by tensors, with a rest', { maxTensors: 3 }, [3, 1]],
    ['by tensors, fewer than the limit', { maxTensors: 9 }, [4]],
    ['without limits', {}, [4]],
    ['by bytes', { maxBytes: 100 }, [2, 1, 1]],
    ['by bytes, all larger', { maxBytes: 1 }, [1, 1, 1, 1]],
    ['by bytes, all in one', { maxBytes: 10_000 }, [4]],
    ['with metadata apart', { maxTensors: 2, noTensorFirst: true }, [0, 2, 2]],
  ])('%s', async (_, options, counts) => {
    expect(await tensorCounts(await split(options))).toEqual(counts);
  });

  test.each<[string, SplitOptions]>([
    ['both limits', { maxBytes: 1, maxTensors: 1 }],
    ['no tensors', { maxTensors: 0 }],
    ['half a byte', { maxBytes: 0.5 }],
  ])('%s is E_USAGE', async (_, options) => {
    await expect(split(options)).rejects.toMatchObject({ code: 'E_USAGE' });
  });

  test.each([32, 64])('joining what was split gives the same bytes, alignment %i', async (alignment) => {
    const whole = buildGguf({ ...WHOLE, alignment });
    const parts = await split({ maxTensors: 1 }, { ...WHOLE, alignment });
    await using model = await openParts(parts, 'm-00003-of-00004.gguf');
    expect(await encodeFile(mergeGguf(model, 'whole.gguf'))).toEqual(whole);
  });

  test('a part that is split again loses its old keys', async () => {
    await using model = await openParts(threeParts(), 'm-00001-of-00003.gguf');
    const [first, ...others] = splitGguf(model, 'n', { maxTensors: 2 });
    expect([first?.name, others.length]).toEqual(['n-00001-of-00002.gguf', 1]);
    const bytes = first === undefined ? new Uint8Array() : await encodeFile(first);
    expect(GGML === undefined || GGML.accepts(bytes)).toBe(true);
  });

  test('keys and their order are those of llama-gguf-split', async () => {
    const parts = await split({ maxTensors: 2 });
    const tensors = tensorsOf(4);
    for (const index of [0, 1]) {
      const own = index === 0 ? METADATA : [];
      const metadata = [...own, ...splitKeys(index, 2, 4)];
      const expected = buildGguf({ metadata, tensors: tensors.slice(2 * index, 2 * index + 2) });
      expect(parts.get(splitName('m', index, 2))).toEqual(expected);
      if (GGML === undefined) continue;
      // As gguf-split does: a placeholder for the count, which is set again at the end.
      const head = GGML.rewriteWith(buildGguf({ metadata: own }), [
        ['split.no', 'u16', index],
        ['split.count', 'u16', 0],
        ['split.tensors.count', 'i32', 4],
        ['split.count', 'u16', 2],
      ]);
      expect(head).toEqual(buildGguf({ metadata }));
    }
  });

  test('the keys of llama-quantize have their own order', () => {
    expect(splitItems('quantize', 1, 3, 9).map((item) => (item.kind === 'copied' ? '' : item.key))).toEqual([
      'split.no',
      'split.count',
      'split.tensors.count',
    ]);
  });

  test('joined as llama-gguf-split leaves it: the count is 0, at the end', async () => {
    await using model = await openParts(threeParts(), 'm-00001-of-00003.gguf');
    const bytes = await encodeFile(mergeGguf(model, 'whole.gguf', { splitKeys: 'zero' }));
    await using merged = await openGguf(memorySource(bytes));
    expect(merged.metadata.slice(-3).map(({ key }) => [key, merged.value(key)])).toEqual([
      ['split.no', 0],
      ['split.tensors.count', 4],
      ['split.count', 0],
    ]);
    expect(merged.tensors).toHaveLength(4);
  });
});

describe('names', () => {
  test.each([
    ['m-00001-of-00003.gguf', { prefix: 'm', index: 0, count: 3 }],
    ['a/b-00010-of-00010.gguf', { prefix: 'a/b', index: 9, count: 10 }],
    ['m-00001-of-00002-00002-of-00003.gguf', { prefix: 'm-00001-of-00002', index: 1, count: 3 }],
    ['m-00000-of-00003.gguf', undefined],
    ['m-00004-of-00003.gguf', undefined],
    ['m-1-of-3.gguf', undefined],
    ['-00001-of-00003.gguf', undefined],
    ['m.gguf', undefined],
  ])('%s', (name, expected) => {
    expect(parseSplitName(name)).toEqual(expected);
    if (expected !== undefined) expect(splitName(expected.prefix, expected.index, expected.count)).toBe(name);
  });
});
