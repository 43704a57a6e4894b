/** What the user is told of a solved run: a Gram matrix that is not positive definite, rows that were too few, inputs that were zero. */

import { expect, test } from 'vitest';
import { remarks } from '../../../src/compress/solve/apply.ts';
import { METHODS } from '../../../src/compress/solve/methods.ts';
import type { LayerReport } from '../../../src/compress/solve/solve.ts';

const INPUTS = 8;

test('a Gram matrix that is not positive definite raises the damping, and the layer is named with it', async () => {
  const gram = new Float32Array(INPUTS * INPUTS);
  // Two inputs that vary together more than each by itself: no sum of squares gives that, f32 overflow or rounding may.
  for (let i = 0; i < INPUTS; i++) gram[i * (INPUTS + 1)] = 1;
  gram[1] = 1.5;
  gram[INPUTS] = 1.5;
  const squares = new Float64Array(INPUTS).fill(1);
  const weight = {
    values: Float32Array.from({ length: 16 }, (_, i) => Math.sin(i)),
    outputs: 2,
    inputs: INPUTS,
  };
  const grid = { bits: 4, groupSize: 8, symmetric: false };
  const solution = await METHODS.get('gptq')!.solve(weight, grid, {
    inputs: INPUTS,
    rows: 100,
    squares,
    gram,
  });
  expect(solution.damping).toBeGreaterThan(0.5);
  const report = { layer: 'w', algorithm: 'gptq', bits: 4, groupSize: 8, errorBefore: 1, errorAfter: 1 };
  const reports: LayerReport[] = [{ ...report, damping: solution.damping, rows: 100 }];
  const [note, ...others] = remarks(reports, new Map([['w', { inputs: INPUTS }]]), undefined);
  expect(note).toMatch(/Gram matrix of 1 layers \(w\) is not positive definite: damping was raised to up to/);
  expect(others).toEqual([]);
});

test('fewer rows than inputs, and inputs that were always zero, are told with their numbers', () => {
  const report = { algorithm: 'gptq', bits: 4, groupSize: 8, errorBefore: 1, errorAfter: 1, damping: 0.01 };
  const reports: LayerReport[] = [
    { ...report, layer: 'a', rows: 5 },
    { ...report, layer: 'b', rows: 50, deadInputs: 3 },
  ];
  const layers = new Map(['a', 'b'].map((name) => [name, { inputs: INPUTS }]));
  const notes = remarks(reports, layers, undefined);
  expect(notes).toHaveLength(2);
  expect(notes[0]).toMatch(/Too few samples: 1 of 2 layers have more inputs than the 5 rows they saw/);
  expect(notes[1]).toMatch(/3 inputs of 1 layers \(b\) were zero in all samples/);
});
