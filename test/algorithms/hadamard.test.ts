import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRotation, hadamardOrder } from '../../src/algorithms/hadamard.ts';

/** R [n, n]: the rows of the identity, rotated. */
function matrixOf(size: number, seed: number, keepsMean: boolean): Float64Array {
  const rows = new Float64Array(size * size);
  for (let i = 0; i < size; i++) rows[i * size + i] = 1;
  createRotation(size, { seed, keepsMean }).apply(rows);
  return rows;
}

const SIZES = [2, 4, 8, 12, 20, 24, 28, 36, 40, 44, 48, 52, 56, 60, 64, 76, 80, 96, 30, 14];

describe('Hadamard rotations', () => {
  test.each(SIZES)('R Rᵀ = 1 for %i channels, with and without the mean', (size) => {
    for (const keepsMean of [false, true]) {
      const r = matrixOf(size, 3, keepsMean);
      for (let i = 0; i < size; i++) {
        for (let j = 0; j < size; j++) {
          let sum = 0;
          for (let k = 0; k < size; k++) sum += r[i * size + k]! * r[j * size + k]!;
          expect(Math.abs(sum - (i === j ? 1 : 0))).toBeLessThan(1e-12);
        }
      }
    }
  });

  test('every channel goes to all of its block with equal weight', () => {
    for (const size of SIZES) {
      const block = hadamardOrder(size)?.block ?? 0;
      const r = matrixOf(size, 1, false);
      const loud = r.filter((value) => value !== 0);
      expect(loud.length).toBe(size * block);
      for (const value of loud) expect(Math.abs(value)).toBeCloseTo(1 / Math.sqrt(block), 12);
    }
  });

  test('sizes of real models are mixed whole; others in blocks of a power of two', () => {
    for (const size of [
      256, 320, 384, 576, 640, 768, 896, 960, 1024, 1152, 1280, 1536, 2048, 2560, 3072, 3584, 4096, 5120,
    ])
      expect([size, hadamardOrder(size)?.block]).toEqual([size, size]);
    expect(hadamardOrder(768)).toEqual({ power: 64, paley: 12, block: 768 });
    expect(hadamardOrder(30)).toEqual({ power: 2, paley: 1, block: 2 });
    expect(hadamardOrder(7)).toBeUndefined();
    expect(hadamardOrder(0)).toBeUndefined();
  });

  test('with keepsMean the vector of ones stays as it is, and means with it', () => {
    fc.assert(
      fc.property(fc.constantFrom(...SIZES), fc.integer(), (size, seed) => {
        const rotation = createRotation(size, { seed, keepsMean: true });
        const ones = new Float64Array(size).fill(1);
        rotation.apply(ones);
        for (const value of ones) expect(value).toBeCloseTo(1, 12);
      }),
      { numRuns: 60 },
    );
  });

  test('the same seed gives the same rotation, another seed another', () => {
    expect(matrixOf(24, 5, false)).toEqual(matrixOf(24, 5, false));
    expect(matrixOf(24, 5, false)).not.toEqual(matrixOf(24, 6, false));
  });

  test('odd sizes and rows of another size are refused', () => {
    expect(() => createRotation(7, { seed: 0, keepsMean: false })).toThrow(
      expect.objectContaining({ code: 'E_SHAPE' }),
    );
    expect(() => createRotation(8, { seed: 0, keepsMean: false }).apply(new Float64Array(12))).toThrow(
      expect.objectContaining({ code: 'E_SHAPE' }),
    );
  });
});
