/** What every search of a grid promises: sound codes, the error it minimises never above that of its start, errors by code. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { clipSearch } from '../../src/algorithms/clip-search.ts';
import { importanceOf } from '../../src/algorithms/grid.ts';
import { fitGrid } from '../../src/algorithms/grid-fit.ts';
import { halfQuadratic } from '../../src/algorithms/hqq.ts';
import {
  dequantizeMatrix,
  type GridOptions,
  type QuantizedMatrix,
  type WeightMatrix,
} from '../../src/algorithms/matrix.ts';
import { roundToNearest } from '../../src/algorithms/rtn.ts';
import { createRandom } from '../../src/core/random.ts';
import { WhittleError } from '../../src/errors.ts';

function normalMatrix(outputs: number, inputs: number, seed = 1): WeightMatrix {
  const random = createRandom(seed);
  const values = Float32Array.from({ length: outputs * inputs }, () => random.normal() * 0.05);
  return { values, outputs, inputs };
}

function errorOf(matrix: WeightMatrix, quantized: QuantizedMatrix, weights?: Float64Array): number {
  const restored = dequantizeMatrix(quantized);
  let sum = 0;
  restored.forEach((value, i) => {
    sum += (weights?.[i % matrix.inputs] ?? 1) * (value - matrix.values[i]!) ** 2;
  });
  return sum;
}

const ALGORITHMS = {
  roundToNearest,
  clipSearch,
  halfQuadratic,
  fitGrid,
} as const;

const options = (bits: number, groupSize: number, more: Partial<GridOptions> = {}): GridOptions => ({
  bits,
  groupSize,
  symmetric: false,
  ...more,
});

describe.each(Object.entries(ALGORITHMS))('%s', (_name, algorithm) => {
  test('codes stay in range and shapes follow, with a short last group, for every width and both symmetries', () => {
    for (const bits of [2, 3, 4, 5, 8]) {
      for (const symmetric of [false, true]) {
        const matrix = normalMatrix(5, 70);
        const quantized = algorithm(matrix, options(bits, 32, { symmetric }));
        expect(quantized.scales).toHaveLength(15);
        expect(quantized.zeroPoints).toHaveLength(15);
        expect(Math.max(...quantized.codes)).toBeLessThanOrEqual(2 ** bits - 1);
        expect(errorOf(matrix, quantized)).toBeLessThan(0.35 * errorOf(matrix, zero(quantized)));
      }
    }
  });

  test('f16 scales are f16 numbers', () => {
    const { scales } = algorithm(normalMatrix(4, 64), options(4, 16, { scaleType: 'f16' }));
    for (const scale of scales) expect(scale).toBe(Math.fround(new Float16(scale).value));
  });

  test('a group of zeros is restored as zeros; equal and tiny values stay finite', () => {
    fc.assert(
      fc.property(fc.constantFrom(0, -0, 1e-45, -1e-40, 3e-39, 0.25, -7, 1e14), (value) => {
        const matrix = { values: new Float32Array(20).fill(value), outputs: 2, inputs: 10 };
        const restored = dequantizeMatrix(algorithm(matrix, options(3, 4)));
        for (const x of restored) {
          expect(Math.abs(x - Math.fround(value))).toBeLessThanOrEqual(Math.abs(value) * 1e-6 + 1e-37);
        }
      }),
    );
  });

  test('a group longer than a row is the row; no rows and no columns give no codes', () => {
    expect(algorithm(normalMatrix(3, 20), options(4, 1000)).scales).toHaveLength(3);
    expect(algorithm(normalMatrix(0, 20), options(4, 32)).codes).toHaveLength(0);
    expect(algorithm(normalMatrix(3, 0), options(4, 32)).codes).toHaveLength(0);
  });

  test.each([
    ['E_NONFINITE', { values: Float32Array.of(1, Number.NaN), outputs: 1, inputs: 2 }, options(4, 2)],
    ['E_NONFINITE', { values: Float32Array.of(1, -Infinity), outputs: 1, inputs: 2 }, options(4, 2)],
    ['E_TENSOR_SIZE', { values: new Float32Array(3), outputs: 1, inputs: 2 }, options(4, 2)],
    ['E_SHAPE', { values: new Float32Array(2), outputs: 1, inputs: 2 }, options(1, 2)],
    ['E_SHAPE', { values: new Float32Array(2), outputs: 1, inputs: 2 }, options(4.5, 2)],
    ['E_SHAPE', { values: new Float32Array(2), outputs: 1, inputs: 2 }, options(4, 0)],
    ['E_SHAPE', { values: new Float32Array(2), outputs: -1, inputs: 2 }, options(4, 2)],
  ])('%s for what is not a weight on a grid', (code, matrix, grid) => {
    expect(() => algorithm(matrix, grid)).toThrow(expect.objectContaining({ code }));
  });
});

/** f16 rounding by way of the spacing of halves. */
class Float16 {
  readonly value: number;
  constructor(x: number) {
    const exponent = Math.max(-14, Math.floor(Math.log2(Math.abs(x) || 1)));
    const step = 2 ** (exponent - 10);
    this.value = Math.round(x / step) * step;
  }
}

