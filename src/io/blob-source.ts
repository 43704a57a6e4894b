/**
 * A Blob or File (browser, or `fs.openAsBlob`) as a `ByteSource`: only the slices that are asked for are read.
 */

import { WhittleError } from '../errors.ts';
import { assertRange } from './memory-source.ts';
import type { ByteSource } from './source.ts';

/** Slices are read in pieces of this many bytes: `arrayBuffer()` holds a second copy while it runs. */
const CHUNK = 64 * 1024 * 1024;

/**
 * @param blob Its bytes are read lazily; a File that changes on disk gives E_INPUT_CHANGED.
 * @param name Used in messages.
 */
export function blobSource(blob: Blob, name = '<blob>'): ByteSource {
  return {
    name,
    size: blob.size,
    async readInto(offset, target) {
      assertRange(name, blob.size, offset, target.length);
      for (let done = 0; done < target.length; ) {
        const end = Math.min(done + CHUNK, target.length);
        const piece = await sliceBytes(blob, offset + done, offset + end, name);
        if (piece.length !== end - done) throw changed(name, offset + done);
        target.set(piece, done);
        done = end;
      }
    },
    async close() {},
  };
}

async function sliceBytes(blob: Blob, start: number, end: number, name: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await blob.slice(start, end).arrayBuffer());
  } catch (cause) {
    throw changed(name, start, cause);
  }
}

function changed(file: string, offset: number, cause?: unknown): WhittleError {
  return new WhittleError('E_INPUT_CHANGED', 'the file could not be read any more', {
    file,
    offset,
    hint: 'It was changed, moved or deleted after it was chosen. Choose it again.',
    cause,
  });
}
