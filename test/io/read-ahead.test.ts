/** Reading ahead changes when bytes are read, never which. */

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { WhittleError } from '../../src/errors.ts';
import { memorySource } from '../../src/io/memory-source.ts';
import { readAhead } from '../../src/io/read-ahead.ts';
import type { ByteSource } from '../../src/io/source.ts';
import { byteSourceSuite } from './byte-source.suite.ts';

byteSourceSuite('reading ahead', async (bytes) => readAhead(memorySource(bytes), 1));

/** A source that counts its reads and can be made to fail. */
function watched(bytes: Uint8Array): { source: ByteSource; reads: string[]; failAt: Set<number> } {
  const memory = memorySource(bytes, 'watched');
  const reads: string[] = [];
  const failAt = new Set<number>();
  const source: ByteSource = {
    ...memory,
    async readInto(offset, target) {
      reads.push(`${offset}+${target.length}`);
      if (failAt.has(offset)) throw new WhittleError('E_INPUT_CHANGED', 'gone', { offset });
      await memory.readInto(offset, target);
    },
  };
  return { source, reads, failAt };
}

const bytes = Uint8Array.from({ length: 1000 }, (_, index) => index & 0xff);

test('the piece after two that follow each other is there before it is asked for', async () => {
  const { source, reads } = watched(bytes);
  const ahead = readAhead(source, 1);
  const target = new Uint8Array(100);
  await ahead.readInto(0, target);
  expect(reads).toEqual(['0+100']);
  await ahead.readInto(100, target);
  expect(reads).toEqual(['0+100', '100+100', '200+100']);
  await ahead.readInto(200, target);
  expect(target).toEqual(bytes.subarray(200, 300));
  expect(reads.filter((read) => read === '200+100')).toHaveLength(1);
});

test('nothing is read ahead of small reads, of jumps, or behind the end', async () => {
  const { source, reads } = watched(bytes);
  const ahead = readAhead(source, 200);
  for (const [offset, length] of [
    [0, 100],
    [100, 100],
    [700, 200],
    [300, 200],
    [500, 200],
    [700, 300],
  ] as const) {
    await ahead.readInto(offset, new Uint8Array(length));
  }
  expect(reads).toEqual(['0+100', '100+100', '700+200', '300+200', '500+200', '700+200', '700+300']);
});

test('a failure ahead is told by the read that wants the bytes, and only by that', async () => {
  const { source, failAt } = watched(bytes);
  const ahead = readAhead(source, 1);
  failAt.add(200);
  await ahead.readInto(0, new Uint8Array(100));
  await ahead.readInto(100, new Uint8Array(100));
  await ahead.readInto(500, new Uint8Array(100));
  await expect(ahead.readInto(200, new Uint8Array(100))).rejects.toMatchObject({ code: 'E_INPUT_CHANGED' });
});

test('reads of any places and lengths give the bytes that stand there, one after the other or at once', async () => {
  const place = fc.record({ offset: fc.nat(999), length: fc.nat(300) });
  const stream = fc.record({ offset: fc.nat(500), length: fc.nat({ max: 50 }), times: fc.nat(8) });
  const reads = fc.array(
    fc.oneof(
      place.map((one) => [one]),
      stream.map(({ offset, length, times }) =>
        Array.from({ length: times }, (_, index) => ({ offset: offset + index * length, length })),
      ),
    ),
  );
  await fc.assert(
    fc.asyncProperty(reads, fc.boolean(), async (runs, atOnce) => {
      const ahead = readAhead(memorySource(bytes), 1);
      const read = async ({ offset, length }: { offset: number; length: number }): Promise<void> => {
        const target = new Uint8Array(Math.min(length, bytes.length - offset)).fill(0xaa);
        await ahead.readInto(offset, target);
        expect(target).toEqual(bytes.subarray(offset, offset + target.length));
      };
      const all = runs.flat();
      if (atOnce) await Promise.all(all.map(read));
      else for (const one of all) await read(one);
    }),
    { numRuns: 200 },
  );
});
