import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRandom } from '../../src/core/random.ts';
import { measureTensor, StatisticsAccumulator, StreamingHistogram } from '../../src/numerics/index.ts';

function normal(count: number, seed = 1): Float32Array {
  const random = createRandom(seed);
  return Float32Array.from({ length: count }, () => random.normal());
}

const floats = fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), { maxLength: 60 });

describe('measureTensor', () => {
  test('equals the textbook formulas on small integers', () => {
    const s = measureTensor(Float32Array.of(1, 2, 3, 4, 10));
    expect(s).toMatchObject({
      count: 5,
      finite: 5,
      min: 1,
      max: 10,
      range: 9,
      absmax: 10,
      absmin: 1,
      zeros: 0,
    });
    expect(s.mean).toBeCloseTo(4, 12);
    expect(s.std).toBeCloseTo(Math.sqrt(10), 12);
    expect(s.skewness).toBeCloseTo(36 / 10 ** 1.5, 12);
    expect(s.kurtosis).toBeCloseTo(278.8 / 100 - 3, 12);
  });

  test('describes normal weights: moments, percentiles, no outliers, about half of the range effective', () => {
    const s = measureTensor(normal(10_000), [100, 100]);
    expect(s.mean).toBeCloseTo(0, 1);
    expect(s.std).toBeCloseTo(1, 1);
    expect(s.skewness).toBeCloseTo(0, 0);
    expect(s.kurtosis).toBeCloseTo(0, 0);
    const median = s.percentiles.find((p) => p.percent === 50);
    expect(median?.value).toBeCloseTo(0, 1);
    expect(s.percentiles.find((p) => p.percent === 99)?.value).toBeCloseTo(2.326, 1);
    expect(s.outlierShare).toBe(0);
    expect(s.effectiveRank.bits).toBeGreaterThan(5);
    expect(s.effectiveRank.share).toBeLessThan(0.7);
    expect(s.histogram.counts.reduce((a, b) => a + b, 0)).toBe(10_000);
    expect(s.histogram.counts.length).toBeLessThanOrEqual(64);
  });

  test('counts NaN, +Inf, −Inf and zeros apart and describes the finite rest', () => {
    const s = measureTensor(
      Float32Array.of(Number.NaN, 1, Number.POSITIVE_INFINITY, -0, 0, Number.NEGATIVE_INFINITY, 3),
    );
    expect(s).toMatchObject({
      count: 7,
      finite: 4,
      nan: 1,
      positiveInfinity: 1,
      negativeInfinity: 1,
      zeros: 2,
    });
    expect(s).toMatchObject({ min: 0, max: 3, mean: 1, absmin: 1 });
  });

  test.each([
    ['nothing', []],
    ['one value', [5]],
    ['a constant', [0.75, 0.75, 0.75]],
    ['zeros', [0, 0]],
    ['only NaN', [Number.NaN]],
    ['the largest floats', [3.4e38, -3.4e38]],
    ['the smallest floats', [1e-45, -1e-45, 0]],
  ])('stays finite for %s', (_title, values) => {
    const s = measureTensor(Float32Array.from(values));
    for (const key of [
      'min',
      'max',
      'mean',
      'std',
      'skewness',
      'kurtosis',
      'outlierShare',
      'absmin',
    ] as const) {
      expect([key, Number.isFinite(s[key])]).toEqual([key, true]);
    }
    const finite = values.filter(Number.isFinite).length;
    expect(s.histogram.counts.reduce((a, b) => a + b, 0)).toBe(finite);
  });

  test('a far outlier is counted as one', () => {
    const values = normal(10_000);
    values[17] = 40;
    const s = measureTensor(values);
    expect(s.outlierShare).toBeCloseTo(1e-4, 6);
    expect(s.effectiveRank.share).toBeLessThan(0.2);
  });

  test('effective rank is the number of equally filled bins, and 1 for a constant', () => {
    const even = measureTensor(Float32Array.from({ length: 256 }, (_, i) => i));
    expect(even.effectiveRank).toMatchObject({ bins: 256 });
    expect(even.effectiveRank.levels).toBeCloseTo(256, 9);
    expect(even.effectiveRank.bits).toBeCloseTo(8, 12);
    expect(measureTensor(Float32Array.of(3, 3, 3)).effectiveRank).toMatchObject({
      levels: 1,
      bits: 0,
      share: 1,
    });
  });

  test('rows for channels and groups equal measuring each by itself', () => {
    const values = normal(60);
    const byRow = measureTensor(values, [3, 20], { granularity: { kind: 'axis', axis: 0 } });
    expect(byRow.groupShape).toEqual([3]);
    byRow.groups?.forEach((row, i) => {
      const alone = measureTensor(values.subarray(i * 20, i * 20 + 20), [20], { resolution: 256 });
      expect(row).toEqual({ ...alone, shape: undefined });
    });
    const byGroup = measureTensor(values, [3, 20], { granularity: { kind: 'group', axis: 1, size: 8 } });
    expect(byGroup.groupShape).toEqual([3, 3]);
    expect(byGroup.groups?.map((g) => g.count)).toEqual([8, 8, 4, 8, 8, 4, 8, 8, 4]);
  });

  test('reads f64, and f16 and bf16 from their bits', () => {
    expect(measureTensor(Float64Array.of(0.1, -2)).min).toBe(-2);
    expect(measureTensor(Uint16Array.of(0x3c00, 0xc000), [2], { dtype: 'f16' })).toMatchObject({
      min: -2,
      max: 1,
    });
    expect(measureTensor(Uint16Array.of(0x3f80, 0xc000), [2], { dtype: 'bf16' })).toMatchObject({
      min: -2,
      max: 1,
    });
  });

  test('refuses a shape that does not fit and bits without a type', () => {
    expect(() => measureTensor(new Float32Array(6), [4, 2])).toThrow(
      expect.objectContaining({ code: 'E_SHAPE' }),
    );
    expect(() => measureTensor(new Float32Array(6), [-2, -3])).toThrow(
      expect.objectContaining({ code: 'E_SHAPE' }),
    );
    expect(() => measureTensor(new Uint16Array(2), [2])).toThrow(
      expect.objectContaining({ code: 'E_DTYPE' }),
    );
    expect(() => measureTensor(new Float32Array(2), [2], { dtype: 'f16' })).toThrow(
      expect.objectContaining({ code: 'E_DTYPE' }),
    );
    expect(() =>
      measureTensor(new Float32Array(6), [2, 3], { granularity: { kind: 'axis', axis: 2 } }),
    ).toThrow(expect.objectContaining({ code: 'E_SHAPE' }));
  });
});

