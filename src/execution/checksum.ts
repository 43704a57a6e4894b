/**
 * A checksum of a stream of bytes, the same however the stream is cut: whole blocks of 128 bytes are mixed into 32 lanes by a kernel
 * (kernels/reference/checksum.ts), what is left of a block waits for the next bytes. It finds what a crash does to a file, several times
 * as fast as CRC-32; it is no defence against anybody.
 */

import type { Kernels } from '../kernels/kernels.ts';
import { CHECKSUM_BLOCK, CHECKSUM_LANES, mixWord } from '../kernels/reference/checksum.ts';

export interface Checksum {
  add(bytes: Uint8Array): void;
  /** 0 to 2^32 − 1; more bytes may follow. */
  value(): number;
}

export function createChecksum(kernels: Pick<Kernels, 'mixWords'>): Checksum {
  const lanes = Int32Array.from({ length: CHECKSUM_LANES }, (_, i) => i);
  const rest = new Uint8Array(CHECKSUM_BLOCK);
  let held = 0;
  let length = 0;
  return {
    add(bytes) {
      length += bytes.length;
      let start = 0;
      if (held > 0) {
        start = Math.min(CHECKSUM_BLOCK - held, bytes.length);
        rest.set(bytes.subarray(0, start), held);
        held += start;
        if (held < CHECKSUM_BLOCK) return;
        kernels.mixWords(rest, lanes);
      }
      const whole = bytes.length - ((bytes.length - start) % CHECKSUM_BLOCK);
      if (whole > start) kernels.mixWords(bytes.subarray(start, whole), lanes);
      rest.set(bytes.subarray(whole));
      held = bytes.length - whole;
    },
    value() {
      const last = lanes.slice();
      if (held > 0) kernels.mixWords(rest.slice().fill(0, held), last);
      let sum = mixWord(length | 0, Math.floor(length / 2 ** 32));
      for (const lane of last) sum = mixWord(sum, lane);
      sum = Math.imul(sum ^ (sum >>> 16), 0x85ebca6b);
      return (sum ^ (sum >>> 13)) >>> 0;
    },
  };
}
