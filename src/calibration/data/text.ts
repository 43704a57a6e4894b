/**
 * Windows of a text: the text is turned into tokens once, as a whole, and cut into consecutive windows of equal length that
 * share no token. Nothing is put into the stream; where the tokenizer wraps texts (BERT's [CLS] … [SEP], a beginning of text) every
 * window is wrapped, and holds that many tokens less, since the model was trained so.
 *
 * The reference figures of the models that stand beside this project were made this way: their tokenizer wraps nothing, the
 * windows are the first 256-token pieces of the file from its first character on, each from an empty cache and without
 * beginning token, and all 255 next tokens of each are scored. 96 windows of lm-eval.txt give a perplexity of 37.153
 * (with a beginning token over the first one of each 37.721, before each 37.821, once before the whole text 37.128).
 */

import { DTYPES } from '../../core/dtype.ts';
import { WhittleError } from '../../errors.ts';
import { openFile } from '../../io/file-source.ts';
import type { RuntimeValueInfo } from '../../runtime/runtime.ts';
import { batchAxis, describeInput, isDecoderTokens, isDerived } from './complete-inputs.ts';
import { type DatasetOptions, DEFAULT_SEQUENCE, type TextSpec } from './data-spec.ts';
import { decodeText, wholeCharacters } from './read-text.ts';
import { checkPositive, idBounds, type RowSource, sampleLimit } from './rows.ts';
import { makeTensor } from './tensor-values.ts';
import { openTokenizer, type TextTokenizer } from './tokenizer.ts';

/** Text that is read at first for one token: more than languages need, so that one read is mostly enough. */
const BYTES_PER_TOKEN = 8;
const LEAST_READ = 1 << 16;
/** Most text that is turned into tokens: some 5 million of them, more than any calibration or evaluation uses. */
const MOST_TEXT = 32 << 20;
/** Tokens at a cut end of the text that would be others if it went on. */
const CUT_TOKENS = 64;

/** @throws WhittleError E_USAGE where the model takes no tokens or not that many, E_EMPTY, E_DATA; see openTokenizer */
export async function textRows(
  spec: TextSpec,
  inputs: readonly RuntimeValueInfo[],
  options: DatasetOptions,
): Promise<RowSource> {
  const input = tokenInput(inputs);
  const tokenizer = await openTokenizer(spec.tokenizer);
  const { before, after } = tokenizer.around;
  const extra = before.length + after.length;
  const { length, fixed } = windowLength(input, inputs, tokenizer, options);
  if (length <= extra) {
    throw new WhittleError('E_USAGE', 'a window has no room for text', {
      expected: `more than the ${extra} tokens that the tokenizer puts around a text`,
      found: `${length}`,
    });
  }
  const inner = length - extra;
  // A seeded choice is made among all windows of the text.
  const wanted = options.start === 'random' ? Number.POSITIVE_INFINITY : sampleLimit(options) * inner;
  const { ids, cut } = await tokensOf(spec.file, tokenizer, wanted);
  checkVocabulary(ids, input, inputs, tokenizer, options);
  const notes: string[] = [];
  let size = inner;
  if (ids.length < inner) {
    if (fixed || ids.length < 2) {
      throw new WhittleError('E_DATA', 'the text does not fill one window', {
        file: spec.file,
        expected: `at least ${inner} tokens`,
        found: `${ids.length}`,
        hint: fixed ? 'Give a longer text.' : 'Give a longer text, or a shorter sequence.',
      });
    }
    size = ids.length;
    notes.push(`The text fills one window of ${size} tokens only, instead of ${inner}.`);
  }
  if (cut && wanted === Number.POSITIVE_INFINITY) {
    notes.push(`Only the first ${MOST_TEXT >> 20} MiB of the text are used.`);
  }
  if (extra > 0) notes.push(`Every window is wrapped as the tokenizer does: ${extra} of its tokens.`);
  if (inputs.some((other) => other !== input && isDecoderTokens(other))) {
    notes.push('The decoder is given the text itself, one token later.');
  }
  return {
    file: spec.file,
    count: Math.floor(ids.length / size),
    partial: cut,
    unit: `window of ${size + extra} tokens`,
    notes,
    start: 'head',
    async read(index) {
      const tokens = [...before, ...ids.slice(index * size, (index + 1) * size), ...after];
      return { values: new Map([[input.name, makeTensor(input.dtype, [tokens.length], tokens)]]) };
    },
  };
}

