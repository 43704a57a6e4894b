import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  EntropyObserver,
  MinMaxObserver,
  MovingAverageObserver,
  MseObserver,
  mseRange,
  PercentileObserver,
  type RangeObserver,
} from '../../src/calibration/index.ts';
import { createRandom } from '../../src/core/random.ts';
import { quantizeTensor } from '../../src/numerics/index.ts';
import { GOLDEN_ABSENT, openGolden } from '../numerics/golden.ts';

interface ThresholdCase {
  readonly case: string;
  readonly method: 'entropy' | 'percentile';
  readonly batches: readonly string[];
  readonly symmetric: boolean;
  readonly num_bins: number;
  readonly num_quantized_bins: number;
  readonly percentile: number;
  readonly low: number;
  readonly high: number;
}
const golden = openGolden<ThresholdCase>('calibration');

test.skipIf(golden === undefined)(
  `all 56 thresholds of onnxruntime's entropy and percentile calibrators are met exactly (else: ${GOLDEN_ABSENT})`,
  () => {
    const cases = golden!.cases.filter((c) => c.case.startsWith('threshold/'));
    expect(cases).toHaveLength(56);
    for (const c of cases) {
      const observer =
        c.method === 'entropy'
          ? new EntropyObserver({ bins: c.num_bins, quantizedBins: c.num_quantized_bins })
          : new PercentileObserver({ percentile: c.percentile, bins: c.num_bins, symmetric: c.symmetric });
      for (const batch of c.batches) observer.observe(golden!.tensors.f32(batch));
      expect([c.case, observer.range()]).toEqual([c.case, { min: c.low, max: c.high }]);
    }
  },
);

const all: [string, () => RangeObserver][] = [
  ['min-max', () => new MinMaxObserver()],
  ['moving average', () => new MovingAverageObserver()],
  ['percentile', () => new PercentileObserver()],
  ['percentile, both sides', () => new PercentileObserver({ symmetric: false, percentile: 99 })],
  ['entropy', () => new EntropyObserver({ bins: 256 })],
  ['mean squared error', () => new MseObserver({ bits: 4 })],
];

describe.each(all)('%s observer', (_name, create) => {
  test('has the range 0…0 before it saw anything, and empty batches change nothing', () => {
    const observer = create();
    observer.observe(new Float32Array(0));
    expect(observer.range()).toEqual({ min: 0, max: 0 });
  });

  test('answers a range inside what was observed (and zero)', () => {
    const batch = fc.array(fc.float({ min: -50, max: 50, noNaN: true }), { minLength: 1, maxLength: 50 });
    fc.assert(
      fc.property(batch, batch, (a, b) => {
        const observer = create();
        // A first batch of ordinary size; the other case has its own test.
        observer.observe(Float32Array.from([25, ...a]));
        observer.observe(Float32Array.from(b));
        const { min, max } = observer.range();
        expect(min).toBeGreaterThanOrEqual(Math.min(0, ...a, ...b));
        expect(max).toBeLessThanOrEqual(Math.max(25, ...a, ...b));
      }),
      { numRuns: 10 },
    );
  });
});

describe('min-max', () => {
  test('keeps the extremes of all batches and skips NaN', () => {
    const observer = new MinMaxObserver();
    observer.observe(Float32Array.of(Number.NaN, 1, 2));
    observer.observe(Float32Array.of(-3, 0));
    expect(observer.range()).toEqual({ min: -3, max: 2 });
  });

  test('moving average follows by one part in a hundred, in f32', () => {
    const observer = new MovingAverageObserver();
    observer.observe(Float32Array.of(0, 10));
    observer.observe(Float32Array.of(-1, 20));
    const constant = Math.fround(0.01);
    expect(observer.range()).toEqual({
      min: -constant,
      max: Math.fround(10 + Math.fround(constant * 10)),
    });
  });
});

describe('mean squared error', () => {
  const random = createRandom(4);
  const values = Float32Array.from({ length: 4000 }, () => random.normal());

  test('finds a range with a smaller error than min and max at 4 bits', () => {
    const plain = quantizeTensor(values, [4000], 'int4').error().mse;
    const searched = quantizeTensor(values, [4000], {
      encoding: 'int4',
      range: mseRange({ bits: 4 }),
    }).error().mse;
    expect(searched).toBeLessThan(0.8 * plain);
  });

  test('streams: the histogram finds nearly the same range as the values', () => {
    const observer = new MseObserver({ bits: 4 });
    for (let i = 0; i < values.length; i += 300) observer.observe(values.subarray(i, i + 300));
    const exact = mseRange({ bits: 4 })(values);
    expect(observer.range().max).toBeCloseTo(exact.max, 1);
  });

  test('shrinks each side of an asymmetric range by itself', () => {
    const skewed = values.map((x) => (x < 0 ? x / 10 : x));
    skewed[0] = -8;
    const { min, max } = mseRange({ bits: 4, signed: false })(skewed);
    // The outlier is given up without giving up the other side in the same proportion.
    expect(-min / 8).toBeLessThan(max / Math.max(...skewed));
  });
});

describe('values that a histogram cannot hold are refused', () => {
  test.each([Number.NaN, Number.POSITIVE_INFINITY])('%s', (bad) => {
    for (const observer of [new EntropyObserver(), new PercentileObserver(), new MseObserver()]) {
      expect(() => observer.observe(Float32Array.of(1, bad))).toThrow(
        expect.objectContaining({ code: 'E_NONFINITE' }),
      );
    }
  });

  test('a batch thousands of times larger than the first ends in a limit, not in exhausted memory', () => {
    for (const observer of [
      new EntropyObserver(),
      new PercentileObserver(),
      new PercentileObserver({ symmetric: false }),
    ]) {
      observer.observe(Float32Array.of(0, 1e-38));
      expect(() => observer.observe(Float32Array.of(1e30))).toThrow(
        expect.objectContaining({ code: 'E_LIMIT' }),
      );
    }
  });

  test('senseless settings are refused', () => {
    expect(() => new PercentileObserver({ percentile: 101 })).toThrow(
      expect.objectContaining({ code: 'E_USAGE' }),
    );
    expect(() => new EntropyObserver({ bins: 64 })).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
  });
});
