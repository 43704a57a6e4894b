/**
 * A source that counts what is asked of it and fails where it is asked for bytes outside: a reader must know the file's end
 * by itself. Fails as a bug does, with a plain Error, so that no test takes it for a refusal.
 */

import type { ByteSource } from '../../../src/io/source.ts';

export interface CountingSource {
  readonly source: ByteSource;
  /** Bytes of all reads, and of the largest. */
  readonly total: number;
  readonly largest: number;
  readonly reads: number;
  readonly isClosed: boolean;
}

export function countingSource(inner: ByteSource): CountingSource {
  const counts = { total: 0, largest: 0, reads: 0, isClosed: false };
  const source: ByteSource = {
    name: inner.name,
    size: inner.size,
    async readInto(offset, target) {
      if (!(offset >= 0 && offset + target.length <= inner.size)) {
        throw new Error(`read outside: ${target.length} bytes at ${offset} of ${inner.size}`);
      }
      if (counts.isClosed) throw new Error('read after close');
      counts.total += target.length;
      counts.largest = Math.max(counts.largest, target.length);
      counts.reads++;
      await inner.readInto(offset, target);
    },
    async close() {
      counts.isClosed = true;
      await inner.close();
    },
  };
  return {
    source,
    get total() {
      return counts.total;
    },
    get largest() {
      return counts.largest;
    },
    get reads() {
      return counts.reads;
    },
    get isClosed() {
      return counts.isClosed;
    },
  };
}