describe('StatisticsAccumulator', () => {
  test('any cutting into chunks and any order of merging gives the same counts, range and histogram', () => {
    fc.assert(
      fc.property(floats, floats, floats, (a, b, c) => {
        const chunks = [a, b, c].map((list) => Float32Array.from(list));
        const whole = new StatisticsAccumulator();
        whole.add(Float32Array.from([...a, ...b, ...c]));
        const [first, second, third] = chunks.map((chunk) => {
          const accumulator = new StatisticsAccumulator();
          accumulator.add(chunk);
          return accumulator;
        });
        third!.merge(first!);
        second!.merge(third!);
        const merged = second!.result();
        const expected = whole.result();
        for (const key of [
          'count',
          'finite',
          'zeros',
          'min',
          'max',
          'absmin',
          'histogram',
          'percentiles',
          'effectiveRank',
        ] as const) {
          expect([key, merged[key]]).toEqual([key, expected[key]]);
        }
        const scale = Math.max(expected.absmax, 1e-30);
        expect(Math.abs(merged.mean - expected.mean) / scale).toBeLessThan(1e-12);
        expect(Math.abs(merged.std - expected.std) / scale).toBeLessThan(1e-6);
      }),
      { numRuns: 200 },
    );
  });

  test('moments of merged parts equal those of the whole', () => {
    const values = normal(5000).map((x) => x * x + 3);
    const parts = new StatisticsAccumulator();
    for (let i = 0; i < values.length; i += 777) {
      const part = new StatisticsAccumulator();
      part.add(values.subarray(i, i + 777));
      parts.merge(part);
    }
    const whole = measureTensor(values);
    const merged = parts.result();
    for (const key of ['mean', 'std', 'skewness', 'kurtosis'] as const)
      expect(merged[key]).toBeCloseTo(whole[key], 9);
  });
});

describe('StreamingHistogram', () => {
  test('never exceeds its capacity, loses nothing, and every bin holds what it says', () => {
    fc.assert(
      fc.property(floats, fc.integer({ min: 2, max: 40 }), (list, capacity) => {
        fc.pre(list.length > 0);
        const values = Float32Array.from(list);
        const histogram = new StreamingHistogram(capacity);
        for (let i = 0; i < values.length; i += 7) {
          const part = values.subarray(i, i + 7);
          histogram.add(part, Math.min(...part), Math.max(...part));
        }
        const { low, width, counts } = histogram.result();
        expect(counts.length).toBeLessThanOrEqual(capacity);
        const expected = new Array<number>(counts.length).fill(0);
        for (const x of values) expected[Math.floor(x / width) - low / width]!++;
        expect(counts).toEqual(expected);
      }),
    );
  });
});
