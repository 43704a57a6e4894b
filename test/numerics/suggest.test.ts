import { describe, expect, test } from 'vitest';
import { createRandom } from '../../src/core/random.ts';
import {
  defaultCandidates,
  measureTensor,
  quantizeTensor,
  storedBits,
  suggestEncoding,
} from '../../src/numerics/index.ts';

const random = createRandom(2);
const weights = Float32Array.from({ length: 64 * 256 }, () => random.normal());
const shape = [64, 256];

describe('suggestEncoding', () => {
  test('names the cheapest row that meets the SQNR, and its scheme really does', () => {
    const s = suggestEncoding(weights, { sqnr: 35 }, { shape });
    expect(s).toMatchObject({ met: true, estimated: false, measured: { values: 16384, of: 16384 } });
    for (const row of s.rows) {
      if (row.bitsPerWeight < s.best.bitsPerWeight) expect(row.error.sqnr).toBeLessThan(35);
    }
    const q = quantizeTensor(weights, s.shape, s.best.scheme);
    expect(q.error().sqnr).toBeGreaterThanOrEqual(35);
    expect(q.bitsPerWeight).toBeCloseTo(s.best.bitsPerWeight, 9);
  });

  test('keeps the largest error, and the size, as demanded', () => {
    expect(suggestEncoding(weights, { maxError: 0.02 }, { shape }).best.error.maxAbs).toBeLessThanOrEqual(
      0.02,
    );
    const small = suggestEncoding(weights, { bits: 4.6 }, { shape });
    expect(small.best.bitsPerWeight).toBeLessThanOrEqual(4.6);
    for (const row of small.rows) {
      if (row.bitsPerWeight <= 4.6) expect(row.error.sqnr).toBeLessThanOrEqual(small.best.error.sqnr);
    }
  });

  test('says clearly when nothing meets the demand and shows what comes closest', () => {
    const exact = suggestEncoding(weights, { sqnr: 200 }, { shape });
    expect(exact).toMatchObject({ met: false, best: { met: false } });
    expect(exact.summary).toMatch(/^Nothing meets the demand/);
    expect(exact.best.error.sqnr).toBe(Math.max(...exact.rows.map((row) => row.error.sqnr)));
    const tiny = suggestEncoding(weights, { bits: 1 }, { shape });
    expect(tiny.met).toBe(false);
    expect(tiny.best).toBe(tiny.rows[0]);
    expect(suggestEncoding(weights, { bits: 4.6, sqnr: 60 }, { shape })).toMatchObject({ met: false });
  });

  test('lists every candidate, sorted by bits per weight', () => {
    const { rows } = suggestEncoding(weights, { sqnr: 20 }, { shape, sampleSize: 2048 });
    expect(rows).toHaveLength(defaultCandidates(shape).length);
    const bits = rows.map((row) => row.bitsPerWeight);
    expect(bits).toEqual(bits.toSorted((a, b) => a - b));
  });

  test('samples large tensors deterministically, says how many, and keeps the whole range', () => {
    const options = { shape, sampleSize: 4096, candidates: [{ encoding: 'int8' as const }] };
    const spiked = weights.slice();
    spiked[300] = 50;
    const a = suggestEncoding(spiked, { sqnr: 10 }, options);
    expect(a.measured).toEqual({ values: 4096, of: 16384 });
    expect(a).toEqual(suggestEncoding(spiked, { sqnr: 10 }, options));
    const whole = quantizeTensor(spiked, shape, 'int8').error();
    expect(a.best.error.rmse).toBeCloseTo(whole.rmse, 2);
  });

  test('estimates from statistics alone and is marked so; within 1 dB on normal weights', () => {
    const statistics = measureTensor(weights, shape, { bins: 256 });
    const candidates = [
      { encoding: 'int8' as const },
      { encoding: 'int4' as const, granularity: { kind: 'group' as const, axis: -1, size: 32 } },
      { encoding: 'mxfp4' as const },
    ];
    const estimate = suggestEncoding(statistics, { sqnr: 30 }, { shape, candidates });
    const measured = suggestEncoding(weights, { sqnr: 30 }, { shape, candidates });
    expect(estimate.estimated).toBe(true);
    estimate.rows.forEach((row, i) => {
      expect(Math.abs(row.error.sqnr - measured.rows[i]!.error.sqnr)).toBeLessThan(1);
    });
  });

  test('measures tensors of any rank as [first, rest]', () => {
    const s = suggestEncoding(weights.subarray(0, 16 * 8 * 9), { sqnr: 30 }, { shape: [16, 8, 3, 3] });
    expect(s.shape).toEqual([16, 72]);
    expect(suggestEncoding(Float32Array.of(1), { sqnr: 30 }, { shape: [] }).met).toBe(true);
  });

  test('stored bits count scales and zero points of every group', () => {
    expect(
      storedBits({ encoding: 'int4', granularity: { kind: 'group', axis: -1, size: 32 } }, [10, 320]),
    ).toBe(5);
    expect(
      storedBits({ encoding: 'uint4', granularity: { kind: 'group', axis: -1, size: 32 } }, [10, 320]),
    ).toBe(5.125);
    expect(storedBits({ encoding: 'f16' }, [10, 320])).toBe(16);
    expect(storedBits({ encoding: 'mxfp4' }, [10, 320])).toBe(4.25);
  });

  test.each([
    ['E_USAGE', 'no demand', () => suggestEncoding(weights, {})],
    ['E_USAGE', 'a demand that is not a number', () => suggestEncoding(weights, { sqnr: Number.NaN })],
    ['E_USAGE', 'no values', () => suggestEncoding(new Float32Array(0), { sqnr: 1 })],
    ['E_USAGE', 'no candidates', () => suggestEncoding(weights, { sqnr: 1 }, { candidates: [] })],
    ['E_SHAPE', 'a shape that does not fit', () => suggestEncoding(weights, { sqnr: 1 }, { shape: [3] })],
    ['E_NONFINITE', 'NaN', () => suggestEncoding(Float32Array.of(1, Number.NaN), { sqnr: 1 })],
  ])('%s: %s', (code, _title, run) => {
    expect(run).toThrow(expect.objectContaining({ code }));
  });
});
