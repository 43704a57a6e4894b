/** Text as data: windows, what surrounds them, what is filled in, what is refused. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DatasetOptions } from '../../../src/calibration/data/data-spec.ts';
import type { Dataset } from '../../../src/calibration/data/dataset.ts';
import { openDataset } from '../../../src/calibration/data/open-dataset.ts';
import { tensorValues } from '../../../src/calibration/data/tensor-values.ts';
import { hasOnnxruntimeNode, onnxruntimeNode } from '../../../src/runtime/onnxruntime-node.ts';
import type { RuntimeValueInfo } from '../../../src/runtime/runtime.ts';
import { SHARED_ABSENT, sharedPath } from '../../shared.ts';
import { allSamples, CLASSIFIER, DECODER, IMAGE, inputOf, WORDS, writeTokenizer } from './model-inputs.ts';

let folder: string;
let tokenizer: string;
/** 40 words: each of the nine of the sentence in turn. */
const TEXT = Array.from({ length: 40 }, (_, i) => WORDS[3 + (i % 9)]).join(' ');
const ID = (i: number): number => 3 + (i % 9);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whittle-text-'));
  tokenizer = await writeTokenizer(folder, { config: { max_position_embeddings: 32 } });
  await writeFile(join(folder, 'text.txt'), TEXT);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const open = (
  options: DatasetOptions,
  inputs: readonly RuntimeValueInfo[] = DECODER,
  file = 'text.txt',
): Promise<Dataset> => openDataset({ kind: 'text', file: join(folder, file), tokenizer }, inputs, options);

