/** The SIMD kernels of rows whose codes move give the bits of their definition. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { quadraticForms } from '../../../src/algorithms/linear-algebra.ts';
import { plainRowSet } from '../../../src/algorithms/row-set.ts';
import { createRandom } from '../../../src/core/random.ts';
import { type RowSet, wasmAlgebraKernels } from '../../../src/kernels/algebra/index.ts';

const kernels = await wasmAlgebraKernels();

/** H = XᵀX with a little on its diagonal. */
function gramOf(random: () => number, n: number): Float64Array {
  const x = Array.from({ length: n + 3 }, () => Float64Array.from({ length: n }, random));
  const gram = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++)
      gram[i * n + j] = x.reduce((sum, row) => sum + row[i]! * row[j]!, i === j ? 0.3 : 0);
  }
  return gram;
}

/** The same start for both: codes with errors to make up for, some grids reversed or empty, one row at rest. */
function fill(set: RowSet, seed: number, n: number, groupSize: number, top: number): void {
  const random = createRandom(seed);
  const groups = Math.ceil(n / groupSize);
  for (let row = 0; row < 4; row++) {
    set.active[row] = row === 2 ? 0 : 1;
    for (let group = 0; group < groups; group++) {
      const size = 0.1 + random.uniform();
      set.scales[row * groups + group] = group % 5 === 4 ? 0 : group % 3 === 2 ? -size : size;
      set.zeros[row * groups + group] =
        seed % 2 === 0 ? Math.floor(random.uniform() * top) : random.uniform() * top;
    }
    for (let i = 0; i < n; i++) {
      const group = row * groups + Math.floor(i / groupSize);
      const code = Math.floor(random.uniform() * (top + 1));
      const value = Math.fround(Math.fround(code - set.zeros[group]!) * set.scales[group]!);
      set.codes[row * set.stride + i] = code;
      set.values[row * set.stride + i] = value;
      set.differences[row * set.stride + i] = value - random.normal();
    }
  }
}

function stateOf(set: RowSet, n: number) {
  const rows = [0, 1, 2, 3].map((row) => row * set.stride);
  const cut = <A extends Uint8Array | Float64Array>(array: A) =>
    rows.map((from) => [...array.subarray(from, from + n)]);
  return {
    codes: cut(set.codes),
    values: cut(set.values),
    gradients: cut(set.gradients),
    gains: [...set.gains.subarray(0, 4)],
  };
}

test.skipIf(kernels === undefined)(
  'products, single moves and pair moves are those of the definition',
  () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 1e6 }),
        fc.integer({ min: 1, max: 37 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 8 }),
        (seed, n, groupSize, bits) => {
          const random = createRandom(seed);
          const problem = { gram: gramOf(() => random.normal(), n), n, groupSize, top: 2 ** bits - 1 };
          const plain = plainRowSet(problem, 4);
          const fast = kernels?.rowSet(problem, 4) ?? plain;
          const both = (run: (set: RowSet) => void): void => {
            for (const set of [plain, fast]) run(set);
            expect(stateOf(fast, n)).toEqual(stateOf(plain, n));
          };
          both((set) => {
            fill(set, seed, n, groupSize, problem.top);
            set.addProducts();
          });
          both((set) => set.descendSingly(seed % 3));
          expect([...fast.active.subarray(0, 4)]).toEqual([0, 0, 0, 0]);
          for (let pass = 0; pass < 2; pass++) {
            both((set) => {
              set.active.fill(1);
              set.gains.fill(0);
              set.descendInPairs();
            });
          }
          both((set) => {
            set.gains.fill(0);
            set.descendSingly(20);
          });
        },
      ),
      { numRuns: 100 },
    );
  },
);

test.skipIf(kernels === undefined)(
  'products of a part of the inputs are added as the definition adds them',
  () => {
    const random = createRandom(3);
    const n = 600;
    const problem = {
      gram: Float64Array.from({ length: n * n }, () => random.normal()),
      n,
      groupSize: 32,
      top: 15,
    };
    const plain = plainRowSet(problem, 4);
    const fast = kernels?.rowSet(problem, 4) ?? plain;
    for (const set of [plain, fast]) {
      for (let row = 0; row < 4; row++)
        for (let i = 32; i < 64; i++) set.differences[row * set.stride + i] = Math.sin(row + i);
      set.addProducts(32, 64, 64);
    }
    expect(stateOf(fast, n)).toEqual(stateOf(plain, n));
    for (const set of [plain, fast]) set.addProducts();
    expect(stateOf(fast, n)).toEqual(stateOf(plain, n));
  },
);

test.skipIf(kernels === undefined)(
  'quadratic forms are those of the definition, for any number of rows',
  () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 1e6 }),
        fc.integer({ min: 0, max: 35 }),
        fc.integer({ min: 1, max: 30 }),
        (seed, count, n) => {
          const random = createRandom(seed);
          const gram = Float32Array.from(gramOf(() => random.normal(), n));
          const rows = Float64Array.from({ length: count * n }, () => random.normal());
          expect(quadraticForms(rows, gram, n, kernels)).toEqual(quadraticForms(rows, gram, n));
        },
      ),
      { numRuns: 100 },
    );
  },
);
