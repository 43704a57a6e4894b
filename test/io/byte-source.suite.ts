/** What every `ByteSource` promises. An implementation runs this suite with a function that makes a source. */

import { expect, test } from 'vitest';
import type { ByteSource } from '../../src/io/source.ts';

export type MakeSource = (bytes: Uint8Array) => Promise<ByteSource>;

export function byteSourceSuite(name: string, make: MakeSource): void {
  const bytes = Uint8Array.from({ length: 10_000 }, (_, index) => (index * 31) & 0xff);

  const using = async (body: (source: ByteSource) => Promise<void>, content = bytes): Promise<void> => {
    const source = await make(content);
    try {
      await body(source);
    } finally {
      await source.close();
    }
  };

  test(`${name}: the size is the number of bytes`, () =>
    using(async (source) => {
      expect(source.size).toBe(bytes.length);
      expect(source.name).not.toBe('');
    }));

  test(`${name}: any range reads the bytes that stand there`, () =>
    using(async (source) => {
      for (const [offset, length] of [
        [0, 10_000],
        [0, 1],
        [9_999, 1],
        [1, 4_095],
        [4_097, 5_903],
      ] as const) {
        const target = new Uint8Array(length).fill(0xaa);
        await source.readInto(offset, target);
        expect(target).toEqual(bytes.subarray(offset, offset + length));
      }
    }));

  test(`${name}: reading fills a view and touches nothing around it`, () =>
    using(async (source) => {
      const around = new Uint8Array(32).fill(0xee);
      await source.readInto(100, around.subarray(8, 24));
      expect(around.subarray(0, 8)).toEqual(new Uint8Array(8).fill(0xee));
      expect(around.subarray(8, 24)).toEqual(bytes.subarray(100, 116));
      expect(around.subarray(24)).toEqual(new Uint8Array(8).fill(0xee));
    }));

  test(`${name}: reads at the same time do not disturb each other`, () =>
    using(async (source) => {
      const targets = Array.from({ length: 20 }, () => new Uint8Array(300));
      await Promise.all(targets.map((target, index) => source.readInto(index * 400, target)));
      targets.forEach((target, index) => {
        expect(target).toEqual(bytes.subarray(index * 400, index * 400 + 300));
      });
    }));

  test(`${name}: an empty read succeeds everywhere, the end included`, () =>
    using(async (source) => {
      await source.readInto(0, new Uint8Array(0));
      await source.readInto(bytes.length, new Uint8Array(0));
    }));

  test.each([
    ['past the end', 9_999, 2],
    ['far away', 2 ** 52, 1],
    ['at a negative offset', -1, 1],
    ['at a fraction', 0.5, 1],
    ['at NaN', Number.NaN, 1],
  ])(`${name}: reading %s is E_TRUNCATED`, (_, offset, length) =>
    using(async (source) => {
      await expect(source.readInto(offset, new Uint8Array(length))).rejects.toMatchObject({
        code: 'E_TRUNCATED',
        details: { file: source.name },
      });
    }),
  );

  test(`${name}: closing twice is allowed`, async () => {
    const source = await make(bytes);
    await source.close();
    await source.close();
  });

  test(`${name}: an empty source has size 0`, () =>
    using(async (source) => {
      expect(source.size).toBe(0);
    }, new Uint8Array(0)));
}
