/**
 * Reads the next piece of a source while the last one is worked on: for sources that another process reads (Blobs). One piece is
 * held, as large as the last that was asked for; who reads here and there is not slowed down.
 */

import type { ByteSource } from './source.ts';

/** Smaller reads come of parsing, not of streaming. */
const LEAST = 64 << 10;

interface Piece {
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Settles with whether `bytes` were filled; never rejects. */
  readonly ready: Promise<boolean>;
}

/**
 * The same source. Closing it closes `source`.
 * @param least Bytes; smaller reads are followed by none.
 */
export function readAhead(source: ByteSource, least = LEAST): ByteSource {
  const { size } = source;
  let next: Piece | undefined;
  let end = -1;

  const begin = (offset: number, length: number): Piece => {
    const bytes = new Uint8Array(length);
    // A failure is met again, and told, by the read that wants these bytes.
    const ready = source.readInto(offset, bytes).then(
      () => true,
      () => false,
    );
    return { offset, bytes, ready };
  };

  return {
    name: source.name,
    size,
    async readInto(offset, target) {
      const { length } = target;
      const piece = next;
      const isAhead = piece?.offset === offset && length <= piece.bytes.length;
      const follows = offset === end;
      end = offset + length;
      if (isAhead && (await piece.ready)) target.set(piece.bytes.subarray(0, length));
      else await source.readInto(offset, target);
      // Another read may have come meanwhile; its wish is the newer one.
      if (length < least || !follows || end !== offset + length) return;
      const ahead = Math.min(length, size - end);
      next = ahead > 0 ? begin(end, ahead) : undefined;
    },
    async close() {
      next = undefined;
      await source.close();
    },
  };
}
