/** Decodes elements of metadata arrays on demand: arrays stay in the file until somebody wants to see them. */

import { WhittleError } from '../../errors.ts';
import type { Limits } from '../limits.ts';
import { limitError } from './budget.ts';
import { createCursor } from './cursor.ts';
import type { GgufArrayEntry, GgufValue } from './gguf.ts';
import { decodeText, decodeValue, VALUE_BYTES } from './value-types.ts';

/** Numbers are decoded in pieces of this many bytes (a multiple of all sizes). */
const PIECE_BYTES = 64 * 1024;

/**
 * Elements `first` … `first + count`; what is past the end is left out.
 * @throws WhittleError E_USAGE for numbers that are no places, E_LIMIT where it is too much to hold
 */
export async function readArray(
  entry: GgufArrayEntry,
  limits: Limits,
  first = 0,
  count = entry.count,
): Promise<GgufValue[]> {
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || first < 0 || count < 0) {
    throw new WhittleError('E_USAGE', 'a place in an array is a whole number from 0', {
      found: `${first}, ${count}`,
    });
  }
  const start = Math.min(first, entry.count);
  const wanted = Math.min(count, entry.count - start);
  return entry.elementType === 'string'
    ? readTexts(entry, limits, start, wanted)
    : readNumbers(entry, entry.elementType, start, wanted);
}

async function readTexts(
  entry: GgufArrayEntry,
  limits: Limits,
  first: number,
  count: number,
): Promise<string[]> {
  const { source, offset, length } = entry.elements;
  const cursor = createCursor(source, offset, offset + length);
  const what = JSON.stringify(entry.key);
  for (let left = first; left > 0; ) {
    await cursor.want(8);
    const done = cursor.skipTexts(left, length);
    if (done === 0) throw changed(entry);
    left -= done;
  }
  const texts: string[] = [];
  let held = 0;
  while (texts.length < count) {
    if (!cursor.has(8)) await cursor.want(8);
    const bytes = cursor.count(what);
    held += bytes;
    if (held > limits.skeletonBytes) {
      const file = source.name;
      throw limitError({ file, limits }, 'skeletonBytes', `the texts of ${what} are too long`, offset);
    }
    if (!cursor.has(bytes)) await cursor.want(bytes);
    texts.push(decodeText(cursor.bytes(bytes, what)));
  }
  return texts;
}

function changed({ elements }: GgufArrayEntry): WhittleError {
  return new WhittleError(
    'E_INPUT_CHANGED',
    'the metadata is no longer what it was when the file was opened',
    {
      file: elements.source.name,
      offset: elements.offset,
      hint: 'Run again when nothing writes to the file.',
    },
  );
}

async function readNumbers(
  { elements }: GgufArrayEntry,
  type: Exclude<GgufArrayEntry['elementType'], 'string'>,
  first: number,
  count: number,
): Promise<GgufValue[]> {
  const size = VALUE_BYTES[type];
  const values: GgufValue[] = [];
  const piece = new Uint8Array(Math.min(PIECE_BYTES, count * size));
  const view = new DataView(piece.buffer);
  for (let done = 0; done < count; ) {
    const now = Math.min(PIECE_BYTES / size, count - done);
    await elements.source.readInto(elements.offset + (first + done) * size, piece.subarray(0, now * size));
    for (let i = 0; i < now; i++) values.push(decodeValue(view, i * size, type));
    done += now;
  }
  return values;
}
