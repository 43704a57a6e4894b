/** What the target promises: the least-squares weights for the float model's values, of the layer or of the sum it ends in. */

import { expect, test } from 'vitest';
import { asymmetricTarget } from '../../src/algorithms/asymmetric-target.ts';
import { factoriseGram } from '../../src/algorithms/damping.ts';
import { createRandom } from '../../src/core/random.ts';
import { wasmAlgebraKernels } from '../../src/kernels/algebra/index.ts';
import { correlatedProblem } from './gptq-reference.ts';

const OUTPUTS = 3;
const INPUTS = 6;
const ROWS = 40;

function problem() {
  const random = createRandom(5);
  const normal = (count: number): number[] => Array.from({ length: count }, () => random.normal());
  const x = Array.from({ length: ROWS }, () => normal(INPUTS));
  const missing = Array.from({ length: ROWS }, () => normal(OUTPUTS));
  const gram = new Float32Array(INPUTS * INPUTS);
  const drift = new Float32Array(OUTPUTS * INPUTS);
  for (const [t, row] of x.entries()) {
    for (let j = 0; j < INPUTS; j++) {
      for (let i = 0; i < INPUTS; i++) gram[i * INPUTS + j]! += row[i]! * row[j]!;
      for (let o = 0; o < OUTPUTS; o++) drift[o * INPUTS + j]! += missing[t]![o]! * row[j]!;
    }
  }
  const values = Float32Array.from(normal(OUTPUTS * INPUTS));
  const squares = new Float64Array(INPUTS);
  return {
    weight: { values, outputs: OUTPUTS, inputs: INPUTS },
    statistics: { inputs: INPUTS, rows: ROWS, squares, gram, drift },
    factor: factoriseGram(gram, INPUTS, 0, true),
    x,
    missing,
  };
}

test('with the whole share what is left of the drift goes with no input: the residual is orthogonal to all of them', () => {
  const { weight, statistics, factor, x, missing } = problem();
  const target = asymmetricTarget(weight, statistics, factor, 1);
  for (let o = 0; o < OUTPUTS; o++) {
    for (let j = 0; j < INPUTS; j++) {
      let sum = 0;
      for (const [t, row] of x.entries()) {
        let given = 0;
        for (let i = 0; i < INPUTS; i++)
          given += (target[o * INPUTS + i]! - weight.values[o * INPUTS + i]!) * row[i]!;
        sum += (missing[t]![o]! - given) * row[j]!;
      }
      expect(Math.abs(sum)).toBeLessThan(1e-3);
    }
  }
});

test('the share goes from the weights to that target evenly; the drift goes before the own outputs', () => {
  const { weight, statistics, factor } = problem();
  const whole = asymmetricTarget(weight, statistics, factor, 1);
  const half = asymmetricTarget(weight, statistics, factor, 0.5);
  for (const [i, value] of weight.values.entries()) expect(half[i]).toBeCloseTo((value + whole[i]!) / 2, 9);
  const cross = new Float32Array(INPUTS * INPUTS).fill(1);
  expect(asymmetricTarget(weight, { ...statistics, cross }, factor, 1)).toEqual(whole);
});

test('a drift of another product, or one that is not finite, is refused with a code', () => {
  const { weight, statistics, factor } = problem();
  const short = { ...statistics, drift: statistics.drift.subarray(1) };
  expect(() => asymmetricTarget(weight, short, factor, 1)).toThrow(
    expect.objectContaining({ code: 'E_SHAPE' }),
  );
  const bad = { ...statistics, drift: statistics.drift.map((value, i) => (i === 4 ? Number.NaN : value)) };
  expect(() => asymmetricTarget(weight, bad, factor, 1)).toThrow(
    expect.objectContaining({ code: 'E_NONFINITE' }),
  );
});

test('kernels give the bits of the definition, for sizes around strips, panels and spans', async () => {
  const kernels = await wasmAlgebraKernels();
  if (kernels === undefined) throw new Error('no WebAssembly SIMD');
  for (const [outputs, inputs] of [
    [1, 1],
    [3, 7],
    [9, 66],
    [33, 130],
    [40, 261],
  ] as const) {
    const { weight, statistics } = correlatedProblem(outputs, inputs, inputs, 0.2);
    const factor = factoriseGram(statistics.gram, inputs, 0.01, true);
    const plain = asymmetricTarget(weight, statistics, factor, 0.5);
    const fast = asymmetricTarget(weight, statistics, factor, 0.5, kernels);
    expect(fast.every((value, i) => Object.is(value, plain[i]))).toBe(true);
    const drift = weight.values.map((value, i) => value * Math.sin(i));
    const drifted = { ...statistics, drift };
    expect(asymmetricTarget(weight, drifted, factor, 1, kernels)).toEqual(
      asymmetricTarget(weight, drifted, factor, 1),
    );
  }
});
