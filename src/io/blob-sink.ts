/**
 * Output as a Blob: for a download, or for reading it again. The browser keeps large Blobs on the disk, so that memory does not
 * grow with the output.
 */

import { WhittleError } from '../errors.ts';
import { gatherWrites } from './gather-writes.ts';
import type { ByteSink } from './source.ts';

export interface BlobSink extends ByteSink {
  /** @throws WhittleError E_IO before commit or after abort: an unfinished output does not exist. */
  blob(): Blob;
}

const ZEROS = 1 << 20;

/**
 * A sink of exactly `size` bytes; what is not written stays zero. No byte may be written twice.
 * @param name Used in messages.
 */
export function createBlobSink(name: string, size: number): BlobSink {
  let parts: { readonly offset: number; readonly blob: Blob }[] = [];
  let result: Blob | undefined;
  let isOpen = true;
  const gathered = gatherWrites((offset, bytes) => {
    parts.push({ offset, blob: new Blob([bytes]) });
  });
  return {
    name,
    async write(offset, bytes) {
      if (!isOpen) throw new WhittleError('E_IO', 'the output is closed', { file: name });
      if (offset < 0 || offset + bytes.length > size) {
        throw new WhittleError('E_IO', 'a write lies outside the output', {
          file: name,
          offset,
          expected: `at most ${size} bytes`,
          found: `${offset + bytes.length}`,
        });
      }
      await gathered.write(offset, bytes);
    },
    async commit() {
      if (result !== undefined) return;
      if (!isOpen) throw new WhittleError('E_IO', 'the output is aborted', { file: name });
      await gathered.flush();
      isOpen = false;
      const sequence: Blob[] = [];
      let at = 0;
      for (const { offset, blob } of parts.sort((a, b) => a.offset - b.offset)) {
        if (offset < at) throw new WhittleError('E_IO', 'bytes were written twice', { file: name, offset });
        sequence.push(...zeros(offset - at), blob);
        at = offset + blob.size;
      }
      result = new Blob([...sequence, ...zeros(size - at)], { type: 'application/octet-stream' });
      parts = [];
    },
    async abort() {
      isOpen = false;
      result = undefined;
      parts = [];
    },
    blob() {
      if (result === undefined) throw new WhittleError('E_IO', 'the output is not complete', { file: name });
      return result;
    },
  };
}

function zeros(length: number): Blob[] {
  const piece = new Blob([new Uint8Array(Math.min(ZEROS, length))]);
  const whole = Array.from({ length: Math.floor(length / ZEROS) }, () => piece);
  return length % ZEROS === 0 ? whole : [...whole, piece.slice(0, length % ZEROS)];
}