/** The same grid with every weight at 0. */
function zero(quantized: QuantizedMatrix): QuantizedMatrix {
  return { ...quantized, scales: quantized.scales.map(() => 0) };
}

test('round to nearest is min-max with 0 in the range, by hand', () => {
  const values = Float32Array.of(0.5, 1, 2, 3, -1, 0, 1, 2);
  const quantized = roundToNearest({ values, outputs: 2, inputs: 4 }, options(2, 4));
  expect([...quantized.scales]).toEqual([1, 1]);
  expect([...quantized.zeroPoints]).toEqual([0, 1]);
  expect([...quantized.codes]).toEqual([0, 1, 2, 3, 0, 1, 2, 3]);
});

test('a symmetric grid holds the largest magnitude exactly, whatever its sign', () => {
  for (const sign of [1, -1]) {
    const values = Float32Array.of(0.1, -0.3, 0.7, 0.2).map((x) => sign * x);
    const quantized = roundToNearest({ values, outputs: 1, inputs: 4 }, options(4, 4, { symmetric: true }));
    expect(dequantizeMatrix(quantized)[2]).toBe(values[2]);
  }
});

test('squared error falls from round to nearest over clip search to the fitted grid', () => {
  const matrix = normalMatrix(64, 256);
  for (const bits of [2, 3, 4]) {
    const grid = options(bits, 64);
    const nearest = errorOf(matrix, roundToNearest(matrix, grid));
    const clipped = errorOf(matrix, clipSearch(matrix, grid));
    const fitted = errorOf(matrix, fitGrid(matrix, grid, { coherence: 0 }));
    const real = errorOf(matrix, fitGrid(matrix, grid, { coherence: 0, zeros: 'real' }));
    expect(clipped).toBeLessThan(nearest);
    expect(fitted).toBeLessThan(clipped);
    expect(real).toBeLessThan(fitted);
  }
});

test('coherence keeps the length of a row that a least-squares fit would shorten', () => {
  const matrix = normalMatrix(64, 256);
  const lengthOf = (coherence: number): number => {
    const restored = dequantizeMatrix(fitGrid(matrix, options(2, 32), { coherence, zeros: 'real' }));
    let along = 0;
    let square = 0;
    matrix.values.forEach((w, i) => {
      along += w * restored[i]!;
      square += w * w;
    });
    return along / square;
  };
  expect(lengthOf(0)).toBeLessThan(0.92);
  expect(lengthOf(4)).toBeGreaterThan(0.97);
});

test('with statistics the weighted error falls below that without', () => {
  const matrix = normalMatrix(32, 128);
  const squares = Float64Array.from({ length: 128 }, (_, i) => (i % 7 === 0 ? 50 : 0.1 + (i % 3)));
  const statistics = { inputs: 128, rows: 10, squares };
  for (const algorithm of [clipSearch, fitGrid]) {
    const plain = errorOf(matrix, algorithm(matrix, options(3, 32)), squares);
    const weighted = errorOf(matrix, algorithm(matrix, options(3, 32), { statistics }), squares);
    expect(weighted).toBeLessThan(0.95 * plain);
  }
});

test('a shift of all weights costs half-quadratic quantization nothing: its zero is real', () => {
  const matrix = normalMatrix(8, 64);
  const shifted = { ...matrix, values: matrix.values.map((x) => x + 4) };
  const ratio =
    errorOf(shifted, halfQuadratic(shifted, options(3, 32))) /
    errorOf(matrix, halfQuadratic(matrix, options(3, 32)));
  expect(ratio).toBeCloseTo(1, 2);
});

test('statistics of another product, and sums that are not finite, are refused', () => {
  const squares = new Float64Array(4).fill(1);
  expect(() => importanceOf({ inputs: 4, rows: 1, squares }, 5)).toThrow(WhittleError);
  squares[1] = Number.NaN;
  expect(() => importanceOf({ inputs: 4, rows: 1, squares }, 4)).toThrow(
    expect.objectContaining({ code: 'E_NONFINITE' }),
  );
  expect(importanceOf({ inputs: 4, rows: 0, squares: new Float64Array(4) }, 4)).toBeUndefined();
});
