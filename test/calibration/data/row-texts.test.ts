/** Texts in rows: tokens, pairs, padding and what is cut; where the tokenizer comes from; what is refused. */

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DatasetOptions } from '../../../src/calibration/data/data-spec.ts';
import { openDataset } from '../../../src/calibration/data/open-dataset.ts';
import { parseDataSpec } from '../../../src/calibration/data/parse-data-spec.ts';
import type { RuntimeValueInfo } from '../../../src/runtime/runtime.ts';
import { allSamples, CLASSIFIER, inputOf, VECTOR, writeTokenizer } from './model-inputs.ts';

let folder: string;
let tokenizer: string;
const FIXED: readonly RuntimeValueInfo[] = CLASSIFIER.map((input) => ({
  ...input,
  shape: ['batch_size', 8],
}));

/** <s> text </s> pair </s>, the pair in segment 1. */
async function addPairTemplate(file: string): Promise<void> {
  const definition = JSON.parse(await readFile(file, 'utf8'));
  const mark = (id: string, type_id: number) => ({ SpecialToken: { id, type_id } });
  const part = (id: string, type_id: number) => ({ Sequence: { id, type_id } });
  definition.post_processor.pair = [
    mark('<s>', 0),
    part('A', 0),
    mark('</s>', 0),
    part('B', 1),
    mark('</s>', 1),
  ];
  await writeFile(file, JSON.stringify(definition));
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whittle-row-texts-'));
  tokenizer = await writeTokenizer(folder, { wrap: true, config: { max_position_embeddings: 12 } });
  await addPairTemplate(tokenizer);
  await writeFile(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({ unk_token: '<unk>', pad_token: '<unk>' }),
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function rows(
  content: unknown,
  { inputs = CLASSIFIER, name = 'rows.json', ...options }: DatasetOptions & Partial<Given> = {},
) {
  const file = join(folder, name);
  await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content));
  const spec = await parseDataSpec(file, { model: join(folder, 'model.onnx') });
  return allSamples(await openDataset(spec, inputs, { samples: 'all', ...options }));
}

interface Given {
  readonly inputs: readonly RuntimeValueInfo[];
  readonly name: string;
}

describe('texts in rows', () => {
  test('become tokens as the tokenizer wraps them, with labels and a mask of ones', async () => {
    const [first, second] = await rows([
      { text: 'the quick fox', label: 1 },
      { text: 'a dog', label: 0 },
    ]);
    expect(inputOf(first, 'input_ids')).toEqual({ shape: [1, 5], values: [0, 3, 4, 6, 1] });
    expect(inputOf(first, 'attention_mask').values).toEqual([1, 1, 1, 1, 1]);
    expect(inputOf(second, 'input_ids').values).toEqual([0, 9, 11, 1]);
    expect([first?.labels, second?.labels]).toEqual([[1], [0]]);
  });

  test('are the same as columns, lines and bare strings', async () => {
    const forms: readonly [unknown, string][] = [
      [{ text: ['the fox', 'a dog'] }, 'columns.json'],
      ['{"text": "the fox"}\n{"text": "a dog"}\n', 'lines.ndjson'],
      [['the fox', 'a dog'], 'bare.json'],
    ];
    for (const [content, name] of forms) {
      const samples = await rows(content, { name });
      expect(samples.map((sample) => inputOf(sample, 'input_ids').values)).toEqual([
        [0, 3, 6, 1],
        [0, 9, 11, 1],
      ]);
    }
  });

  test('of two texts tell by segments which is which', async () => {
    const [sample] = await rows([{ text: 'the fox', text_pair: 'a lazy dog' }]);
    expect(inputOf(sample, 'input_ids').values).toEqual([0, 3, 6, 1, 9, 10, 11, 1]);
    expect(inputOf(sample, 'token_type_ids').values).toEqual([0, 0, 0, 0, 1, 1, 1, 1]);
  });

  test('are padded to the length that the model fixes, and the mask says so', async () => {
    const [sample] = await rows([{ text: 'the fox' }], { inputs: FIXED });
    expect(inputOf(sample, 'input_ids').values).toEqual([0, 3, 6, 1, 2, 2, 2, 2]);
    expect(inputOf(sample, 'attention_mask').values).toEqual([1, 1, 1, 1, 0, 0, 0, 0]);
  });

  test('share a run where they are padded to the sequence', async () => {
    const [sample] = await rows([{ text: 'the fox' }, { text: 'a lazy brown dog' }], {
      batch: 2,
      sequence: 6,
    });
    expect(inputOf(sample, 'input_ids')).toEqual({
      shape: [2, 6],
      values: [0, 3, 6, 1, 2, 2, 0, 9, 10, 5, 11, 1],
    });
    expect(inputOf(sample, 'attention_mask').values).toEqual([1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1]);
  });

  test('are cut to what the model reads, the end mark kept; of a pair the longer first', async () => {
    const long = Array.from({ length: 30 }, () => 'fox').join(' ');
    const [sample] = await rows([{ text: long }]);
    expect(inputOf(sample, 'input_ids').values).toEqual([0, ...new Array<number>(10).fill(6), 1]);
    const [pair] = await rows([{ text: long, text_pair: 'a dog' }], { sequence: 8 });
    expect(inputOf(pair, 'input_ids').values).toEqual([0, 6, 6, 6, 1, 9, 11, 1]);
  });
});

describe('refused', () => {
  test('without a tokenizer, with the flag that names it', async () => {
    const file = join(folder, 'alone.json');
    await writeFile(file, JSON.stringify([{ text: 'the fox' }]));
    const dataset = openDataset({ kind: 'json', file }, CLASSIFIER).then(allSamples);
    await expect(dataset).rejects.toMatchObject({ code: 'E_USAGE', details: { file } });
  });

  test.each([
    [[{ text: 3 }], 'E_DATA'],
    [[{ text: '' }, { text_pair: 'a dog' }], 'E_DATA'],
    [[{ sentence: 'the fox' }], 'E_DATA'],
    [[{ text: 'the fox', label: 'cat' }], 'E_DATA'],
  ])('%j', async (content, code) => {
    await expect(rows(content)).rejects.toMatchObject({ code });
  });

  test('for a model that takes no tokens', async () => {
    await expect(rows([{ text: 'the fox' }], { inputs: VECTOR })).rejects.toMatchObject({ code: 'E_USAGE' });
  });

  test('ids beyond the vocabulary, with the row', async () => {
    await expect(rows([{ text: 'the dog' }], { vocabulary: 8 })).rejects.toMatchObject({
      code: 'E_DATA',
      details: { found: '11 (row 1)' },
    });
  });
});
