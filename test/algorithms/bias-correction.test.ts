import fc from 'fast-check';
import { expect, test } from 'vitest';
import { biasCorrection, clippedNormalMean, meanInput } from '../../src/algorithms/bias-correction.ts';
import { dequantizeMatrix } from '../../src/algorithms/matrix.ts';
import { roundToNearest } from '../../src/algorithms/rtn.ts';
import { createRandom } from '../../src/core/random.ts';

function normal(count: number, seed: number, shift = 0): Float32Array {
  const random = createRandom(seed);
  return Float32Array.from({ length: count }, () => random.normal() + shift);
}

test('the corrected bias makes the mean error of every output zero, on inputs of both models', () => {
  fc.assert(
    fc.property(fc.integer(), fc.constantFrom(1, 2), (seed, groups) => {
      const [outputs, inputs, rows] = [6, 5, 40];
      const values = normal(outputs * inputs, seed);
      const restored = dequantizeMatrix(
        roundToNearest({ values, outputs, inputs }, { bits: 2, groupSize: 5, symmetric: false }),
      );
      const x = normal(rows * groups * inputs, seed + 1, 1);
      const drifted = normal(rows * groups * inputs, seed + 2, 1.5);
      const mean = (of: Float32Array): Float64Array =>
        Float64Array.from({ length: groups * inputs }, (_, i) => {
          let sum = 0;
          for (let row = 0; row < rows; row++) sum += of[row * groups * inputs + i]!;
          return sum / rows;
        });
      const shift = biasCorrection({ values, outputs, inputs }, restored, mean(x), mean(drifted));
      for (let output = 0; output < outputs; output++) {
        const from = Math.floor(output / (outputs / groups)) * inputs;
        let error = 0;
        for (let row = 0; row < rows; row++) {
          for (let i = 0; i < inputs; i++) {
            const at = row * groups * inputs + from + i;
            error += values[output * inputs + i]! * x[at]! - restored[output * inputs + i]! * drifted[at]!;
          }
        }
        expect(shift[output]).toBeCloseTo(error / rows, 9);
      }
    }),
    { numRuns: 30 },
  );
});

test('without the inputs of the quantized model it is (W − Ŵ) E[x]', () => {
  const weight = { values: Float32Array.of(1, 2, 3, 4), outputs: 2, inputs: 2 };
  const shift = biasCorrection(weight, Float32Array.of(1, 1, 3, 5), Float64Array.of(10, 1));
  expect([...shift]).toEqual([1, -1]);
});

test('means that do not belong to the weight are refused, and statistics without sums', () => {
  const weight = { values: Float32Array.of(1, 2, 3, 4), outputs: 2, inputs: 2 };
  expect(() => biasCorrection(weight, weight.values, Float64Array.of(1, 2, 3))).toThrow(
    expect.objectContaining({ code: 'E_SHAPE' }),
  );
  expect(() => meanInput({ inputs: 2, rows: 3, squares: Float64Array.of(1, 2) })).toThrow(
    expect.objectContaining({ code: 'E_DATA' }),
  );
  expect([
    ...meanInput({ inputs: 1, rows: 4, squares: Float64Array.of(1), sums: Float64Array.of(6) }),
  ]).toEqual([1.5]);
});

test('the mean behind a normalization and an activation that clips is that of many samples', () => {
  for (const [beta, gamma, low, high] of [
    [0.3, 1.2, 0, Infinity],
    [-1, 0.5, 0, 6],
    [5, -2, 0, 6],
    [2, 1, -Infinity, Infinity],
    [0.7, 0, 0, 6],
  ] as const) {
    const random = createRandom(9);
    let sum = 0;
    const count = 200_000;
    for (let i = 0; i < count; i++) sum += Math.min(high, Math.max(low, beta + gamma * random.normal()));
    expect(Math.abs(clippedNormalMean(beta, gamma, low, high) - sum / count)).toBeLessThan(0.01);
  }
});
