/**
 * The WebAssembly kernel of the checksum: bytes that a kernel wrote are mixed where they are, others pass through the stage in
 * chunks; the lanes stand in WORK meanwhile.
 */

import type { Kernels } from './kernels.ts';
import { CHECKSUM_BLOCK, CHECKSUM_LANES } from './reference/checksum.ts';
import { type KernelMemory, WORK } from './wasm-memory.ts';

/** Bytes that pass through the stage at once. */
const CHUNK = 1 << 18;

export function checksumKernel(memory: KernelMemory): Pick<Kernels, 'mixWords'> {
  const mixWords = memory.kernel('mixWords');
  return {
    mixWords(bytes, lanes) {
      const step = memory.isResident(bytes) ? bytes.length : CHUNK;
      memory.words(WORK, CHECKSUM_LANES).set(lanes);
      for (let start = 0; start < bytes.length; start += step) {
        const length = Math.min(step, bytes.length - start);
        mixWords(memory.input(bytes, start, length), length / CHECKSUM_BLOCK, WORK);
        memory.deliver();
      }
      lanes.set(memory.words(WORK, CHECKSUM_LANES));
    },
  };
}
