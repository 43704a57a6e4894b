/**
 * Text and JSON from files that the user names: whole, up to a limit, as strict UTF-8. What is wrong with a file is said
 * with the byte where it shows.
 */

import { WhittleError } from '../../errors.ts';
import { openFile } from '../../io/file-source.ts';

/**
 * @param limit - bytes
 * @throws WhittleError E_EMPTY, E_LIMIT, E_DATA where it is no UTF-8, and what opening a file raises
 */
export async function readText(file: string, limit: number): Promise<string> {
  return decodeText(await readBytes(file, limit), file);
}

/** @throws WhittleError E_EMPTY, E_LIMIT, and what opening a file raises */
export async function readBytes(file: string, limit: number): Promise<Uint8Array> {
  const source = await openFile(file);
  try {
    if (source.size === 0) throw new WhittleError('E_EMPTY', 'the file is empty', { file });
    if (source.size > limit) {
      throw new WhittleError('E_LIMIT', 'the file is too large to be read whole', {
        file,
        expected: `at most ${limit} bytes`,
        found: `${source.size} bytes`,
      });
    }
    const bytes = new Uint8Array(source.size);
    await source.readInto(0, bytes);
    return bytes;
  } finally {
    await source.close();
  }
}

/** @param offset - of `bytes` in the file, for the message */
export function decodeText(bytes: Uint8Array, file: string, offset = 0): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new WhittleError('E_DATA', 'the file is not text in UTF-8', {
      file,
      offset: offset + firstBadByte(bytes),
      hint: 'Convert it to UTF-8, or name its format by its ending (.npy, .npz, .safetensors, .json).',
      cause,
    });
  }
}

/** Where decoding first fails: the longest prefix that decodes, found by halving. */
function firstBadByte(bytes: Uint8Array): number {
  let good = 0;
  let bad = bytes.length;
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    try {
      // A character that is cut in two is no error yet.
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, middle), { stream: true });
      good = middle;
    } catch {
      bad = middle;
    }
  }
  return wholeCharacters(bytes.subarray(0, good)).length;
}

/** Without the bytes of a character that is cut in two. */
export function wholeCharacters(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  for (let back = 1; back <= 4 && back <= end; back++) {
    const byte = bytes[end - back]!;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    if (length > back) end -= back;
    break;
  }
  return bytes.subarray(0, end);
}

/** @throws WhittleError E_TRUNCATED where the text ends in the middle of a value, E_DATA where it is no JSON at all */
export function parseJsonText(text: string, file: string, where?: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    const cut = /Unexpected end of JSON|Unterminated string/.test(found) || endsOpen(text);
    throw new WhittleError(
      cut ? 'E_TRUNCATED' : 'E_DATA',
      `${where ?? 'the file'} ${cut ? 'ends in the middle of a value' : 'is not JSON'}`,
      {
        file,
        ...(cut ? { offset: new TextEncoder().encode(text).length } : {}),
        found,
        hint: cut ? 'Download or copy the file again: it is incomplete.' : undefined,
        cause,
      },
    );
  }
}

/** Whether brackets are open at the end: engines word the error differently when a number or comma comes last. */
function endsOpen(text: string): boolean {
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c === '\\') i++;
      else if (c === '"') quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === '[' || c === '{') depth++;
    else if (c === ']' || c === '}') depth--;
    if (depth < 0) return false;
  }
  return /^\s*[[{]/.test(text) && (depth > 0 || quoted) && /[\d,:\]}"[{el]\s*$/.test(text);
}

/** A JSON object, not an array. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
