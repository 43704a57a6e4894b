/** What refinement promises: never worse than its start, well below GPTQ, sound codes, scales of their type. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { gptq } from '../../src/algorithms/gptq.ts';
import { refineRounding } from '../../src/algorithms/learned-rounding.ts';
import { layerError } from '../../src/algorithms/linear-algebra.ts';
import { roundToNearest } from '../../src/algorithms/rtn.ts';
import { f16BitsToF32, f32ToF16Bits } from '../../src/core/floats.ts';
import { correlatedProblem } from './gptq-reference.ts';

test('from round to nearest the error falls below GPTQ, from GPTQ further', () => {
  const { weight, statistics } = correlatedProblem(12, 96, 400);
  for (const bits of [2, 3, 4]) {
    const grid = { bits, groupSize: 32, symmetric: false };
    const classical = gptq(weight, statistics, { ...grid, activationOrder: true });
    const start = gptq(weight, statistics, { ...grid, activationOrder: true, grid: 'fitted' });
    const known = layerError(weight, classical, statistics.gram);
    const error = (from: typeof start | ReturnType<typeof roundToNearest>): number =>
      layerError(weight, refineRounding(weight, from, statistics), statistics.gram);
    expect(error(roundToNearest(weight, grid))).toBeLessThan(known);
    expect(error(start)).toBeLessThan(0.85 * known);
  }
});

test('whatever the shape, width and start, no error rises, codes and scales are sound, the start is left alone', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 5 }),
      fc.integer({ min: 1, max: 24 }),
      fc.integer({ min: 2, max: 8 }),
      fc.integer({ min: 1, max: 30 }),
      fc.boolean(),
      fc.integer({ min: 1, max: 1000 }),
      (outputs, inputs, bits, groupSize, symmetric, seed) => {
        const { weight, statistics } = correlatedProblem(outputs, inputs, 2 * inputs + 4, 0, seed);
        const start = roundToNearest(weight, { bits, groupSize, symmetric, scaleType: 'f16' });
        const codes = start.codes.slice();
        const found = refineRounding(weight, start, statistics, { scaleType: 'f16', damping: 0 });
        expect(start.codes).toEqual(codes);
        expect(layerError(weight, found, statistics.gram)).toBeLessThanOrEqual(
          layerError(weight, start, statistics.gram) * (1 + 1e-5) + 1e-9,
        );
        for (const code of found.codes) expect(code).toBeLessThanOrEqual(2 ** bits - 1);
        for (const scale of found.scales) expect(f16BitsToF32(f32ToF16Bits(scale))).toBe(scale);
        for (const zero of found.zeroPoints) {
          expect(zero).toBe(Math.min(2 ** bits - 1, Math.max(0, Math.round(zero))));
          if (symmetric) expect(zero).toBe(2 ** (bits - 1));
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('real zeros are refitted with the scales: no error rises, types are kept, and the error falls below that of integer zeros', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 24 }),
      fc.integer({ min: 2, max: 4 }),
      fc.integer({ min: 1, max: 30 }),
      fc.integer({ min: 1, max: 1000 }),
      (outputs, inputs, bits, groupSize, seed) => {
        const { weight, statistics } = correlatedProblem(outputs, inputs, 2 * inputs + 4, 0, seed);
        const grid = { bits, groupSize, symmetric: false, zeroPoints: 'real', scaleType: 'f16' } as const;
        const start = roundToNearest(weight, grid);
        const found = refineRounding(weight, start, statistics, { ...grid, damping: 0 });
        expect(layerError(weight, found, statistics.gram)).toBeLessThanOrEqual(
          layerError(weight, start, statistics.gram) * (1 + 1e-5) + 1e-9,
        );
        for (const scale of found.scales) expect(f16BitsToF32(f32ToF16Bits(scale))).toBe(scale);
        expect(found.zeroPoints.every(Number.isFinite)).toBe(true);
      },
    ),
    { numRuns: 60 },
  );
  const { weight, statistics } = correlatedProblem(24, 96, 400);
  const errorWith = (zeroPoints: 'integer' | 'real'): number => {
    const grid = { bits: 2, groupSize: 32, symmetric: false, zeroPoints };
    return layerError(
      weight,
      refineRounding(weight, roundToNearest(weight, grid), statistics, grid),
      statistics.gram,
    );
  };
  expect(errorWith('real')).toBeLessThan(0.9 * errorWith('integer'));
});

test('a start of another weight is refused', () => {
  const { weight, statistics } = correlatedProblem(4, 8, 30);
  const start = roundToNearest(weight, { bits: 4, groupSize: 4, symmetric: false });
  for (const wrong of [
    { ...start, outputs: 3 },
    { ...start, scales: start.scales.subarray(1) },
    { ...start, codes: start.codes.subarray(1) },
  ]) {
    expect(() => refineRounding(weight, wrong, statistics)).toThrow(
      expect.objectContaining({ code: 'E_SHAPE' }),
    );
  }
});
