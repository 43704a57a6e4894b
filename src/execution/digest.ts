/** SHA-256 of a file that was just written: a second read, from the page cache as a rule. */

import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';

/** What can be read back. */
export interface Readable {
  /** Returns the bytes read, fewer at the end of the file. */
  read(offset: number, target: Uint8Array): Promise<number>;
}

const PIECE = 4 << 20;

/** Hex digest of the first `size` bytes; what the file lacks at its end is zeros, as it will be when it is finished. */
export async function fileDigest(file: Readable, size: number): Promise<string> {
  const hash = createHash('sha256');
  const buffer = new Uint8Array(Math.min(PIECE, size));
  for (let offset = 0; offset < size; ) {
    const piece = buffer.subarray(0, Math.min(PIECE, size - offset));
    const got = await file.read(offset, piece);
    piece.fill(0, got);
    hash.update(piece);
    offset += piece.length;
    await setImmediate();
  }
  return hash.digest('hex');
}
