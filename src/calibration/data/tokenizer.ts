/**
 * A tokenizer.json (Hugging Face format) through `@huggingface/tokenizers`, an optional peer that is imported when the first
 * text is opened. What that package throws at, or answers undefined for, becomes a coded error that names the file.
 */

import { basename, dirname, join } from 'node:path';
import { WhittleError } from '../../errors.ts';
import { loadError } from '../../runtime/onnxruntime-tensors.ts';
import { isRecord, parseJsonText, readText } from './read-text.ts';

/** Ids and segments of what stands before, between and after the texts. */
export interface PairTemplate {
  readonly around: readonly { readonly ids: readonly number[]; readonly segments: readonly number[] }[];
  /** Segment of each text. */
  readonly segments: readonly number[];
}

export interface TextTokenizer {
  /** tokenizer.json as it was found. */
  readonly file: string;
  /** Ids without any token that the tokenizer puts around a text. @throws WhittleError E_DATA for what it has no token for. */
  encode(text: string): number[];
  /** What the tokenizer puts around each text ([CLS] and [SEP], beginning of text): ids before and after. */
  readonly around: { readonly before: readonly number[]; readonly after: readonly number[] };
  /** What it puts around two texts, and to which segment each token belongs. @throws WhittleError E_DATA where it takes no pairs */
  aroundPair(): PairTemplate;
  /** What rows are filled up with, and on which side. */
  readonly padding: { readonly id: number; readonly side: 'left' | 'right' };
  /** Most tokens of a window, by tokenizer_config.json and config.json; undefined where neither says. */
  readonly limit: number | undefined;
}

const PEER = '@huggingface/tokenizers';
/** Files of vocabularies of a million tokens with merges have some 100 MB. */
const MAX_JSON = 512 << 20;

/**
 * @param path - tokenizer.json or the folder that holds it
 * @throws WhittleError E_NOT_FOUND, E_MISSING_PEER, E_DATA where it is no tokenizer
 */
export async function openTokenizer(path: string): Promise<TextTokenizer> {
  const file = /\.json$/i.test(path) ? path : join(path, 'tokenizer.json');
  const definition = await readObject(file);
  if (definition === undefined) {
    throw new WhittleError('E_NOT_FOUND', 'there is no tokenizer.json', {
      file,
      hint: 'Name the tokenizer.json of the model, or its folder.',
    });
  }
  if (!isRecord(definition.model)) {
    throw new WhittleError('E_DATA', 'this is no tokenizer.json', {
      file,
      expected: 'an object with the member "model"',
      found: `members ${Object.keys(definition).slice(0, 8).join(', ') || '(none)'}`,
      hint:
        basename(file) === 'tokenizer.json'
          ? 'Download the tokenizer of the model again.'
          : 'Name tokenizer.json, not its configuration.',
    });
  }
  const config = await readObject(join(dirname(file), 'tokenizer_config.json'));
  const { encode, pair, idOf } = await construct(file, definition, config ?? {});
  return {
    file,
    encode: (text) => encode(text, false),
    around: around(encode),
    aroundPair: () => aroundPair(file, encode('a', false), pair('a', 'a')),
    padding: paddingOf(definition, config ?? {}, idOf),
    limit: smallest([config?.model_max_length, ...(await positions(dirname(file)))]),
  };
}

type Encode = (text: string, special: boolean) => number[];

interface Pair {
  readonly ids: readonly number[];
  readonly segments: readonly number[];
}

interface Constructed {
  readonly encode: Encode;
  readonly pair: (text: string, other: string) => Pair;
  readonly idOf: (token: string) => number | undefined;
}

async function construct(
  file: string,
  definition: Readonly<Record<string, unknown>>,
  config: Readonly<Record<string, unknown>>,
): Promise<Constructed> {
  const { Tokenizer } = await peer();
  const broken = (cause: unknown): WhittleError =>
    new WhittleError('E_DATA', 'the tokenizer cannot be used', {
      file,
      found: cause instanceof Error ? cause.message : String(cause),
      hint: 'Check that tokenizer.json is complete and of a kind that transformers.js reads.',
      cause,
    });
  try {
    const tokenizer = new Tokenizer(definition, config);
    const run = <T>(encode: () => T): T => {
      try {
        return encode();
      } catch (cause) {
        throw broken(cause);
      }
    };
    return {
      encode: (text, special) =>
        checkIds(run(() => tokenizer.encode(text, { add_special_tokens: special })).ids, file),
      pair(text, other) {
        const found = run(() =>
          tokenizer.encode(text, { text_pair: other, add_special_tokens: true, return_token_type_ids: true }),
        );
        return { ids: checkIds(found.ids, file), segments: found.token_type_ids };
      },
      idOf: (token) => tokenizer.token_to_id(token),
    };
  } catch (cause) {
    throw broken(cause);
  }
}

