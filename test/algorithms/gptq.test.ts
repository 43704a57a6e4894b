/** GPTQ's promises: the classical form's codes, outputs better than rounding's, sound codes, trouble told by code or note. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { factorise, solveFactorised } from '../../src/algorithms/cholesky.ts';
import { type GptqOptions, gptq } from '../../src/algorithms/gptq.ts';
import { layerError } from '../../src/algorithms/linear-algebra.ts';
import type { WeightMatrix } from '../../src/algorithms/matrix.ts';
import { roundToNearest } from '../../src/algorithms/rtn.ts';
import { wasmAlgebraKernels } from '../../src/kernels/algebra/index.ts';
import { correlatedProblem, inverseForm } from './gptq-reference.ts';

const options = (bits: number, more: Partial<GptqOptions> = {}): GptqOptions => ({
  bits,
  groupSize: 32,
  symmetric: false,
  ...more,
});

describe('cholesky', () => {
  test('L Lᵀ is the matrix and solving undoes it, for sizes around panels and tiles', () => {
    for (const n of [1, 3, 4, 5, 63, 64, 66, 131]) {
      const { statistics } = correlatedProblem(1, n, n);
      const h = Float64Array.from(statistics.gram);
      for (let i = 0; i < n; i++) h[i * n + i] = h[i * n + i]! + 1;
      const lower = h.slice();
      expect(factorise(lower, n)).toBe(-1);
      for (let i = 0; i < n; i++) {
        for (let j = 0; j <= i; j++) {
          let sum = 0;
          for (let k = 0; k <= j; k++) sum += lower[i * n + k]! * lower[j * n + k]!;
          expect(Math.abs(sum - h[i * n + j]!)).toBeLessThan(1e-9 * h[0]! * n);
        }
      }
      const x = Float64Array.from({ length: n }, (_, i) => Math.sin(i));
      const b = x.map((_, i) => x.reduce((sum, value, j) => sum + value * h[i * n + j]!, 0));
      solveFactorised(lower, n, b);
      b.forEach((value, i) => {
        expect(value).toBeCloseTo(x[i]!, 6);
      });
    }
  });

  test('with kernels the factor is the same to the exactness of f32, for sizes around panels, pairs and groups of them', async () => {
    const kernels = await wasmAlgebraKernels();
    if (kernels === undefined) throw new Error('no WebAssembly SIMD');
    for (const n of [64, 128, 130, 195, 261, 390]) {
      const { statistics } = correlatedProblem(1, n, n);
      const plain = Float64Array.from(statistics.gram);
      for (let i = 0; i < n; i++) plain[i * n + i] = plain[i * n + i]! * 2;
      const fast = plain.slice();
      expect(factorise(plain, n)).toBe(-1);
      expect(factorise(fast, n, kernels)).toBe(-1);
      const size = Math.sqrt(statistics.squares[0]!);
      for (let i = 0; i < n; i++)
        for (let j = 0; j <= i; j++)
          if (!(Math.abs(fast[i * n + j]! - plain[i * n + j]!) < 1e-4 * size)) expect([n, i, j]).toEqual([]);
    }
    const spoilt = Float64Array.from({ length: 130 * 130 }, (_, i) =>
      i % 131 === 0 ? (i > 100 * 130 ? -1 : 1) : 0,
    );
    expect(factorise(spoilt, 130, kernels)).toBe(100);
  });

  test('a matrix that is not positive definite is told by its first bad pivot', () => {
    expect(factorise(Float64Array.of(1, 2, 2, 1), 2)).toBe(1);
    expect(factorise(Float64Array.of(Number.NaN), 1)).toBe(0);
    expect(factorise(Float64Array.of(0), 1)).toBe(0);
  });
});

describe('gptq', () => {
  test.each([2, 3, 4])('%i bits: the codes are those of the form with an inverse', (bits) => {
    const { weight, statistics } = correlatedProblem(37, 96, 400);
    const quantized = gptq(weight, statistics, options(bits));
    const codes = inverseForm(weight, statistics.gram, 0.01, quantized);
    let different = 0;
    codes.forEach((code, i) => {
      if (code !== quantized.codes[i]) different++;
    });
    // A tie that rounding noise decides may fall either way.
    expect(different).toBeLessThanOrEqual(2);
  });

  test('errors of outputs fall far below those of round to nearest, with activation order, fitted grids and both', () => {
    const { weight, statistics } = correlatedProblem(24, 96, 400);
    for (const bits of [2, 3, 4]) {
      const nearest = layerError(weight, roundToNearest(weight, options(bits)), statistics.gram);
      for (const activationOrder of [false, true]) {
        for (const grid of ['range', 'fitted'] as const) {
          const found = gptq(weight, statistics, options(bits, { activationOrder, grid }));
          expect(layerError(weight, found, statistics.gram)).toBeLessThan(0.72 * nearest);
        }
      }
    }
  });

  test.each([
    [2, [339563.63, 236255.12, 201244.16]],
    [3, [70905.93, 38520.32, 34739.03]],
    [4, [12900.24, 7717.79, 7003.61]],
  ])('%i bits: errors of rounding, GPTQ and activation order are those that were pinned', (bits, known) => {
    const { weight, statistics } = correlatedProblem(8, 48, 200);
    const grid = options(bits, { groupSize: 16 });
    const found = [
      roundToNearest(weight, grid),
      gptq(weight, statistics, grid),
      gptq(weight, statistics, { ...grid, activationOrder: true }),
    ].map((quantized) => layerError(weight, quantized, statistics.gram));
    // Within what a tie may make of it.
    found.forEach((error, i) => {
      expect(Math.abs(error / known[i]! - 1)).toBeLessThan(1e-4);
    });
  });

  test('the error of a layer refuses matrices of another shape', () => {
    const { weight, statistics } = correlatedProblem(2, 4, 10);
    expect(() => layerError(weight, new Float32Array(7), statistics.gram)).toThrow(
      expect.objectContaining({ code: 'E_SHAPE' }),
    );
    expect(() => layerError(weight, weight.values, new Float32Array(9))).toThrow(
      expect.objectContaining({ code: 'E_SHAPE' }),
    );
  });

  test("the asymmetric term brings outputs nearer to the float model's", () => {
    const { weight, statistics, floatError } = correlatedProblem(24, 64, 640, 0.2);
    const plain = gptq(weight, statistics, options(4));
    const matched = gptq(weight, statistics, options(4, { asymmetric: 1 }));
    expect(floatError(matched)).toBeLessThan(0.9 * floatError(plain));
  });

  test('codes and scales are sound for any shape, width and order', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 9 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 2, max: 8 }),
        fc.integer({ min: 1, max: 50 }),
        fc.boolean(),
        fc.boolean(),
        (outputs, inputs, bits, groupSize, activationOrder, symmetric) => {
          const { weight, statistics } = correlatedProblem(outputs, inputs, 8);
          const found = gptq(weight, statistics, {
            bits,
            groupSize,
            activationOrder,
            symmetric,
            grid: 'fitted',
          });
          expect(found.codes).toHaveLength(outputs * inputs);
          expect(found.scales).toHaveLength(outputs * Math.ceil(inputs / found.groupSize));
          for (const code of found.codes) expect(code).toBeLessThanOrEqual(2 ** bits - 1);
          for (const scale of found.scales) expect(Number.isFinite(scale)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('an input that was always zero is rounded on its own and told', () => {
    const { weight, statistics } = correlatedProblem(4, 32, 100);
    const gram = statistics.gram.slice();
    for (let i = 0; i < 32; i++) gram[5 * 32 + i] = gram[i * 32 + 5] = 0;
    const found = gptq(weight, { ...statistics, gram }, options(4));
    const nearest = roundToNearest(weight, options(4));
    for (let row = 0; row < 4; row++) expect(found.codes[row * 32 + 5]).toBe(nearest.codes[row * 32 + 5]);
    expect(found.notes).toEqual(['1 of 32 inputs were zero in all samples']);
  });

  test('where H is not positive definite, damping rises and is told', () => {
    const { weight, statistics } = correlatedProblem(4, 8, 40);
    const gram = statistics.gram.slice();
    gram[1] = gram[8] = 3 * Math.max(gram[0]!, gram[9]!);
    const found = gptq(weight, { ...statistics, gram }, options(4));
    expect(found.damping).toBeGreaterThan(0.01);
    expect(found.notes[0]).toContain('damping was raised from 0.01');
  });

  const { weight, statistics } = correlatedProblem(2, 4, 10);
  const { gram, cross: _, ...without } = statistics;
  const bad = (values: readonly number[]): Float32Array =>
    Float32Array.from({ length: 16 }, (_, i) => values[i] ?? 1);
  const cases: [
    string,
    WeightMatrix,
    typeof without & { gram?: Float32Array; groups?: number },
    Partial<GptqOptions>,
  ][] = [
    ['E_DATA', weight, without, {}],
    ['E_DATA', weight, { ...without, gram }, { asymmetric: 1 }],
    ['E_SHAPE', weight, { ...without, gram: gram.subarray(1) }, {}],
    ['E_SHAPE', weight, { ...statistics, inputs: 5 }, {}],
    ['E_SHAPE', weight, { ...statistics, groups: 2 }, {}],
    ['E_SHAPE', weight, statistics, { damping: -1 }],
    ['E_SHAPE', weight, statistics, { damping: Number.NaN }],
    ['E_SHAPE', weight, statistics, { asymmetric: 2 }],
    ['E_NONFINITE', weight, { ...without, gram: bad([1, Number.NaN]) }, {}],
    ['E_NONFINITE', weight, { ...without, gram: bad([Number.POSITIVE_INFINITY]) }, {}],
    ['E_TENSOR_SIZE', { ...weight, values: weight.values.subarray(1) }, statistics, {}],
  ];
  test.each(cases)('%s for statistics, options or weights that do not fit', (code, matrix, seen, more) => {
    expect(() => gptq(matrix, seen, { bits: 4, groupSize: 4, symmetric: false, ...more })).toThrow(
      expect.objectContaining({ code }),
    );
  });
});
