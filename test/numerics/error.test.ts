import { expect, test } from 'vitest';
import { measureError } from '../../src/numerics/index.ts';

test('metrics equal their definitions', () => {
  const e = measureError(Float32Array.of(1, 2, 3, 4), Float32Array.of(1, 2, 3, 2));
  expect(e).toMatchObject({ count: 4, maxAbs: 2, mse: 1, rmse: 1 });
  expect(e.sqnr).toBeCloseTo(10 * Math.log10(30 / 4), 12);
  expect(e.cosine).toBeCloseTo(22 / Math.sqrt(30 * 18), 12);
});

test('equal tensors have infinite SQNR and cosine 1, also when both are zero', () => {
  for (const values of [Float32Array.of(1, -2), new Float32Array(3)]) {
    expect(measureError(values, values)).toMatchObject({
      maxAbs: 0,
      sqnr: Number.POSITIVE_INFINITY,
      cosine: 1,
    });
  }
});

test('a zero signal with an error has the SQNR −Infinity and cosine 0', () => {
  expect(measureError(new Float32Array(2), Float32Array.of(1, 0))).toMatchObject({
    sqnr: Number.NEGATIVE_INFINITY,
    cosine: 0,
  });
});

test('rows per group cover all values, the last group being shorter', () => {
  const e = measureError(Float32Array.of(1, 1, 1, 1, 1), Float32Array.of(1, 1, 0, 1, 3), { groupSize: 2 });
  expect(e.groups?.map((g) => [g.count, g.maxAbs])).toEqual([
    [2, 0],
    [2, 1],
    [1, 2],
  ]);
});

test('different lengths and senseless groups are refused', () => {
  expect(() => measureError(new Float32Array(2), new Float32Array(3))).toThrow(
    expect.objectContaining({ code: 'E_SHAPE' }),
  );
  expect(() => measureError(new Float32Array(2), new Float32Array(2), { groupSize: 0 })).toThrow(
    expect.objectContaining({ code: 'E_USAGE' }),
  );
});