describe('windows', () => {
  test('are consecutive pieces of the token stream, the tail left out', async () => {
    const dataset = await open({ sequence: 12, samples: 'all' });
    const samples = await allSamples(dataset);
    expect(dataset.count).toBe(3);
    expect(dataset.synthetic).toBe(false);
    expect(dataset.description).toBe('3 windows of 12 tokens of text.txt');
    expect(samples.map((sample) => inputOf(sample, 'input_ids').values)).toEqual(
      [0, 1, 2].map((w) => Array.from({ length: 12 }, (_, i) => ID(w * 12 + i))),
    );
  });

  test('come with a mask of ones, rising positions and an empty cache', async () => {
    const [sample] = await allSamples(await open({ sequence: 5 }));
    expect([...(sample?.inputs.keys() ?? [])]).toEqual(DECODER.map(({ name }) => name));
    expect(inputOf(sample, 'attention_mask')).toEqual({ shape: [1, 5], values: [1, 1, 1, 1, 1] });
    expect(inputOf(sample, 'position_ids')).toEqual({ shape: [1, 5], values: [0, 1, 2, 3, 4] });
    expect(inputOf(sample, 'past_key_values.0.key')).toEqual({ shape: [1, 4, 0, 32], values: [] });
  });

  test('share a run where a batch is asked for, the last one smaller', async () => {
    const dataset = await open({ sequence: 12, samples: 'all', batch: 2 });
    const samples = await allSamples(dataset);
    expect(dataset.count).toBe(2);
    expect(samples.map((sample) => inputOf(sample, 'input_ids').shape)).toEqual([
      [2, 12],
      [1, 12],
    ]);
    expect(inputOf(samples[0], 'attention_mask').shape).toEqual([2, 12]);
    expect(inputOf(samples[0], 'position_ids').values.slice(12)).toEqual(
      Array.from({ length: 12 }, (_, i) => i),
    );
    expect(inputOf(samples[0], 'past_key_values.0.value').shape).toEqual([2, 4, 0, 32]);
  });

  test('are the same in every walk and for every equal seed, and others for another seed', async () => {
    const options = { sequence: 3, samples: 4, start: 'random' } as const;
    const ids = async (dataset: Dataset): Promise<string> =>
      (await allSamples(dataset)).map((sample) => inputOf(sample, 'input_ids').values.join()).join(' ');
    const dataset = await open({ ...options, seed: 1 });
    const first = await ids(dataset);
    expect(await ids(dataset)).toBe(first);
    expect(await ids(await open({ ...options, seed: 1 }))).toBe(first);
    const others = await Promise.all([2, 3, 4].map(async (seed) => ids(await open({ ...options, seed }))));
    expect(others.some((other) => other !== first)).toBe(true);
  });

  test('are as long as the model can read where nothing is said', async () => {
    expect((await open({})).description).toBe('1 window of 32 tokens of text.txt');
  });

  test('are wrapped where the tokenizer wraps texts', async () => {
    const wrapped = await mkdtemp(join(folder, 'wrapped-'));
    const spec = {
      kind: 'text',
      file: join(folder, 'text.txt'),
      tokenizer: await writeTokenizer(wrapped, { wrap: true }),
    } as const;
    const samples = await allSamples(await openDataset(spec, CLASSIFIER, { sequence: 6, samples: 2 }));
    expect(samples.map((sample) => inputOf(sample, 'input_ids').values)).toEqual([
      [0, 3, 4, 5, 6, 1],
      [0, 7, 8, 9, 10, 1],
    ]);
    expect(inputOf(samples[0], 'token_type_ids').values).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test('are one shorter one where the text fills none, which is said', async () => {
    await writeFile(join(folder, 'short.txt'), 'the quick fox');
    const dataset = await open({ sequence: 16 }, DECODER, 'short.txt');
    expect(dataset.count).toBe(1);
    expect(dataset.notes.join()).toContain('fills one window of 3 tokens only');
  });

  test('fewer than asked for are said', async () => {
    const { notes } = await open({ sequence: 12, samples: 10 });
    expect(notes.join()).toContain('holds 3 of the 10 samples');
  });

  test('a text that is cut in the middle of a character and a word gives what the whole gives', async () => {
    // 64 KiB is the least that is read at first: the cut falls into words of two-byte letters.
    const word = 'ñandú ';
    await writeFile(join(folder, 'long.txt'), `${TEXT} ${word.repeat(30000)}`);
    const samples = await allSamples(await open({ sequence: 30, samples: 2 }, DECODER, 'long.txt'));
    expect(inputOf(samples[0], 'input_ids').values[0]).toBe(3);
    expect(inputOf(samples[1], 'input_ids').values.slice(10)).toEqual(new Array(20).fill(2));
  });
});

describe('what is filled in', () => {
  test('a switch that says that the cache is empty, and 0 for "keep all logits"', async () => {
    const inputs: RuntimeValueInfo[] = [
      ...DECODER,
      { name: 'use_cache_branch', dtype: 'bool', shape: [1] },
      { name: 'num_logits_to_keep', dtype: 'int64', shape: [] },
    ];
    const [sample] = await allSamples(await open({ sequence: 4 }, inputs));
    expect(inputOf(sample, 'use_cache_branch')).toEqual({ shape: [1], values: [0] });
    expect(inputOf(sample, 'num_logits_to_keep')).toEqual({ shape: [], values: [0] });
  });

  test('the tokens of a decoder behind an encoder, one place later', async () => {
    const inputs: RuntimeValueInfo[] = [
      { name: 'input_ids', dtype: 'int64', shape: ['batch', 'encoder_length'] },
      { name: 'attention_mask', dtype: 'int64', shape: ['batch', 'encoder_length'] },
      { name: 'decoder_input_ids', dtype: 'int64', shape: ['batch', 'decoder_length'] },
    ];
    const dataset = await open({ sequence: 4 }, inputs);
    const [sample] = await allSamples(dataset);
    expect(inputOf(sample, 'decoder_input_ids')).toEqual({ shape: [1, 4], values: [0, 3, 4, 5] });
    expect(inputOf(sample, 'attention_mask').shape).toEqual([1, 4]);
    expect(dataset.notes.join()).toContain('one token later');
  });

  test('what nothing can fill in is named', async () => {
    const inputs: RuntimeValueInfo[] = [
      ...DECODER,
      { name: 'encoder_hidden_states', dtype: 'f32', shape: ['batch_size', 'encoder_length', 64] },
    ];
    await expect(allSamples(await open({ sequence: 4 }, inputs))).rejects.toMatchObject({
      code: 'E_DATA',
      message: expect.stringContaining('encoder_hidden_states'),
    });
  });
});

describe('refusals', () => {
  test.each<[string, DatasetOptions, readonly RuntimeValueInfo[], string, RegExp]>([
    [
      'a vocabulary smaller than the ids',
      { vocabulary: 10 },
      DECODER,
      'E_DATA',
      /beyond the model's vocabulary/,
    ],
    [
      'a sequence beyond the positions',
      { sequence: 33 },
      DECODER,
      'E_USAGE',
      /longer than the model can read/,
    ],
    ['a sequence of half a token', { sequence: 0.5 }, DECODER, 'E_USAGE', /sequence/],
    ['no samples', { samples: 0 }, DECODER, 'E_USAGE', /samples/],
    ['a batch of −1', { batch: -1 }, DECODER, 'E_USAGE', /batch/],
    ['a model of pictures', {}, IMAGE, 'E_USAGE', /takes no token ids/],
    [
      'a batch that the model does not take',
      { batch: 2 },
      [{ name: 'input_ids', dtype: 'int64', shape: [1, 's'] }],
      'E_USAGE',
      /1 row at a time/,
    ],
    [
      'another window than the model takes',
      { sequence: 9 },
      [{ name: 'input_ids', dtype: 'int64', shape: ['b', 8] }],
      'E_USAGE',
      /windows of 8 tokens/,
    ],
    [
      'less text than the window of the model',
      {},
      [{ name: 'input_ids', dtype: 'int64', shape: ['b', 41] }],
      'E_DATA',
      /does not fill one window/,
    ],
  ])('%s', async (_, options, inputs, code, message) => {
    await expect(open(options, inputs)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  test.each<[string, string | Uint8Array, string]>([
    ['an empty text', '', 'E_EMPTY'],
    ['a picture named .txt', Uint8Array.of(0x61, 0x89, 0x50, 0x4e), 'E_DATA'],
  ])('%s', async (_, content, code) => {
    await writeFile(join(folder, 'bad.txt'), content);
    await expect(open({}, DECODER, 'bad.txt')).rejects.toMatchObject({ code });
  });

  test('bytes that are no UTF-8 are named by their place', async () => {
    await writeFile(join(folder, 'latin.txt'), Uint8Array.of(0x61, 0x62, 0xe9, 0x61));
    await expect(open({}, DECODER, 'latin.txt')).rejects.toMatchObject({ details: { offset: 2 } });
  });

  test('a text or a tokenizer that is not there', async () => {
    await expect(open({}, DECODER, 'none.txt')).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    const spec = { kind: 'text', file: join(folder, 'text.txt'), tokenizer: join(folder, 'none') } as const;
    await expect(openDataset(spec, DECODER)).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  });

  test.each<[string, string, string]>([
    ['cut short', '{"model": {"type": "BPE", "vocab": {"a": 1', 'E_TRUNCATED'],
    ['no JSON', '<html>', 'E_DATA'],
    ['a list', '[1]', 'E_DATA'],
    ['another JSON file', '{"hidden_size": 3}', 'E_DATA'],
    ['of a model that nobody knows', '{"model": {"type": "Nobody"}}', 'E_DATA'],
    ['without vocabulary', '{"model": {"type": "BPE"}}', 'E_DATA'],
    ['empty', '', 'E_EMPTY'],
  ])('a tokenizer.json that is %s', async (_, content, code) => {
    const at = await mkdtemp(join(folder, 'bad-'));
    await writeFile(join(at, 'tokenizer.json'), content);
    const spec = { kind: 'text', file: join(folder, 'text.txt'), tokenizer: at } as const;
    await expect(openDataset(spec, DECODER)).rejects.toMatchObject({ code, name: 'WhittleError' });
  });

  test('a tokenizer that has no id for a word, nor an unknown token', async () => {
    const at = await mkdtemp(join(folder, 'gap-'));
    const model = { type: 'WordLevel', vocab: { the: 0 }, unk_token: '<none>' };
    const definition = { added_tokens: [], pre_tokenizer: { type: 'WhitespaceSplit' }, model };
    await writeFile(join(at, 'tokenizer.json'), JSON.stringify(definition));
    const spec = { kind: 'text', file: join(folder, 'text.txt'), tokenizer: at } as const;
    await expect(openDataset(spec, DECODER)).rejects.toMatchObject({ code: 'E_DATA' });
  });
});

const lm = sharedPath('models/lm');
describe.skipIf(!lm)(`the reference text${lm ? '' : ` (${SHARED_ABSENT})`}`, () => {
  const openShared = (
    name: string,
    options: DatasetOptions,
    inputs: readonly RuntimeValueInfo[] = DECODER,
  ): Promise<Dataset> =>
    openDataset(
      { kind: 'text', file: sharedPath(`data/${name}`) ?? '', tokenizer: lm ?? '' },
      inputs,
      options,
    );

  test('64 windows of 256 tokens are the default', async () => {
    const dataset = await openShared('lm-calib.txt', {});
    expect(dataset.description).toBe('the first 64 windows of 256 tokens of lm-calib.txt');
    const [first] = await allSamples(dataset);
    expect(inputOf(first, 'input_ids').values.slice(0, 6)).toEqual([40, 71, 1030, 15, 37, 4033]);
  });

  test('the first windows of the evaluation give the perplexity of the published figures', async (context) => {
    if (!(await hasOnnxruntimeNode())) context.skip('onnxruntime-node is not installed');
    const session = await onnxruntimeNode().load(join(lm ?? '', 'onnx/model.onnx'), { threads: 1 });
    const dataset = await openShared('lm-eval.txt', { samples: 4 }, session.inputs);
    let sum = 0;
    for await (const { inputs } of dataset.samples()) {
      const ids = inputs.get('input_ids');
      const logits = (await session.run(inputs)).get('logits');
      if (ids === undefined || logits === undefined) throw new Error('no logits');
      const targets = tensorValues(ids);
      const values = tensorValues(logits);
      for (let p = 0; p < 255; p++) {
        const row = values.subarray(p * 4096, (p + 1) * 4096);
        const most = row.reduce((a, b) => Math.max(a, b));
        const total = row.reduce((a, b) => a + Math.exp(b - most), 0);
        sum += most + Math.log(total) - (row[targets[p + 1] ?? 0] ?? 0);
      }
    }
    await session.close();
    // All 96 windows give 37.1534.
    expect(Math.exp(sum / (4 * 255))).toBeCloseTo(41.3698, 3);
  });
});