function checkIds(ids: readonly unknown[], file: string): number[] {
  return ids.map((id, index) => {
    if (typeof id === 'number' && Number.isSafeInteger(id) && id >= 0) return id;
    throw new WhittleError('E_DATA', 'the tokenizer has no id for a piece of the text', {
      file,
      expected: 'a token for everything, or an unknown token in the vocabulary',
      found: `${String(id)} for token ${index + 1}`,
    });
  });
}

async function peer() {
  try {
    return await import('@huggingface/tokenizers');
  } catch (cause) {
    throw loadError(PEER, cause, 'it turns text into tokens');
  }
}

/** The template shows itself around a word. */
function around(encode: Encode): TextTokenizer['around'] {
  const bare = encode('a', false);
  const full = encode('a', true);
  for (let at = 0; bare.length > 0 && at + bare.length <= full.length; at++) {
    if (bare.every((id, i) => full[at + i] === id)) {
      return { before: full.slice(0, at), after: full.slice(at + bare.length) };
    }
  }
  return { before: [], after: [] };
}

/** The template for pairs shows itself around one word twice. */
function aroundPair(file: string, word: readonly number[], { ids, segments }: Pair): PairTemplate {
  const find = (from: number): number => {
    for (let at = from; word.length > 0 && at + word.length <= ids.length; at++) {
      if (word.every((id, i) => ids[at + i] === id)) return at;
    }
    throw new WhittleError('E_DATA', 'the tokenizer does not say how it puts two texts together', { file });
  };
  const first = find(0);
  const second = find(first + word.length);
  const part = (from: number, to: number) => ({
    ids: ids.slice(from, to),
    segments: Array.from({ length: to - from }, (_, i) => segments[from + i] ?? 0),
  });
  return {
    around: [part(0, first), part(first + word.length, second), part(second + word.length, ids.length)],
    segments: [segments[first] ?? 0, segments[second] ?? 0],
  };
}

/** tokenizer_config.json names the token; tokenizer.json may hold its id. 0 where neither says. */
function paddingOf(
  definition: Readonly<Record<string, unknown>>,
  config: Readonly<Record<string, unknown>>,
  idOf: Constructed['idOf'],
): TextTokenizer['padding'] {
  const token = isRecord(config.pad_token) ? config.pad_token.content : config.pad_token;
  const own = isRecord(definition.padding) ? definition.padding : {};
  const named = typeof token === 'string' ? idOf(token) : undefined;
  const id = named ?? (typeof own.pad_id === 'number' ? own.pad_id : 0);
  const left = config.padding_side === 'left' || own.direction === 'Left';
  return { id, side: left ? 'left' : 'right' };
}

async function positions(folder: string): Promise<unknown[]> {
  const config = await readObject(join(folder, 'config.json'));
  const text = isRecord(config?.text_config) ? config.text_config : {};
  return ['max_position_embeddings', 'n_positions', 'n_ctx'].flatMap((key) => [config?.[key], text[key]]);
}

function smallest(values: readonly unknown[]): number | undefined {
  const known = values.filter(
    (value): value is number => typeof value === 'number' && Number.isSafeInteger(value) && value > 1,
  );
  return known.length === 0 ? undefined : Math.min(...known);
}

/** The file's object; undefined where there is no such file. @throws WhittleError E_DATA where it holds something else. */
async function readObject(file: string): Promise<Record<string, unknown> | undefined> {
  let text: string;
  try {
    text = await readText(file, MAX_JSON);
  } catch (error) {
    if (error instanceof WhittleError && error.code === 'E_NOT_FOUND') return undefined;
    throw error;
  }
  const value = parseJsonText(text, file);
  if (isRecord(value)) return value;
  throw new WhittleError('E_DATA', 'the file is JSON, but not an object', {
    file,
    found: text.slice(0, 60),
  });
}
