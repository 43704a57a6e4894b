/** AWQ against what it promises: a smaller output error where some inputs carry much more than others, and exact bookkeeping. */

import { describe, expect, test, vi } from 'vitest';
import { awq } from '../../src/algorithms/awq.ts';
import { dequantizeMatrix, type WeightMatrix } from '../../src/algorithms/matrix.ts';
import { roundToNearest } from '../../src/algorithms/rtn.ts';
import { createRandom } from '../../src/core/random.ts';
import { wasmAlgebraKernels } from '../../src/kernels/algebra/index.ts';

const INPUTS = 96;
const GRID = { bits: 3, groupSize: 32, symmetric: false };

function problem() {
  const random = createRandom(5);
  const loud = (j: number): number => (j % 24 === 3 ? 20 : 1);
  const rows = 200;
  const squares = new Float64Array(INPUTS);
  const magnitudes = new Float64Array(INPUTS);
  const gram = new Float32Array(INPUTS * INPUTS);
  for (let t = 0; t < rows; t++) {
    const base = random.normal() * 0.5;
    const x = Float64Array.from({ length: INPUTS }, (_, j) => (random.normal() + base) * loud(j));
    x.forEach((value, i) => {
      squares[i]! += value * value;
      magnitudes[i]! += Math.abs(value);
      x.forEach((other, j) => {
        gram[i * INPUTS + j]! += value * other;
      });
    });
  }
  const weight = (outputs: number): WeightMatrix => ({
    values: Float32Array.from({ length: outputs * INPUTS }, () => random.normal() * 0.05),
    outputs,
    inputs: INPUTS,
  });
  return {
    weights: [weight(40), weight(16)],
    statistics: { inputs: INPUTS, rows, squares, magnitudes },
    gram,
  };
}

function outputError(weight: WeightMatrix, restored: Float32Array, gram: Float32Array): number {
  let sum = 0;
  for (let row = 0; row < weight.outputs; row++) {
    const at = row * INPUTS;
    for (let i = 0; i < INPUTS; i++) {
      for (let j = 0; j < INPUTS; j++) {
        sum +=
          (weight.values[at + i]! - restored[at + i]!) *
          gram[i * INPUTS + j]! *
          (weight.values[at + j]! - restored[at + j]!);
      }
    }
  }
  return sum;
}

describe('awq', () => {
  const { weights, statistics, gram } = problem();

  test.each([
    ['the Gram matrix', { ...statistics, gram }],
    ['squares alone', statistics],
  ])('loud inputs: by %s, the output error is below half of that of round to nearest', (_name, known) => {
    const result = awq(weights, known, GRID);
    expect(result.alpha).toBeGreaterThan(0);
    weights.forEach((weight, i) => {
      const plain = outputError(weight, dequantizeMatrix(roundToNearest(weight, GRID)), gram);
      expect(outputError(weight, result.effective[i]!, gram)).toBeLessThan(0.5 * plain);
    });
  });

  test('a weight of many rows is judged by some of them, with kernels as without', async () => {
    const random = createRandom(9);
    const values = Float32Array.from({ length: 400 * INPUTS }, () => random.normal() * 0.05);
    const many: WeightMatrix = { values, outputs: 400, inputs: INPUTS };
    const seen = { ...statistics, gram };
    const kernels = await wasmAlgebraKernels();
    if (kernels === undefined) return expect.unreachable('this machine runs SIMD');
    const forms = vi.fn(kernels.quadraticForms);
    const plain = awq([many], seen, GRID, { clip: false });
    const fast = awq([many], seen, GRID, { clip: false }, undefined, { ...kernels, quadraticForms: forms });
    const [judged] = forms.mock.calls[0] ?? [];
    expect(judged?.length).toBeLessThan(many.values.length);
    expect(fast.alpha).toBe(plain.alpha);
    expect(fast.effective).toEqual(plain.effective);
    const rounded = outputError(many, dequantizeMatrix(roundToNearest(many, GRID)), gram);
    expect(outputError(many, plain.effective[0]!, gram)).toBeLessThan(0.5 * rounded);
  });

  test('effective weights are the stored ones divided by the scales of their inputs', () => {
    const { quantized, inputScales, effective } = awq(weights, statistics, GRID, { clip: false });
    const stored = dequantizeMatrix(quantized[1]!);
    effective[1]!.forEach((value, i) => {
      expect(value).toBe(Math.fround(stored[i]! / inputScales[i % INPUTS]!));
    });
  });

  test('inputs that were never seen, and one that is always zero, leave finite scales', () => {
    const nothing = { inputs: INPUTS, rows: 0, squares: new Float64Array(INPUTS) };
    expect([...awq(weights, nothing, GRID).inputScales]).toEqual(new Array(INPUTS).fill(1));
    const squares = statistics.squares.slice();
    squares[7] = 0;
    const dead = awq(weights, { inputs: INPUTS, rows: 200, squares }, GRID);
    for (const scale of dead.inputScales) expect(Number.isFinite(scale) && scale > 0).toBe(true);
  });

  test('E_SHAPE for weights of other inputs', () => {
    const other = { values: new Float32Array(6), outputs: 2, inputs: 3 };
    expect(() => awq([other], statistics, GRID)).toThrow(expect.objectContaining({ code: 'E_SHAPE' }));
  });
});
