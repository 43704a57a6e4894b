/** The loop that keeps the worst layers: ends within the bound, with few tries, and leaves nothing behind. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { withinLoss } from '../../../src/compress/max-loss/search.ts';

const layers = (harms: readonly number[]) => harms.map((_, i) => ({ weight: `w${i}`, keepBytes: i + 1 }));

function run(harms: readonly number[], maxLoss: number) {
  const alive = new Set<readonly string[]>();
  const made: (readonly string[])[] = [];
  const promise = withinLoss({
    rank: async () => layers(harms),
    maxLoss,
    make: async (kept) => {
      alive.add(kept);
      made.push(kept);
      return kept;
    },
    evaluate: async (kept) => harms.slice(kept.length).reduce((sum, harm) => sum + harm, 0),
    discard: async (kept) => {
      alive.delete(kept);
    },
  });
  return { promise, alive, made };
}

test('the fewest layers that bring the loss within the bound are kept, and they are named', async () => {
  const harms = fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(harms, fc.integer({ min: 0, max: 2000 }), async (unsorted, maxLoss) => {
      const sorted = unsorted.toSorted((a, b) => b - a);
      const { promise, alive, made } = run(sorted, maxLoss);
      const { kept, loss, result, tries, keptBytes } = await promise;
      expect(loss).toBeLessThanOrEqual(maxLoss);
      expect(kept.map(({ weight }) => weight)).toEqual(result);
      const left = (count: number) => sorted.slice(count).reduce((sum, harm) => sum + harm, 0);
      if (kept.length > 0) expect(left(kept.length - 1)).toBeGreaterThan(maxLoss);
      expect([...alive]).toEqual([result]);
      expect(tries.length).toBe(made.length);
      expect(tries.length).toBeLessThanOrEqual(2 * Math.log2(sorted.length + 1) + 3);
      expect(keptBytes).toBe((kept.length * (kept.length + 1)) / 2);
    }),
  );
});

test('a loss that no kept layer brings down is E_VERIFICATION with what was tried', async () => {
  const promise = withinLoss({
    rank: async () => layers([1, 1, 1]),
    maxLoss: 0.5,
    make: async (kept) => kept.length,
    evaluate: async () => 1,
  });
  await expect(promise).rejects.toMatchObject({
    code: 'E_VERIFICATION',
    details: { expected: 'a loss of at most 0.5', found: expect.stringContaining('1 with 3 of 3 kept') },
  });
});

test('a bound that is none, a loss that is none and a stop are coded errors', async () => {
  const common = { rank: async () => layers([1]), make: async () => 0, evaluate: async () => Number.NaN };
  await expect(withinLoss({ ...common, maxLoss: Number.NaN })).rejects.toMatchObject({ code: 'E_USAGE' });
  await expect(withinLoss({ ...common, maxLoss: 1 })).rejects.toMatchObject({ code: 'E_NONFINITE' });
  const stopped = withinLoss({ ...common, maxLoss: 1, signal: AbortSignal.abort() });
  await expect(stopped).rejects.toMatchObject({ code: 'E_ABORTED' });
});

test('what was made before a failure is discarded', async () => {
  const discarded: number[] = [];
  const promise = withinLoss({
    rank: async () => layers([3, 2, 1, 1]),
    maxLoss: 2,
    make: async (kept) => kept.length,
    evaluate: async (kept) => {
      if (kept === 1) throw new Error('broken');
      return kept >= 2 ? 1 : 7;
    },
    discard: async (kept) => {
      discarded.push(kept);
    },
  });
  await expect(promise).rejects.toThrow('broken');
  expect(discarded).toContain(0);
});
