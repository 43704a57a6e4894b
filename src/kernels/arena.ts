/** Arenas: room for the arrays of a kernel's call, given out front to back and given up all at once. */

import { WhittleError } from '../errors.ts';
import type { Arena } from './kernels.ts';

/** A bump allocator over one buffer; `place` maps an aligned offset to an array. */
export function bumpArena(buffer: ArrayBuffer, base: number, byteLength: number): Arena {
  let used = 0;
  const take = (bytes: number): number => {
    const offset = used;
    if (!Number.isSafeInteger(bytes) || bytes < 0 || offset + bytes > byteLength) {
      throw new WhittleError('E_LIMIT', 'kernel arena is full', {
        expected: `at most ${byteLength - offset} bytes`,
        found: `${bytes} bytes`,
      });
    }
    used = Math.ceil((offset + bytes) / 16) * 16;
    return base + offset;
  };
  return {
    u8: (length) => new Uint8Array(buffer, take(length), length),
    u16: (length) => new Uint16Array(buffer, take(length * 2), length),
    f32: (length) => new Float32Array(buffer, take(length * 4), length),
    f64: (length) => new Float64Array(buffer, take(length * 8), length),
  };
}
