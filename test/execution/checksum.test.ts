/** The checksum of what a run wrote: one value however the bytes are cut, on both kinds of kernels, and none that hides a crash. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createRandom } from '../../src/core/random.ts';
import { createChecksum } from '../../src/execution/checksum.ts';
import { type Kernels, referenceKernels, wasmKernels } from '../../src/kernels/index.ts';

const reference = referenceKernels();
const wasm = await wasmKernels();

function checksumOf(kernels: Kernels, ...pieces: readonly Uint8Array[]): number {
  const checksum = createChecksum(kernels);
  for (const piece of pieces) checksum.add(piece);
  return checksum.value();
}

function bytesFrom(seed: number, length: number): Uint8Array {
  const random = createRandom(seed);
  return Uint8Array.from({ length }, () => random.uint32() & 255);
}

test('it is the same however the bytes are cut', () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 8 }),
      (seed, lengths) => {
        const bytes = bytesFrom(
          seed,
          lengths.reduce((a, b) => a + b, 0),
        );
        let start = 0;
        const pieces = lengths.map((length) => {
          const piece = bytes.subarray(start, start + length);
          start += length;
          return piece;
        });
        expect(checksumOf(reference, ...pieces)).toBe(checksumOf(reference, bytes));
      },
    ),
    { numRuns: 200 },
  );
});

test.skipIf(wasm === undefined)(
  'WebAssembly gives the value of the definition, inside its memory and outside',
  () => {
    const kernels = wasm ?? reference;
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 0, max: 700_000 }), (seed, length) => {
        const bytes = bytesFrom(seed, length);
        const resident = kernels.arena(length + 1).u8(length + 1);
        resident.set(bytes, 1);
        const expected = checksumOf(reference, bytes);
        expect(checksumOf(kernels, bytes)).toBe(expected);
        // Not aligned, as the bytes of odd blocks are.
        expect(checksumOf(kernels, resident.subarray(1))).toBe(expected);
      }),
      { numRuns: 25 },
    );
  },
);

test('sectors that are lost, stale, torn or exchanged are seen, and so is any single bit', () => {
  const bytes = bytesFrom(7, 64 * 512 + 34);
  const whole = checksumOf(reference, bytes);
  for (let sector = 0; sector < 64; sector++) {
    const lost = bytes.slice();
    lost.fill(0, sector * 512, (sector + 1) * 512);
    expect(checksumOf(reference, lost)).not.toBe(whole);
    const stale = bytes.slice();
    stale.set(bytesFrom(sector, 512), sector * 512);
    expect(checksumOf(reference, stale)).not.toBe(whole);
    const exchanged = bytes.slice();
    exchanged.copyWithin(sector * 512, ((sector + 1) % 64) * 512, ((sector + 1) % 64) * 512 + 512);
    expect(checksumOf(reference, exchanged)).not.toBe(whole);
  }
  for (let bit = 0; bit < 34 * 8; bit++) {
    const flipped = bytes.slice();
    const at = bytes.length - 34 + (bit >> 3);
    flipped[at] = (flipped[at] ?? 0) ^ (1 << (bit & 7));
    expect(checksumOf(reference, flipped)).not.toBe(whole);
  }
  expect(checksumOf(reference, bytes.subarray(0, -1))).not.toBe(whole);
  expect(checksumOf(reference, bytes, new Uint8Array(1))).not.toBe(whole);
  // Files of zeros of different lengths.
  const zeros = [0, 1, 127, 128, 129, 4096].map((length) => checksumOf(reference, new Uint8Array(length)));
  expect(new Set(zeros).size).toBe(zeros.length);
});
