/** The factors of cross-layer equalization and SmoothQuant against their definitions. */

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { equalizingFactors, rangeUse } from '../../src/algorithms/equalization.ts';
import {
  expectedError,
  readingPeaks,
  searchSmoothing,
  smoothingFactors,
} from '../../src/algorithms/smoothquant.ts';
import { createRandom } from '../../src/core/random.ts';

const positive = fc.float({ min: Math.fround(0.01), max: 100, noNaN: true });

describe('cross-layer equalization', () => {
  test('both sides of a channel have the same range afterwards, √(r₁ r₂)', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(positive, positive), { minLength: 1, maxLength: 20 }), (pairs) => {
        const before = Float32Array.from(pairs, ([range]) => range);
        const behind = Float32Array.from(pairs, ([, range]) => range);
        const factors = equalizingFactors([before], [behind]);
        for (const [i, factor] of factors.entries()) {
          const wanted = Math.sqrt(before[i]! * behind[i]!);
          expect(before[i]! / factor / wanted).toBeCloseTo(1, 5);
          expect((behind[i]! * factor) / wanted).toBeCloseTo(1, 5);
        }
      }),
    );
  });

  test('a channel that is zero on either side stays as it is', () => {
    const factors = equalizingFactors([Float32Array.of(0, 2, 8)], [Float32Array.of(1, 0, 2)]);
    expect([...factors]).toEqual([1, 1, 2]);
  });

  test('factors are bounded where ranges are worlds apart', () => {
    const [factor] = equalizingFactors([Float32Array.of(1e20)], [Float32Array.of(1e-20)]);
    expect(factor).toBe(1e4);
  });

  test('several weights on a side count alike, however large their values are', () => {
    const small = Float32Array.of(1, 4);
    const large = Float32Array.of(400, 100);
    const factors = equalizingFactors([small, large], [Float32Array.of(1, 1)]);
    expect(factors[0]).toBeCloseTo(factors[1]!, 6);
  });

  test('the share of the range that channels use is 1 where all are alike', () => {
    expect(rangeUse(Float32Array.of(3, 3))).toBe(1);
    expect(rangeUse(Float32Array.of(4, 1, 1))).toBeCloseTo(0.5, 6);
    expect(rangeUse(Float32Array.of(0, 0))).toBe(1);
  });
});

describe('SmoothQuant', () => {
  test('factors are max |x|^α / max |w|^(1 − α) up to their mean', () => {
    const peaks = Float32Array.of(100, 1, 4);
    const reading = Float32Array.of(1, 2, 0.5);
    for (const alpha of [0, 0.3, 0.5, 1]) {
      const factors = smoothingFactors(peaks, reading, alpha);
      const wanted = peaks.map((peak, j) => peak ** alpha / reading[j]! ** (1 - alpha));
      for (const j of [1, 2]) {
        expect(factors[j]! / factors[0]!).toBeCloseTo(wanted[j]! / wanted[0]!, 5);
      }
      expect(factors.reduce((product, factor) => product * factor, 1)).toBeCloseTo(1, 6);
    }
  });

  test('a channel that no weight reads stays, a silent one is taken for a very quiet one', () => {
    const factors = smoothingFactors(Float32Array.of(10, 5, 0), Float32Array.of(1, 0, 1), 1);
    expect(factors[1]).toBe(1);
    expect(factors[0]! / factors[2]!).toBeCloseTo(1e5, 0);
  });

  test('peaks of grouped weights go to the channels of their group', () => {
    const weight = {
      values: Float32Array.of(1, -2, 3, 4),
      outputs: 2,
      inputs: 2,
      channels: Int32Array.of(0, 1),
      offsets: Int32Array.of(0, 2),
    };
    expect([...readingPeaks([weight], 4)]).toEqual([1, 2, 3, 4]);
  });

  test('auto never expects more error than leaving the place alone, and finds an outlier', () => {
    const random = createRandom(3);
    const inputs = 16;
    const values = Float32Array.from({ length: 8 * inputs }, () => random.normal());
    const weight = { values, outputs: 8, inputs, channels: Int32Array.from({ length: inputs }, (_, j) => j) };
    const peaks = new Float32Array(inputs).fill(3);
    const power = new Float64Array(inputs).fill(1);
    const even = searchSmoothing([weight], { peaks, power });
    expect(even.share).toBeLessThanOrEqual(1);
    peaks[5] = 300;
    power[5] = 1e4;
    const loud = searchSmoothing([weight], { peaks, power });
    expect(loud.alpha).toBeGreaterThan(0);
    expect(loud.share).toBeLessThan(0.2);
    expect(expectedError([weight], { peaks, power }, loud.factors)).toBeLessThan(
      expectedError([weight], { peaks, power }, new Float64Array(inputs).fill(1)),
    );
  });
});
