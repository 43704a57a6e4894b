/** Output held in memory: for browsers, tests and small models. The bytes can be had once it is committed. */

import { WhittleError } from '../errors.ts';
import type { ByteSink } from './source.ts';

export interface MemorySink extends ByteSink {
  /** @throws WhittleError E_IO before commit or after abort: an unfinished output does not exist. */
  bytes(): Uint8Array;
}

/** A sink of exactly `size` bytes; what is not written stays zero. */
export function createMemorySink(name: string, size: number): MemorySink {
  const content = new Uint8Array(size);
  let state: 'open' | 'committed' | 'aborted' = 'open';
  return {
    name,
    async write(offset, bytes) {
      if (state !== 'open') throw new WhittleError('E_IO', `the output is ${state}`, { file: name });
      if (offset < 0 || offset + bytes.length > size) {
        throw new WhittleError('E_IO', 'a write lies outside the output', {
          file: name,
          offset,
          expected: `at most ${size} bytes`,
          found: `${offset + bytes.length}`,
        });
      }
      content.set(bytes, offset);
    },
    async commit() {
      if (state === 'aborted') throw new WhittleError('E_IO', 'the output is aborted', { file: name });
      state = 'committed';
    },
    async abort() {
      state = 'aborted';
    },
    bytes() {
      if (state !== 'committed') throw new WhittleError('E_IO', 'the output is not complete', { file: name });
      return content;
    },
  };
}
