/** Rows in JSON, NDJSON, .npy, .npz and .safetensors: the same values from each, and what each is refused for. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DatasetOptions } from '../../../src/calibration/data/data-spec.ts';
import type { Dataset } from '../../../src/calibration/data/dataset.ts';
import { openDataset } from '../../../src/calibration/data/open-dataset.ts';
import { parseDataSpec } from '../../../src/calibration/data/parse-data-spec.ts';
import { chooseRows } from '../../../src/calibration/data/rows.ts';
import type { RuntimeValueInfo } from '../../../src/runtime/runtime.ts';
import { SHARED_ABSENT, sharedPath } from '../../shared.ts';
import { allSamples, CLASSIFIER, inputOf, VECTOR } from './model-inputs.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whittle-rows-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function open(
  name: string,
  content: string | Uint8Array,
  inputs: readonly RuntimeValueInfo[] = VECTOR,
  options: DatasetOptions = {},
): Promise<Dataset> {
  const file = join(folder, name);
  await writeFile(file, content);
  return openDataset(await parseDataSpec(file), inputs, options);
}

function npy(descr: string, shape: string, data: ArrayBufferView): Uint8Array {
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape}), }\n`;
  const head = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, text.length & 255, text.length >> 8];
  return Buffer.concat([
    Uint8Array.from(head),
    Buffer.from(text),
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  ]);
}

function zip(members: Readonly<Record<string, Uint8Array>>, method: 0 | 8): Buffer {
  const local: Buffer[] = [];
  const central: Buffer[] = [];
  let at = 0;
  for (const [name, bytes] of Object.entries(members)) {
    const packed = method === 8 ? deflateRawSync(bytes) : Buffer.from(bytes);
    const head = Buffer.alloc(30);
    head.writeUInt32LE(0x04034b50, 0);
    head.writeUInt16LE(name.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(method, 10);
    entry.writeUInt32LE(crc32(bytes), 16);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt32LE(bytes.length, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(at, 42);
    local.push(head, Buffer.from(name), packed);
    central.push(entry, Buffer.from(name));
    at += head.length + name.length + packed.length;
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Object.keys(members).length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...local, directory, end]);
}

function safetensors(header: unknown, data: Uint8Array): Buffer {
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

const X = Float32Array.of(1, 2, 3, 4, 5, 6);
const BYTES = new Uint8Array(X.buffer);
const LABELS = npy('<i8', '2,', BigInt64Array.of(1n, 0n));
const TENSOR = { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] };

describe('two rows of three numbers', () => {
  test.each<[string, string | Uint8Array, boolean]>([
    ['rows.json', '[{"x": [1, 2, 3], "label": 1}, {"x": [4, 5, 6], "label": 0}]', true],
    ['columns.json', '{"x": [[1, 2, 3], [4, 5, 6]], "labels": [1, 0]}', true],
    ['flat-columns.json', '{"x": {"data": [1, 2, 3, 4, 5, 6], "shape": [2, 3]}, "label": [1, 0]}', true],
    ['bare.json', '[[1, 2, 3], [4, 5, 6]]', false],
    ['whole-batches.json', '[{"x": [[1, 2, 3]]}, {"x": [[4, 5, 6]]}]', false],
    [
      'rows.ndjson',
      '{"x": [1, 2, 3], "label": 1}\r\n\n{"x": {"data": [4, 5, 6], "shape": [3]}, "label": 0}',
      true,
    ],
    ['rows.jsonl', '[1, 2, 3]\n[4, 5, 6]\n', false],
    ['x.npy', npy('<f4', '2, 3', X), false],
    ['other-name.npy', npy('<f8', '2, 3', Float64Array.from(X)), false],
    ['integers.npy', npy('|i1', '2, 3', Int8Array.from(X)), false],
    ['stored.npz', zip({ 'x.npy': npy('<f4', '2, 3', X), 'labels.npy': LABELS }, 0), true],
    ['deflated.npz', zip({ 'x.npy': npy('<f4', '2, 3', X), 'labels.npy': LABELS }, 8), true],
    ['x.safetensors', safetensors({ x: TENSOR, __metadata__: { a: 'b' } }, BYTES), false],
  ])('%s', async (name, content, labelled) => {
    const dataset = await open(name, content);
    const samples = await allSamples(dataset);
    expect(dataset.count).toBe(2);
    expect(samples.map((sample) => inputOf(sample, 'x'))).toEqual([
      { shape: [1, 3], values: [1, 2, 3] },
      { shape: [1, 3], values: [4, 5, 6] },
    ]);
    expect(samples.map(({ labels }) => labels)).toEqual(labelled ? [[1], [0]] : [undefined, undefined]);
    const [both] = await allSamples(await open(name, content, VECTOR, { batch: 2 }));
    expect(inputOf(both, 'x')).toEqual({ shape: [2, 3], values: [1, 2, 3, 4, 5, 6] });
    expect(both?.labels).toEqual(labelled ? [1, 0] : undefined);
  });

  test('several .npy files, by name in a folder or one by one', async () => {
    const inputs: RuntimeValueInfo[] = [...VECTOR, { name: 'y', dtype: 'int32', shape: ['batch'] }];
    const at = await mkdtemp(join(folder, 'arrays-'));
    await writeFile(join(at, 'x.npy'), npy('<f4', '2, 3', X));
    await writeFile(join(at, 'y.npy'), npy('<i8', '2', BigInt64Array.of(7n, 8n)));
    for (const path of [at, `x=${join(at, 'x.npy')},y=${join(at, 'y.npy')}`]) {
      const samples = await allSamples(await openDataset(await parseDataSpec(path), inputs));
      expect(samples.map((sample) => inputOf(sample, 'y'))).toEqual([
        { shape: [1], values: [7] },
        { shape: [1], values: [8] },
      ]);
    }
    await expect(
      openDataset(await parseDataSpec(join(at, 'x.npy')), [...inputs].slice(0, 2)),
    ).resolves.toBeDefined();
  });

  test('masks and segment ids follow from ids in rows', async () => {
    const [sample] = await allSamples(await open('ids.json', '{"input_ids": [[5, 6, 7]]}', CLASSIFIER));
    expect(inputOf(sample, 'attention_mask')).toEqual({ shape: [1, 3], values: [1, 1, 1] });
    expect(inputOf(sample, 'token_type_ids').values).toEqual([0, 0, 0]);
  });

  test('a batch that the model fixes takes whole batches only, which is said', async () => {
    const inputs: RuntimeValueInfo[] = [{ name: 'x', dtype: 'f32', shape: [2, 1] }];
    const dataset = await open('five.json', '[[1], [2], [3], [4], [5]]', inputs);
    expect((await allSamples(dataset)).map((sample) => inputOf(sample, 'x').values)).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(dataset.notes.join()).toContain('The last 1 of 5 are left out');
  });
});

describe('choice of rows', () => {
  test('every choice is ascending, without repetition, and of the wanted size', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 500 }),
        fc.integer({ min: 1, max: 500 }),
        fc.nat(),
        (total, count, seed) => {
          const rows = chooseRows(total, count, 'random', seed);
          expect(rows).toEqual([...new Set(rows)].sort((a, b) => a - b));
          expect(rows.length).toBe(Math.min(total, count));
          expect(rows.every((row) => row >= 0 && row < total)).toBe(true);
        },
      ),
    );
  });
});

const INTEGER: readonly RuntimeValueInfo[] = [{ name: 'n', dtype: 'uint8', shape: ['batch', 2] }];

describe('refused with a code that says why', () => {
  test.each<[string, string, string | Uint8Array, readonly RuntimeValueInfo[], string, RegExp]>([
    ['another input name', 'a.json', '[{"xx": [1, 2, 3]}]', VECTOR, 'E_DATA', /no input named xx/],
    ['another column name', 'a.json', '{"y": [[1, 2, 3]]}', VECTOR, 'E_DATA', /no input named y/],
    ['a missing input', 'a.json', '[{"label": 1}]', VECTOR, 'E_DATA', /lacks x/],
    ['another length', 'a.json', '[[1, 2]]', VECTOR, 'E_SHAPE', /x wants another shape \(row 1\)/],
    ['another rank', 'a.json', '[[[[1, 2, 3]]]]', VECTOR, 'E_SHAPE', /another shape/],
    ['ragged rows', 'a.json', '[[[1, 2, 3], [1]]]', VECTOR, 'E_SHAPE', /regular array/],
    ['text for numbers', 'a.json', '[["a", "b", "c"]]', VECTOR, 'E_SHAPE', /regular array/],
    ['fractions for integers', 'a.json', '[[0.5, 1]]', INTEGER, 'E_DTYPE', /whole numbers/],
    ['integers out of range', 'a.json', '[[256, 1]]', INTEGER, 'E_DTYPE', /whole numbers/],
    ['no rows', 'a.json', '[]', VECTOR, 'E_EMPTY', /no sample/],
    ['no columns', 'a.json', '{}', VECTOR, 'E_EMPTY', /no sample/],
    ['a number', 'a.json', '3', VECTOR, 'E_DATA', /neither rows nor columns/],
    [
      'columns of two lengths',
      'a.json',
      '{"x": [[1, 2, 3]], "labels": [1, 2]}',
      VECTOR,
      'E_SHAPE',
      /same number/,
    ],
    ['a label that is a word', 'a.json', '[{"x": [1, 2, 3], "label": "cat"}]', VECTOR, 'E_DATA', /no class/],
    [
      'flat data of another size',
      'a.json',
      '[{"x": {"data": [1], "shape": [3]}}]',
      VECTOR,
      'E_SHAPE',
      /fill its shape/,
    ],
    [
      'flat data without shape',
      'a.json',
      '[{"x": {"data": [1, 2, 3]}}]',
      VECTOR,
      'E_SHAPE',
      /needs its shape/,
    ],
    ['JSON that is cut', 'a.json', '{"x": [[1, 2', VECTOR, 'E_TRUNCATED', /middle of a value/],
    ['no JSON', 'a.json', '<html>', VECTOR, 'E_DATA', /not JSON/],
    ['NaN in JSON', 'a.json', '[[NaN, 2, 3]]', VECTOR, 'E_DATA', /not JSON/],
    ['an empty file', 'a.json', '', VECTOR, 'E_EMPTY', /empty/],
    ['NDJSON that is cut', 'a.ndjson', '[1, 2, 3]\n[4, 5', VECTOR, 'E_TRUNCATED', /row 2/],
    ['NDJSON of blank lines', 'a.ndjson', '\n \n', VECTOR, 'E_EMPTY', /no sample/],
    [
      'NaN',
      'a.npy',
      npy('<f4', '1, 3', Float32Array.of(1, Number.NaN, 3)),
      VECTOR,
      'E_NONFINITE',
      /NaN for x \(row 1\)/,
    ],
    [
      'infinity',
      'a.npy',
      npy('<f4', '1, 3', Float32Array.of(1, 2, Infinity)),
      VECTOR,
      'E_NONFINITE',
      /Infinity/,
    ],
    ['a .npy that is cut', 'a.npy', npy('<f4', '3, 3', X), VECTOR, 'E_TRUNCATED', /before its last element/],
    ['a .npy with more behind it', 'a.npy', npy('<f4', '1, 3', X), VECTOR, 'E_DATA', /follow/],
    ['objects in .npy', 'a.npy', npy('|O', '1', X), VECTOR, 'E_DTYPE', /not carried/],
    ['a .npy of no rows', 'a.npy', npy('<f4', '0, 3', new Float32Array(0)), VECTOR, 'E_EMPTY', /no sample/],
    ['a .npz that is none', 'a.npz', 'hello', VECTOR, 'E_DATA', /no \.npz/],
    [
      'a .npz that is cut',
      'a.npz',
      zip({ 'x.npy': npy('<f4', '2, 3', X) }, 0).subarray(0, -30),
      VECTOR,
      'E_TRUNCATED',
      /./,
    ],
    [
      'a .npz of other names',
      'a.npz',
      zip({ 'arr_0.npy': npy('<f4', '2, 3', X) }, 0),
      VECTOR,
      'E_DATA',
      /arr_0/,
    ],
    ['a .npz of no arrays', 'a.npz', zip({ 'x.pkl': BYTES }, 0), VECTOR, 'E_DATA', /x\.pkl/],
    [
      'a .npz of two counts',
      'a.npz',
      zip({ 'x.npy': npy('<f4', '2, 3', X), 'labels.npy': npy('|u1', '3', Uint8Array.of(1, 2, 3)) }, 8),
      VECTOR,
      'E_SHAPE',
      /same number of samples/,
    ],
    [
      'a safetensors file that is cut',
      'a.safetensors',
      safetensors({ x: TENSOR }, BYTES.subarray(4)),
      VECTOR,
      'E_TRUNCATED',
      /./,
    ],
    [
      'a header beyond the file',
      'a.safetensors',
      safetensors({ x: TENSOR }, BYTES).subarray(0, 20),
      VECTOR,
      'E_TRUNCATED',
      /./,
    ],
    [
      'a gap',
      'a.safetensors',
      safetensors({ x: { ...TENSOR, data_offsets: [4, 28] } }, Buffer.alloc(28)),
      VECTOR,
      'E_OFFSET',
      /gap/,
    ],
    [
      'a tensor of another size',
      'a.safetensors',
      safetensors({ x: { ...TENSOR, shape: [3] } }, BYTES),
      VECTOR,
      'E_TENSOR_SIZE',
      /./,
    ],
    [
      'an unknown type',
      'a.safetensors',
      safetensors({ x: { ...TENSOR, dtype: 'F7' } }, BYTES),
      VECTOR,
      'E_DTYPE',
      /./,
    ],
    ['no safetensors', 'a.safetensors', 'hello, this is text', VECTOR, 'E_DATA', /no safetensors/],
    [
      'bytes behind the tensors',
      'a.safetensors',
      safetensors({ x: TENSOR }, Buffer.alloc(25)),
      VECTOR,
      'E_OFFSET',
      /follow/,
    ],
  ])('%s', async (_, name, content, inputs, code, message) => {
    const attempt = open(name, content, inputs).then(allSamples);
    await expect(attempt).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    await expect(attempt).rejects.toMatchObject({ details: { file: expect.stringContaining(name) } });
  });

  test('a name that is nearly right is answered with the right one', async () => {
    await expect(
      open('near.json', '[{"input_idz": [1]}]', CLASSIFIER).then(allSamples),
    ).rejects.toMatchObject({ details: { hint: 'Did you mean input_ids?' } });
  });

  test('ids beyond the vocabulary, by option and by what the graph shows', async () => {
    const hints = { indexBound: new Map([['input_ids', 5]]), channels: new Map(), features: new Map() };
    for (const options of [{ vocabulary: 5 }, { hints }]) {
      await expect(
        open('ids.json', '{"input_ids": [[1, 5]]}', CLASSIFIER, options).then(allSamples),
      ).rejects.toMatchObject({ code: 'E_DATA', details: { expected: 'ids from 0 to 4' } });
    }
  });

  test('a cut array says at which byte', async () => {
    await expect(open('cut.npy', npy('<f4', '3, 3', X))).rejects.toMatchObject({
      details: { offset: npy('<f4', '3, 3', X).length },
    });
  });

  test('rows of two lengths in one batch; each alone is welcome', async () => {
    const content = '[{"input_ids": [1, 2]}, {"input_ids": [1, 2, 3]}]';
    expect(await allSamples(await open('two.json', content, CLASSIFIER))).toHaveLength(2);
    await expect(open('two.json', content, CLASSIFIER, { batch: 2 }).then(allSamples)).rejects.toMatchObject({
      code: 'E_SHAPE',
      details: { hint: expect.stringContaining('batch of 1') },
    });
  });

  test('a damaged compressed array', async () => {
    const bytes = zip({ 'x.npy': npy('<f4', '2, 3', X) }, 8);
    bytes[60] = (bytes[60] ?? 0) ^ 0x10;
    await expect(open('a.npz', bytes)).rejects.toMatchObject({ name: 'WhittleError' });
  });

  test('any cut of an archive or of a safetensors file ends in a coded error', async () => {
    const files = {
      'c.npz': zip({ 'x.npy': npy('<f4', '2, 3', X) }, 8),
      'c.safetensors': safetensors({ x: TENSOR }, BYTES),
      'c.npy': npy('<f4', '2, 3', X),
    };
    for (const [name, bytes] of Object.entries(files)) {
      for (let length = 0; length < bytes.length; length += 3) {
        await expect(open(name, bytes.subarray(0, length))).rejects.toMatchObject({ name: 'WhittleError' });
      }
    }
  });
});

describe('paths that are no data', () => {
  test.each([
    ['x.pt', /Pickle/],
    ['x.csv', /NDJSON/],
    ['x.jpg', /folder/],
    ['x.gz', /Unpack/],
  ])('%s is answered with advice', async (name, hint) => {
    await writeFile(join(folder, name), 'x');
    await expect(parseDataSpec(join(folder, name))).rejects.toMatchObject({
      code: 'E_USAGE',
      details: { hint: expect.stringMatching(hint) },
    });
  });

  test('nothing there, and no name', async () => {
    await expect(parseDataSpec(join(folder, 'none.json'))).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    await expect(parseDataSpec('')).rejects.toMatchObject({ code: 'E_USAGE' });
  });

  test('text without a tokenizer', async () => {
    await writeFile(join(folder, 't.txt'), 'x');
    await expect(parseDataSpec(join(folder, 't.txt'))).rejects.toMatchObject({
      code: 'E_USAGE',
      details: { hint: expect.stringContaining('--tokenizer') },
    });
  });
});

const era = sharedPath('data/era-eval.json');
test.skipIf(!era)(`the rows of the era classifier${era ? '' : ` (${SHARED_ABSENT})`}`, async () => {
  const inputs = CLASSIFIER.slice(0, 2);
  const dataset = await openDataset(await parseDataSpec(era), inputs, { samples: 'all', batch: 100 });
  expect(dataset.count).toBe(51);
  expect(dataset.description).toBe('5046 rows of era-eval.json');
  const [first] = await allSamples(dataset);
  expect(inputOf(first, 'input_ids').shape).toEqual([100, 64]);
  expect(first?.labels).toHaveLength(100);
});
