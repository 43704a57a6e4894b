/**
 * Bytes in memory as a `ByteSource`. The bytes are not copied: who made the source must not change them while it
 * is in use.
 */

import { WhittleError } from '../errors.ts';
import type { ByteSource } from './source.ts';

/**
 * @param bytes What the source holds.
 * @param name Used in messages.
 */
export function memorySource(bytes: Uint8Array, name = '<memory>'): ByteSource {
  return {
    name,
    size: bytes.length,
    async readInto(offset, target) {
      assertRange(name, bytes.length, offset, target.length);
      target.set(bytes.subarray(offset, offset + target.length));
    },
    async close() {},
  };
}

/**
 * The check that every source makes before it reads, so that all of them refuse alike.
 * @throws WhittleError E_TRUNCATED where `offset` to `offset + length` is not inside `size` bytes.
 */
export function assertRange(name: string, size: number, offset: number, length: number): void {
  const end = offset + length;
  if (Number.isSafeInteger(offset) && offset >= 0 && Number.isSafeInteger(end) && end <= size) return;
  throw new WhittleError('E_TRUNCATED', 'the file ends before the bytes that it should hold', {
    file: name,
    offset,
    expected: `${length} bytes from byte ${offset}`,
    found: `a file of ${size} bytes`,
    hint: 'Download or copy the file again: it is incomplete.',
  });
}
