/**
 * Texts in rows: `{"text": "…", "label": 3}`, with `text_pair` for tasks on two texts. Each is turned into tokens as the model's own
 * pipeline does: wrapped by the tokenizer's template, cut at the end where it is longer than the model reads (of a pair the longer
 * text first), and padded where the model fixes the length or rows share a run. The mask says what is padding, the segment
 * ids say which text. The tokenizer is opened with the first text.
 */

import { WhittleError } from '../../errors.ts';
import type { RuntimeTensor, RuntimeValueInfo } from '../../runtime/runtime.ts';
import { batchAxis } from './complete-inputs.ts';
import type { DatasetOptions } from './data-spec.ts';
import { batchSize, checkPositive, idBounds } from './rows.ts';
import { makeTensor } from './tensor-values.ts';
import { tokenInput } from './text.ts';
import { openTokenizer, type PairTemplate, type TextTokenizer } from './tokenizer.ts';

const TEXT = 'text';
const PAIR = 'text_pair';

export interface RowTexts {
  /** Whether a member of a row is a text rather than an input's value. */
  isText(name: string): boolean;
  /** Values of the inputs that the texts of one row become. @throws WhittleError E_USAGE, E_DATA, E_MISSING_PEER */
  values(row: Readonly<Record<string, unknown>>, where: string): Promise<Map<string, RuntimeTensor>>;
}

/** @param tokenizer - tokenizer.json or its folder, where one was given or found */
export function createRowTexts(
  file: string,
  inputs: readonly RuntimeValueInfo[],
  tokenizer: string | undefined,
  options: DatasetOptions,
): RowTexts {
  let opened: Promise<(row: Readonly<Record<string, unknown>>, where: string) => Map<string, RuntimeTensor>>;
  return {
    isText: (name) => (name === TEXT || name === PAIR) && !inputs.some((input) => input.name === name),
    async values(row, where) {
      if (tokenizer === undefined) {
        throw new WhittleError(
          'E_USAGE',
          'texts in rows are data only together with the tokenizer of the model',
          {
            file,
            expected: 'tokenizer.json beside the model, or in the folder above',
            hint: 'Name it: --tokenizer path/to/tokenizer.json',
          },
        );
      }
      opened ??= openTokenizer(tokenizer).then((found) => encoder(file, inputs, found, options));
      return (await opened)(row, where);
    },
  };
}

function encoder(
  file: string,
  inputs: readonly RuntimeValueInfo[],
  tokenizer: TextTokenizer,
  options: DatasetOptions,
) {
  const input = tokenInput(inputs);
  const { most, padded } = lengthOf(input, inputs, tokenizer, options);
  const bound = options.vocabulary ?? idBounds(inputs, options).get(input.name);
  const mask = inputs.find(({ name, shape }) => /mask/i.test(name) && shape.length === 2);
  const types = inputs.find(({ name }) => /token_type|segment_ids/i.test(name));
  return (row: Readonly<Record<string, unknown>>, where: string): Map<string, RuntimeTensor> => {
    const texts = [row[TEXT], row[PAIR]].filter((text) => text !== undefined && text !== null);
    const words = texts.filter((text) => typeof text === 'string');
    if (words.length === 0 || words.length < texts.length || typeof row[TEXT] !== 'string') {
      throw new WhittleError('E_DATA', `the text is no text (${where})`, {
        file,
        expected: '{"text": "…"}, or with "text_pair" beside it',
        found: (JSON.stringify(row[TEXT]) ?? 'no text').slice(0, 60),
      });
    }
    const { ids, segments } = assemble(
      words.map((text) => tokenizer.encode(text)),
      words.length === 2 ? tokenizer.aroundPair() : single(tokenizer),
      most,
    );
    const bad = bound === undefined ? undefined : ids.find((id) => id >= bound);
    if (bad !== undefined) {
      throw new WhittleError('E_DATA', "the tokenizer yields ids beyond the model's vocabulary", {
        file: tokenizer.file,
        tensor: input.name,
        expected: `ids from 0 to ${(bound ?? 0) - 1}`,
        found: `${bad} (${where})`,
        hint: 'Use the tokenizer that the model was trained with.',
      });
    }
    if (ids.length === 0) throw new WhittleError('E_DATA', `the text has no token (${where})`, { file });
    const missing = padded ? Math.max(0, (most ?? 0) - ids.length) : 0;
    if (missing > 0 && mask === undefined) {
      throw new WhittleError(
        'E_USAGE',
        `a text is shorter than a run, and the model takes no mask (${where})`,
        {
          file,
          expected: `${most} tokens`,
          found: `${ids.length}`,
          hint: 'Use a batch of 1 and a model whose sequence is open, or give rows of token ids.',
        },
      );
    }
    const fill = (values: readonly number[], by: number): number[] => {
      const padding = new Array<number>(missing).fill(by);
      return tokenizer.padding.side === 'left' ? [...padding, ...values] : [...values, ...padding];
    };
    const tensor = ({ dtype }: RuntimeValueInfo, values: readonly number[]): RuntimeTensor =>
      makeTensor(dtype, [values.length], values);
    const values = new Map([[input.name, tensor(input, fill(ids, tokenizer.padding.id))]]);
    if (mask !== undefined && padded) {
      values.set(mask.name, tensor(mask, fill(new Array<number>(ids.length).fill(1), 0)));
    }
    if (types !== undefined && (padded || words.length === 2)) {
      values.set(types.name, tensor(types, fill(segments, 0)));
    }
    return values;
  };
}

