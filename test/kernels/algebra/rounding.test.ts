/** The SIMD kernel of rounding in steps gives the codes of its definition, bit for bit. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { roundColumns } from '../../../src/algorithms/babai.ts';
import { createRandom } from '../../../src/core/random.ts';
import { wasmAlgebraKernels } from '../../../src/kernels/algebra/index.ts';

const kernels = await wasmAlgebraKernels();

function problem(seed: number, outputs: number, n: number, groupSize: number, bits: number) {
  const random = createRandom(seed);
  const groups = Math.ceil(n / groupSize);
  const top = 2 ** bits - 1;
  const values = (count: number, spread: number) =>
    Float64Array.from({ length: count }, () => random.normal() * spread);
  const order = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(random.uniform() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  // Halves of a scale of 1 are ties; a scale of 0 has no codes; far values are clipped at both ends.
  const target = values(outputs * n, 0.7).map((value, i) =>
    i % 11 === 0 ? Math.round(value * 2) / 2 : value,
  );
  const scales = Float32Array.from(values(outputs * groups, 0.3)).map((value, i) =>
    i % 5 === 0 ? 1 : i % 7 === 0 ? 0 : value,
  );
  const zeroPoints = Float32Array.from({ length: outputs * groups }, (_, i) =>
    i % 3 === 0 ? random.uniform() * top : Math.floor(random.uniform() * top),
  );
  const grid = { outputs, inputs: n, bits, groupSize, symmetric: false, scales, zeroPoints };
  return { target, grid, order, compensation: values(n * n, 0.2) };
}

test.skipIf(kernels === undefined)('codes are those of the definition, for any shape and order', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 1e6 }),
      fc.integer({ min: 0, max: 40 }),
      fc.integer({ min: 1, max: 70 }),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 2, max: 8 }),
      (seed, outputs, n, groupSize, bits) => {
        const { target, grid, order, compensation } = problem(seed, outputs, n, groupSize, bits);
        const plain = roundColumns(target, grid, order, compensation);
        expect(roundColumns(target, grid, order, compensation, kernels)).toEqual(plain);
      },
    ),
    { numRuns: 200 },
  );
});
