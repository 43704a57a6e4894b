/** The SIMD searches of a grid equal their plain-TypeScript definition bit for bit. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRandom } from '../../../src/core/random.ts';
import {
  type GridKernels,
  type GridShape,
  type GridTarget,
  referenceGridKernels,
  wasmGridKernels,
} from '../../../src/kernels/grid/index.ts';

const reference = referenceGridKernels();
const wasm = await wasmGridKernels();

function room(shape: GridShape): GridTarget {
  const groups = shape.rows * Math.ceil(shape.columns / shape.groupSize);
  return {
    codes: new Uint8Array(shape.rows * shape.columns),
    scales: new Float32Array(groups),
    zeros: new Float32Array(groups),
  };
}

type Run = (kernels: GridKernels, values: Float32Array, shape: GridShape, target: GridTarget) => void;

const factors = Float32Array.from({ length: 7 }, (_, k) => 1 - 0.07 * k);

function searching(refits: number, reach: number, realZeros: boolean, weighted: boolean): Run {
  return (kernels, values, shape, target) => {
    const importance = Float32Array.from({ length: shape.columns }, (_, i) => ((i * 7) % 5) / 2);
    const options = { factors, reach, refits, coherence: 4, realZeros };
    kernels.search(values, shape, weighted ? importance : undefined, options, target);
  };
}

function splitting(roundStart: boolean): Run {
  const options = { norm: 0.7, beta: 10, kappa: 1.01, iterations: 20, roundStart };
  return (kernels, values, shape, target) => kernels.halfQuadratic(values, shape, options, target);
}

const RUNS: Record<string, Run> = {
  'clip search': searching(0, 0, false, false),
  'clip search with importance and zeros beside': searching(0, 2, false, true),
  fit: searching(3, 1, false, false),
  'fit with importance': searching(3, 1, false, true),
  'fit with real zeros': searching(3, 1, true, false),
  'fit with real zeros and importance': searching(3, 1, true, true),
  'half-quadratic': splitting(false),
  'half-quadratic from whole zeros': splitting(true),
  encode: (kernels, values, shape, target) => {
    target.scales.forEach((_, i) => {
      target.scales[i] = i % 5 === 0 ? 0 : 0.01 * (1 + (i % 3));
      target.zeros[i] = (i % 4) + 0.25;
    });
    kernels.encode(values, shape, target);
  },
};

/** Bell-shaped, wide, tiny, subnormal, constant, one-sided, with ties. */
const KINDS: readonly ((i: number, normal: () => number) => number)[] = [
  (_, normal) => normal() * 0.05,
  (_, normal) => normal() ** 5,
  (_, normal) => normal() * 1e-20,
  (_, normal) => normal() * 1e-39,
  () => 0.3,
  () => 0,
  (_, normal) => Math.abs(normal()) + 2,
  (i) => (i % 16) - 7.5,
  (_, normal) => normal() * 1e12,
];

describe.skipIf(wasm === undefined)('SIMD equals the definition', () => {
  test.each(Object.entries(RUNS))('%s, on any shape, width and distribution', (_name, run) => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 19 }),
        fc.integer({ min: 0, max: 75 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 2, max: 8 }),
        fc.boolean(),
        fc.boolean(),
        fc.integer({ min: 0, max: KINDS.length - 1 }),
        fc.nat(),
        (rows, columns, group, bits, symmetric, half, kind, seed) => {
          const random = createRandom(seed);
          const values = Float32Array.from({ length: rows * columns }, (_, i) =>
            KINDS[kind]!(i, () => random.normal()),
          );
          const groupSize = Math.max(1, Math.min(group, columns));
          const shape = { rows, columns, groupSize, bits, symmetric, half };
          const expected = room(shape);
          const found = room(shape);
          run(reference, values, shape, expected);
          run(wasm!, values, shape, found);
          expect(found.scales).toEqual(expected.scales);
          expect(found.zeros).toEqual(expected.zeros);
          expect(found.codes).toEqual(expected.codes);
        },
      ),
      { numRuns: 150 },
    );
  });

  test('a matrix of more than one batch of rows', () => {
    const shape = { rows: 61, columns: 70_000, groupSize: 20_000, bits: 4, symmetric: false, half: false };
    const random = createRandom(3);
    const values = Float32Array.from({ length: shape.rows * shape.columns }, () => random.normal());
    const expected = room(shape);
    const found = room(shape);
    const options = { factors: Float32Array.of(1), reach: 0, refits: 0, coherence: 0, realZeros: false };
    const run: Run = (kernels, all, of, target) => kernels.search(all, of, undefined, options, target);
    run(reference, values, shape, expected);
    run(wasm!, values, shape, found);
    expect(Buffer.compare(found.codes, expected.codes)).toBe(0);
    expect(found.scales).toEqual(expected.scales);
  });
});