/** Tokens of a row at most, and whether shorter rows are filled up to that. */
function lengthOf(
  input: RuntimeValueInfo,
  inputs: readonly RuntimeValueInfo[],
  { limit, file }: TextTokenizer,
  options: DatasetOptions,
): { most: number | undefined; padded: boolean } {
  const { sequence } = options;
  checkPositive('sequence', sequence);
  const dim = input.shape[batchAxis(input, inputs) === 0 ? 1 : 0];
  const fixed = typeof dim === 'number' ? dim : undefined;
  if (sequence !== undefined && sequence > (fixed ?? limit ?? sequence)) {
    throw new WhittleError('E_USAGE', 'the sequence is longer than the model can read', {
      file,
      expected: `at most ${fixed ?? limit} tokens`,
      found: `${sequence}`,
    });
  }
  if (fixed !== undefined) return { most: fixed, padded: true };
  const most = sequence ?? limit;
  const padded = batchSize(inputs, options) > 1;
  if (padded && most === undefined) {
    throw new WhittleError('E_USAGE', 'texts that share a run need one length', {
      expected: 'a sequence to which they are padded',
      hint: 'Give --sequence, or use a batch of 1.',
    });
  }
  return { most, padded };
}

function single({ around: { before, after } }: TextTokenizer): PairTemplate {
  const part = (ids: readonly number[]) => ({ ids, segments: ids.map(() => 0) });
  return { around: [part(before), part(after)], segments: [0] };
}

function assemble(
  texts: readonly (readonly number[])[],
  { around, segments }: PairTemplate,
  most: number | undefined,
): { ids: number[]; segments: number[] } {
  const extra = around.reduce((sum, { ids }) => sum + ids.length, 0);
  const lengths = texts.map(({ length }) => length);
  let over = most === undefined ? 0 : lengths.reduce((sum, length) => sum + length, extra) - most;
  // The longer text gives way, the second of two equals.
  for (; over > 0; over--) {
    const longest = Math.max(...lengths);
    if (longest === 0) break;
    lengths[lengths.lastIndexOf(longest)] = longest - 1;
  }
  const ids: number[] = [];
  const marks: number[] = [];
  for (const [index, part] of around.entries()) {
    ids.push(...part.ids);
    marks.push(...part.segments);
    const text = texts[index]?.slice(0, lengths[index]) ?? [];
    ids.push(...text);
    marks.push(...text.map(() => segments[index] ?? 0));
  }
  return {
    ids: most === undefined ? ids : ids.slice(0, most),
    segments: most === undefined ? marks : marks.slice(0, most),
  };
}
