/**
 * Texts of llama-quantize's options: types by name, `REGEX=TYPE` and files of them, `KEY=TYPE:VALUE`, lists of layers. What it
 * accepts is accepted; what it silently takes for something else (a number with letters after it, an integer that does not fit)
 * is an error here.
 */

import { GGML_TYPES, type GgmlType, isGgmlType } from '../../core/ggml-types.ts';
import { nearest } from '../../core/nearest.ts';
import { WhittleError } from '../../errors.ts';
import type { GgufScalarType, GgufValue } from '../../formats/gguf/gguf.ts';
import { isWeightType, WEIGHT_TYPES } from './check-options.ts';
import { LONGEST_OVERRIDE_TEXT } from './metadata.ts';
import { compilePattern } from './pattern.ts';

export interface TensorTypeRule {
  /** Lower-case, as llama-quantize makes it. */
  readonly pattern: string;
  readonly type: GgmlType;
}

export interface Override {
  readonly key: string;
  readonly type: GgufScalarType;
  readonly value: GgufValue;
}

const BY_LOWER_CASE: ReadonlyMap<string, GgmlType> = new Map(
  Object.keys(GGML_TYPES).flatMap((name) => (isGgmlType(name) ? [[name.toLowerCase(), name] as const] : [])),
);

/** A ggml type that weights can be stored as, in any case (`Q4_K`, `q4_k`). @throws WhittleError E_USAGE */
export function parseGgmlType(text: string): GgmlType {
  const type = BY_LOWER_CASE.get(text.trim().toLowerCase());
  if (type !== undefined && isWeightType(type)) return type;
  const shown = text.slice(0, 64);
  const close = nearest(text, WEIGHT_TYPES);
  throw new WhittleError(
    'E_USAGE',
    type === undefined ? `there is no tensor type "${shown}"` : `weights cannot be stored as ${type}`,
    {
      expected: WEIGHT_TYPES.join(', '),
      found: shown,
      hint:
        close === undefined || type !== undefined
          ? 'Mixes such as Q4_K_M are file types, for --to.'
          : `Did you mean ${close}?`,
    },
  );
}

/** `REGEX=TYPE`: the pattern becomes lower-case and ends at the first `=`. @throws WhittleError E_USAGE */
export function parseTensorType(text: string): TensorTypeRule {
  const equals = text.indexOf('=');
  if (equals <= 0 || equals === text.length - 1) {
    throw new WhittleError('E_USAGE', 'a tensor type is given as PATTERN=TYPE', {
      found: text.slice(0, 128),
      hint: 'For example attn_v=q6_K, or blk\\.[0-3]\\.ffn_down=q8_0.',
    });
  }
  const pattern = text.slice(0, equals).toLowerCase();
  compilePattern(pattern);
  return { pattern, type: parseGgmlType(text.slice(equals + 1)) };
}

/** Content of a file of them: rules between spaces and line ends. @throws WhittleError E_USAGE with the rule's number */
export function parseTensorTypeFile(content: string, file?: string): TensorTypeRule[] {
  const words = content.split(/\s+/).filter((word) => word !== '');
  return words.map((word, index) => {
    try {
      return parseTensorType(word);
    } catch (error) {
      if (!(error instanceof WhittleError)) throw error;
      const { hint, expected, found } = error.details;
      const message = `rule ${index + 1}: ${error.message}`;
      throw new WhittleError(error.code, message, { file, hint, expected, found: found ?? word });
    }
  });
}

/** `3,4,15`: sorted, each once. @throws WhittleError E_USAGE */
export function parsePruneLayers(text: string): number[] {
  const layers = text.split(',').map((part) => {
    const word = part.trim();
    if (!/^\d{1,9}$/.test(word)) {
      throw new WhittleError('E_USAGE', 'layers to prune are given as numbers with commas between', {
        found: text.slice(0, 128),
        hint: 'For example 3,4,15; the first layer is 0.',
      });
    }
    return Number(word);
  });
  return [...new Set(layers)].sort((a, b) => a - b);
}

const LONGEST_KEY = 127;
const OVERRIDE_FORM = 'KEY=int:VALUE, KEY=float:VALUE, KEY=bool:true|false or KEY=str:TEXT';

/**
 * `KEY=TYPE:VALUE`. Integers become u32 of their absolute value, floats f32, as llama-quantize writes them.
 * @throws WhittleError E_USAGE
 */
export function parseOverrideKv(text: string): Override {
  const equals = text.indexOf('=');
  const fail = (problem: string): WhittleError =>
    new WhittleError('E_USAGE', `the metadata override cannot be read: ${problem}`, {
      expected: OVERRIDE_FORM,
      found: text.slice(0, 160),
    });
  if (equals <= 0) throw fail('there is no key before "="');
  const key = text.slice(0, equals);
  if (byteCount(key) > LONGEST_KEY) throw fail(`its key has more than ${LONGEST_KEY} bytes`);
  const rest = text.slice(equals + 1);
  const colon = rest.indexOf(':');
  if (colon < 0) throw fail('there is no type before ":"');
  const value = rest.slice(colon + 1);
  switch (rest.slice(0, colon)) {
    case 'int': {
      if (!/^[+-]?\d{1,19}$/.test(value.trim())) throw fail('the value is no whole number');
      const integer = Math.abs(Number(value));
      if (integer > 0xffffffff) throw fail('whole numbers are written with 32 bits');
      return { key, type: 'u32', value: integer };
    }
    case 'float': {
      if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(value.trim()))
        throw fail('the value is no number');
      const float = Math.fround(Number(value));
      if (!Number.isFinite(float)) throw fail('the value is too large for 32 bits');
      return { key, type: 'f32', value: float };
    }
    case 'bool':
      if (value !== 'true' && value !== 'false') throw fail('the value is neither true nor false');
      return { key, type: 'bool', value: value === 'true' };
    case 'str':
      if (byteCount(value) > LONGEST_OVERRIDE_TEXT) {
        throw fail(`the text has more than ${LONGEST_OVERRIDE_TEXT} bytes`);
      }
      return { key, type: 'string', value };
    default:
      throw fail(`there is no type "${rest.slice(0, Math.min(colon, 32))}"`);
  }
}

const byteCount = (text: string): number => new TextEncoder().encode(text).length;