/** The input that token ids go to. @throws WhittleError E_USAGE where the model takes none */
export function tokenInput(inputs: readonly RuntimeValueInfo[]): RuntimeValueInfo {
  const integer = inputs.filter(({ dtype, shape }) => /^u?int(32|64)$/.test(dtype) && shape.length === 2);
  const named =
    integer.find(({ name }) => name === 'input_ids') ??
    integer.find(({ name }) => /input_ids$|^(tokens?|ids|input)$/i.test(name));
  const others = integer.filter((input) => !isDerived(input));
  const found = named ?? (others.length === 1 ? others[0] : undefined);
  if (found !== undefined) return found;
  const floats = inputs.filter(({ dtype }) => DTYPES[dtype].kind === 'float').length;
  throw new WhittleError('E_USAGE', 'the model takes no token ids, so text is no data for it', {
    expected: 'an integer input of batch × sequence, like input_ids',
    found: inputs.map(describeInput).join(', '),
    hint:
      floats > 0 ? 'Give a folder of images, or arrays keyed by input name (.npz, .safetensors).' : undefined,
  });
}

function windowLength(
  input: RuntimeValueInfo,
  inputs: readonly RuntimeValueInfo[],
  { limit, file }: TextTokenizer,
  { sequence }: DatasetOptions,
): { length: number; fixed: boolean } {
  checkPositive('sequence', sequence);
  const axis = batchAxis(input, inputs) === 0 ? 1 : 0;
  const dim = input.shape[axis];
  if (typeof dim === 'number') {
    if (sequence === undefined || sequence === dim) return { length: dim, fixed: true };
    throw new WhittleError('E_USAGE', `the model takes windows of ${dim} tokens`, {
      tensor: input.name,
      expected: describeInput(input),
      found: `a sequence of ${sequence}`,
    });
  }
  if (sequence !== undefined && limit !== undefined && sequence > limit) {
    throw new WhittleError('E_USAGE', 'the sequence is longer than the model can read', {
      file,
      expected: `at most ${limit} tokens`,
      found: `${sequence}`,
    });
  }
  const length = sequence ?? Math.min(DEFAULT_SEQUENCE, limit ?? DEFAULT_SEQUENCE);
  return { length, fixed: false };
}

/** At least `wanted` tokens of the file's beginning, or all; `cut` where the file goes on. */
async function tokensOf(
  file: string,
  tokenizer: TextTokenizer,
  wanted: number,
): Promise<{ ids: readonly number[]; cut: boolean }> {
  const source = await openFile(file);
  try {
    if (source.size === 0) throw new WhittleError('E_EMPTY', 'the text is empty', { file });
    for (let read = Math.max(LEAST_READ, wanted * BYTES_PER_TOKEN); ; read *= 2) {
      const size = Math.min(source.size, read, MOST_TEXT);
      const bytes = new Uint8Array(size);
      await source.readInto(0, bytes);
      const cut = size < source.size;
      const all = tokenizer.encode(decodeText(cut ? wholeCharacters(bytes) : bytes, file));
      const ids = cut ? all.slice(0, -CUT_TOKENS) : all;
      if (ids.length >= wanted || !cut || size === MOST_TEXT) return { ids, cut };
    }
  } finally {
    await source.close();
  }
}

function checkVocabulary(
  ids: readonly number[],
  input: RuntimeValueInfo,
  inputs: readonly RuntimeValueInfo[],
  tokenizer: TextTokenizer,
  options: DatasetOptions,
): void {
  const vocabulary = options.vocabulary ?? idBounds(inputs, options).get(input.name);
  if (vocabulary === undefined) return;
  const { before, after } = tokenizer.around;
  const bad = [...before, ...after, ...ids].find((id) => id >= vocabulary);
  if (bad === undefined) return;
  throw new WhittleError('E_DATA', "the tokenizer yields ids beyond the model's vocabulary", {
    file: tokenizer.file,
    tensor: input.name,
    expected: `ids from 0 to ${vocabulary - 1}`,
    found: `${bad}`,
    hint: 'Use the tokenizer that the model was trained with.',
  });
}
