/**
 * One code per element ↔ the packed bytes that a file holds. Widths of 8 and 16 bits are the little-endian elements
 * themselves; narrower ones are packed by the row's order. Signed codes are masked on the way in and sign-extended on
 * the way out.
 */

import { WhittleError } from '../errors.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { CodeArray } from './affine.ts';
import type { Encoding } from './encodings/encoding.ts';

/** Whether this machine stores 16-bit numbers in the order of the files. */
const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

export function packedLength(bits: number, count: number): number {
  return Math.ceil((bits * count) / 8);
}

export function packCodes(
  row: Pick<Encoding, 'bits' | 'packing'>,
  codes: CodeArray,
  kernels: Kernels,
): Uint8Array {
  const bytes = new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength);
  if (row.bits === 16) return LITTLE_ENDIAN ? bytes.slice() : swapPairs(bytes);
  if (row.bits === 8) return bytes.slice();
  const packed = new Uint8Array(packedLength(row.bits, codes.length));
  kernels.packBits(bytes, row.bits, row.packing, packed);
  return packed;
}

/** Inverse of `packCodes`. Throws E_TENSOR_SIZE where the bytes do not hold exactly `count` codes. */
export function unpackCodes(
  row: Pick<Encoding, 'bits' | 'packing' | 'affine' | 'signed' | 'codeArray'>,
  packed: Uint8Array,
  count: number,
  kernels: Kernels,
): CodeArray {
  const expected = packedLength(row.bits, count);
  if (packed.length !== expected) {
    throw new WhittleError('E_TENSOR_SIZE', 'the packed codes do not fit the shape', {
      expected: `${expected} bytes for ${count} codes of ${row.bits} bits`,
      found: `${packed.length} bytes`,
    });
  }
  const codes = row.codeArray(count);
  const bytes = new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength);
  if (row.bits === 16) {
    bytes.set(LITTLE_ENDIAN ? packed : swapPairs(packed));
    return codes;
  }
  if (row.bits === 8) {
    bytes.set(packed);
    return codes;
  }
  kernels.unpackBits(packed, row.bits, row.packing, bytes);
  if (row.affine && row.signed) {
    const shift = 32 - row.bits;
    for (let i = 0; i < count; i++) codes[i] = (bytes[i]! << shift) >> shift;
  }
  return codes;
}

function swapPairs(bytes: Uint8Array): Uint8Array {
  const swapped = new Uint8Array(bytes.length);
  for (let i = 0; i + 1 < bytes.length; i += 2) {
    swapped[i] = bytes[i + 1]!;
    swapped[i + 1] = bytes[i]!;
  }
  return swapped;
}
