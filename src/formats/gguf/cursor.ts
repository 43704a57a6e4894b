/**
 * Reads the head of a file from front to back through one window: whoever parses asks for the bytes of a field, then
 * takes values synchronously. A jump (over the elements of an array) costs nothing where it stays in the window and one
 * read where it does not. The window is never larger than the file, and grows only while reading goes on in sequence.
 */

import { WhittleError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';

/** First read, and first read after a jump. */
const FIRST_BYTES = 16 * 1024;
const WINDOW_BYTES = 256 * 1024;

export interface Cursor {
  readonly source: ByteSource;
  /** Absolute offset of the next byte. */
  readonly position: number;
  /** Bytes after `position`. */
  readonly rest: number;
  /**
   * Makes the next `length` bytes available to the calls below, or all that are left where those are fewer.
   * `what` stands in the message of the call that then fails.
   */
  want(length: number): Promise<void>;
  /** Whether `want` has nothing to do: for loops over many short pieces, where waiting would be most of the work. */
  has(length: number): boolean;
  /** @throws WhittleError E_TRUNCATED where the file ends within it */
  u8(what: string): number;
  u32(what: string): number;
  /** Exact up to 2^53, above that rounded: for lengths and counts, which are compared with limits. */
  count(what: string): number;
  u64(what: string): bigint;
  /** A view of the next bytes, valid until the next `want`. */
  bytes(length: number, what: string): Uint8Array;
  /** Moves on without reading. @throws WhittleError E_TRUNCATED */
  skip(length: number, what: string): void;
  /**
   * Moves over texts (length and bytes), `left` at most, without leaving the window; gives how many. One loop in one
   * place, since a vocabulary has a million of them.
   */
  skipTexts(left: number, limit: number): number;
}

/** @param start Offset of the first byte. */
export function createCursor(source: ByteSource, start = 0, end = source.size): Cursor {
  let buffer = new Uint8Array(0);
  let view = new DataView(buffer.buffer);
  /** Offset of the window's first byte, bytes in it, and the place in it. */
  let base = start;
  let filled = 0;
  let at = 0;
  let ahead = FIRST_BYTES;

  const take = (length: number, what: string): number => {
    const place = at;
    if (place + length > filled) throw truncated(source, base + place, length, end, what);
    at = place + length;
    return place;
  };

  return {
    source,
    get position() {
      return base + at;
    },
    get rest() {
      return end - base - at;
    },
    has: (length) => at + length <= filled,
    async want(length) {
      if (at + length <= filled) return;
      const inSequence = at <= filled;
      ahead = inSequence && filled > 0 ? Math.min(ahead * 2, WINDOW_BYTES) : FIRST_BYTES;
      const position = base + at;
      const kept = inSequence ? buffer.subarray(at, filled) : buffer.subarray(0, 0);
      const size = Math.min(Math.max(length, ahead), end - position);
      if (size > buffer.length) {
        const larger = new Uint8Array(size);
        larger.set(kept);
        buffer = larger;
        view = new DataView(buffer.buffer);
      } else {
        buffer.copyWithin(0, kept.byteOffset, kept.byteOffset + kept.length);
      }
      base = position;
      at = 0;
      filled = kept.length;
      if (size > filled) {
        await source.readInto(base + filled, buffer.subarray(filled, size));
        filled = size;
      }
    },
    u8: (what) => view.getUint8(take(1, what)),
    u32: (what) => view.getUint32(take(4, what), true),
    count(what) {
      const place = take(8, what);
      return view.getUint32(place + 4, true) * 2 ** 32 + view.getUint32(place, true);
    },
    u64: (what) => view.getBigUint64(take(8, what), true),
    bytes(length, what) {
      const place = take(length, what);
      return buffer.subarray(place, place + length);
    },
    skip(length, what) {
      if (!(length <= end - base - at)) throw truncated(source, base + at, length, end, what);
      at += length;
    },
    skipTexts(left, limit) {
      let place = at;
      let done = 0;
      // A text may end behind the window, not behind the file.
      const room = end - base;
      for (; done < left && place + 8 <= filled; done++) {
        const length = view.getUint32(place + 4, true) * 2 ** 32 + view.getUint32(place, true);
        if (length > limit || place + 8 + length > room) break;
        place += 8 + length;
      }
      at = place;
      return done;
    },
  };
}

/** The file ends at `end`, `length` bytes were needed at `offset`. */
export function truncated(
  source: ByteSource,
  offset: number,
  length: number | bigint,
  end: number,
  what: string,
): WhittleError {
  return new WhittleError('E_TRUNCATED', `the file ends within ${what}`, {
    file: source.name,
    offset,
    expected: `${length} bytes`,
    found: `${Math.max(0, end - offset)} bytes`,
    hint: 'Download or copy the file again: it is incomplete, or a length in it is wrong.',
  });
}
