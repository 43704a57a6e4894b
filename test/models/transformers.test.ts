/**
 * The result folders, loaded from disk by transformers.js itself, in every dtype that it knows and whittle writes. With the shared models
 * where they are, and always with two small ones that the test builds.
 */

import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { env, pipeline } from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compress } from '../../src/compress.ts';
import { SHARED_ABSENT, sharedPath } from '../shared.ts';
import { CLASSIFIER_TEXT, PROMPT, writeTinyClassifier, writeTinyLanguageModel } from './tiny-models.ts';

/** Mode of whittle = dtype of transformers.js; `near` = how far a class probability may move. */
const DTYPES = [
  { dtype: 'fp16', near: 0.01 },
  { dtype: 'q8', near: 0.1 },
  { dtype: 'int8', near: 0.1 },
  { dtype: 'uint8', near: 0.1 },
  { dtype: 'q4', near: 0.25 },
  { dtype: 'q4f16', near: 0.25 },
  { dtype: 'bnb4', near: 0.25 },
  // Two bits are for models that were trained for them: here they only have to load and run.
  { dtype: 'q2', near: 1 },
  { dtype: 'q2f16', near: 1 },
] as const;

const SENTENCES = [
  'The Congress shall appropriate money for the militia and the Indian tribes.',
  'Our fleet has kept the peace in the Atlantic, and the tariff has filled the Treasury.',
  'We shall land a man on the moon, end poverty, and win the cold war.',
  'Tonight I ask Congress to pass health insurance reform and create jobs for middle-class families.',
];

interface Source {
  readonly name: string;
  readonly path: string | undefined;
  readonly write?: (folder: string) => Promise<void>;
}

let base: string;

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'whittle-folders-'));
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.localModelPath = `${base}/`;
});
afterAll(() => rm(base, { recursive: true, force: true }));

/** A copy of the source folder with every dtype beside the original. */
async function compressed(
  { name, path, write }: Source,
  externalData: 'auto' | 'always' = 'auto',
): Promise<string> {
  const folder = join(base, name);
  if (write !== undefined) await write(folder);
  else if (path !== undefined) await cp(path, folder, { recursive: true });
  await compress(folder, { to: DTYPES.map(({ dtype }) => dtype), threads: 1, verify: false, externalData });
  return folder;
}

const classifiers: Source[] = [
  { name: 'tiny-classifier', path: undefined, write: writeTinyClassifier },
  { name: 'era-classifier', path: sharedPath('models/era-classifier') },
];

describe.each(classifiers)('text classification with $name', (source) => {
  const absent = source.write === undefined && source.path === undefined;
  const texts =
    source.write === undefined ? SENTENCES : [CLASSIFIER_TEXT, 'the whale and the ship', 'war and peace'];
  let original: { label: string; score: number }[][];

  beforeAll(async () => {
    if (absent) return;
    await compressed(source);
    original = await classify(source.name, texts, 'fp32');
  });

  test.skipIf(absent).each(DTYPES)(
    `$dtype loads from disk and answers alike${absent ? ` (${SHARED_ABSENT})` : ''}`,
    async ({ dtype, near }) => {
      const result = await classify(source.name, texts, dtype);
      const moved = result.map((scores, row) => largestMove(original[row]!, scores));
      console.log(`${source.name}: ${dtype} moves a probability by at most ${Math.max(...moved).toFixed(4)}`);
      expect(Math.max(...moved)).toBeLessThan(near);
    },
  );
});

const languageModels: Source[] = [
  { name: 'tiny-lm', path: undefined, write: writeTinyLanguageModel },
  { name: 'lm', path: sharedPath('models/lm') },
];

describe.each(languageModels)('generation with $name', (source) => {
  const absent = source.write === undefined && source.path === undefined;
  const prompt = source.write === undefined ? 'Call me Ishmael. Some years ago' : PROMPT;
  let original: string;

  beforeAll(async () => {
    if (absent) return;
    await compressed(source);
    original = await generate(source.name, prompt, 'fp32');
  });

  test.skipIf(absent).each(DTYPES)(
    `$dtype loads from disk and goes on with the prompt${absent ? ` (${SHARED_ABSENT})` : ''}`,
    async ({ dtype }) => {
      const text = await generate(source.name, prompt, dtype);
      console.log(`${source.name}: ${dtype} ${JSON.stringify(text)}`);
      expect(text.startsWith(prompt)).toBe(true);
      expect(text.length).toBeGreaterThan(prompt.length + 10);
      // Greedy text of a small model takes other turns at ties; half precision must not.
      if (dtype === 'fp16') expect(text).toBe(original);
    },
  );
});

test('external data is noted in config.json, and transformers.js loads it', async () => {
  const source = { name: 'external', path: undefined, write: writeTinyClassifier };
  const folder = await compressed(source, 'always');
  const { 'transformers.js_config': custom } = JSON.parse(
    await readFile(join(folder, 'config.json'), 'utf8'),
  );
  expect(custom.use_external_data_format['model_q4.onnx']).toBe(1);
  expect(await readdir(join(folder, 'onnx'))).toContain('model_q4.onnx_data');
  const [scores] = await classify(source.name, [CLASSIFIER_TEXT], 'q4');
  const [expected] = await classify(source.name, [CLASSIFIER_TEXT], 'fp32');
  expect(largestMove(expected!, scores!)).toBeLessThan(0.25);
});

async function classify(name: string, texts: string[], dtype: 'fp32' | (typeof DTYPES)[number]['dtype']) {
  const classifier = await pipeline('text-classification', name, { dtype });
  const rows: { label: string; score: number }[][] = [];
  for (const text of texts) rows.push((await classifier(text, { top_k: 4 })).flat());
  await classifier.dispose();
  return rows;
}

async function generate(name: string, prompt: string, dtype: 'fp32' | (typeof DTYPES)[number]['dtype']) {
  const generator = await pipeline('text-generation', name, { dtype });
  const answer = await generator(prompt, { max_new_tokens: 16, do_sample: false });
  await generator.dispose();
  const [first] = answer.flat();
  return typeof first?.generated_text === 'string' ? first.generated_text : '';
}

function largestMove(a: { label: string; score: number }[], b: { label: string; score: number }[]): number {
  return Math.max(
    ...a.map(({ label, score }) => Math.abs(score - (b.find((other) => other.label === label)?.score ?? 2))),
  );
}
