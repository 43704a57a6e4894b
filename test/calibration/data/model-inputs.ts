/** Inputs of usual models, as a session tells them, and a tokenizer of a few words, for the tests of data sets. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset, Sample } from '../../../src/calibration/data/dataset.ts';
import { tensorValues } from '../../../src/calibration/data/tensor-values.ts';
import type { RuntimeValueInfo } from '../../../src/runtime/runtime.ts';

/** A decoder with one layer of cache, as transformers.js exports it. */
export const DECODER: readonly RuntimeValueInfo[] = [
  { name: 'input_ids', dtype: 'int64', shape: ['batch_size', 'sequence_length'] },
  { name: 'attention_mask', dtype: 'int64', shape: ['batch_size', 'total_sequence_length'] },
  { name: 'position_ids', dtype: 'int64', shape: ['batch_size', 'sequence_length'] },
  { name: 'past_key_values.0.key', dtype: 'f32', shape: ['batch_size', 4, 'past_sequence_length', 32] },
  { name: 'past_key_values.0.value', dtype: 'f32', shape: ['batch_size', 4, 'past_sequence_length', 32] },
];

export const CLASSIFIER: readonly RuntimeValueInfo[] = [
  { name: 'input_ids', dtype: 'int64', shape: ['batch_size', 'sequence_length'] },
  { name: 'attention_mask', dtype: 'int64', shape: ['batch_size', 'sequence_length'] },
  { name: 'token_type_ids', dtype: 'int64', shape: ['batch_size', 'sequence_length'] },
];

export const VECTOR: readonly RuntimeValueInfo[] = [{ name: 'x', dtype: 'f32', shape: ['batch', 3] }];

export const IMAGE: readonly RuntimeValueInfo[] = [
  { name: 'pixel_values', dtype: 'f32', shape: ['batch', 3, 'height', 'width'] },
];

export const WORDS = [
  '<s>',
  '</s>',
  '<unk>',
  'the',
  'quick',
  'brown',
  'fox',
  'jumps',
  'over',
  'a',
  'lazy',
  'dog',
];

/** Words at white space; `wrap` puts <s> and </s> around a text, as BERT's tokenizers do with their own marks. */
export async function writeTokenizer(
  folder: string,
  { wrap = false, config = {} }: { wrap?: boolean; config?: Readonly<Record<string, unknown>> } = {},
): Promise<string> {
  const mark = (id: string): unknown => ({ SpecialToken: { id, type_id: 0 } });
  const special = Object.fromEntries(['<s>', '</s>'].map((id, i) => [id, { id, ids: [i], tokens: [id] }]));
  const tokenizer = {
    version: '1.0',
    added_tokens: ['<s>', '</s>', '<unk>'].map((content, id) => ({ id, content, special: true })),
    normalizer: null,
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: wrap
      ? {
          type: 'TemplateProcessing',
          single: [mark('<s>'), { Sequence: { id: 'A', type_id: 0 } }, mark('</s>')],
          pair: [],
          special_tokens: special,
        }
      : null,
    decoder: null,
    model: {
      type: 'WordLevel',
      vocab: Object.fromEntries(WORDS.map((word, id) => [word, id])),
      unk_token: '<unk>',
    },
  };
  const file = join(folder, 'tokenizer.json');
  await writeFile(file, JSON.stringify(tokenizer));
  await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify({ unk_token: '<unk>' }));
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  return file;
}

export async function allSamples(dataset: Dataset): Promise<Sample[]> {
  const samples: Sample[] = [];
  for await (const sample of dataset.samples()) samples.push(sample);
  return samples;
}

/** Shape and values of one input, for a comparison on one line. */
export function inputOf(sample: Sample | undefined, name: string): { shape: number[]; values: number[] } {
  const tensor = sample?.inputs.get(name);
  if (tensor === undefined) throw new Error(`the sample lacks ${name}`);
  return { shape: [...tensor.shape], values: [...tensorValues(tensor)] };
}
