/** What the user is told of a solved run: a Gram matrix that is not positive definite, rows that were too few, inputs that were zero. */

import { expect, test } from 'vitest';
import { gptq } from '../../../src/algorithms/gptq.ts';
import { collectInputStatistics } from '../../../src/calibration/collect/collect-inputs.ts';
import { findProducts } from '../../../src/calibration/collect/find-products.ts';
import { remarks } from '../../../src/compress/solve/apply.ts';
import { METHODS } from '../../../src/compress/solve/methods.ts';
import type { LayerReport } from '../../../src/compress/solve/solve.ts';
import { compress } from '../../../src/compress.ts';
import { onnxruntimeNode } from '../../../src/runtime/onnxruntime-node.ts';
import { dataset, f32, modelOf, randomValues } from '../../calibration/collect/runs.ts';
import { floats, graph, model, node, value, withFolder, writeModel } from '../../formats/build-onnx.ts';

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
  expect(note).toMatch(/Gram matrix of 1 layer \(w\) is not positive definite: damping was raised to up to/);
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
  expect(notes[0]).toMatch(/Too few samples: 1 of 2 layers has more inputs than the 5 rows it saw/);
  expect(notes[1]).toMatch(/3 inputs of 1 layer \(b\) were zero in all samples/);
});

test('inputs that repeat each other or never change: H is singular, damping makes up for it, and the codes are sound', async () => {
  const [width, rows] = [32, 200];
  const values = randomValues(width * width, 1);
  const proto = model(
    graph({
      nodes: [node('MatMul', ['x', 'w'], ['y'])],
      initializers: [floats('w', [width, width], [...values])],
      inputs: [value('x', 'f32', ['n', width])],
      outputs: [value('y', 'f32', ['n', width])],
    }),
    { opset: 21, ir: 10 },
  );
  // Whole numbers, so that sums are exact: 0 to 7 are free, 8 to 23 repeat them, the others are always 3.
  const free = randomValues(rows * 8, 2).map((each) => Math.round(each * 9));
  const x = Float32Array.from({ length: rows * width }, (_, at) => {
    const [row, column] = [Math.floor(at / width), at % width];
    return column < 24 ? free[row * 8 + (column % 8)]! : 3;
  });
  const data = dataset([{ x: f32([rows, width], x) }]);
  const products = findProducts(proto);
  const options = { runtime: onnxruntimeNode(), collect: ['gram'] as const };
  const statistics = (await collectInputStatistics(modelOf(proto), data, products, options)).get('w')!;
  // Rows are outputs: the stored matrix turned.
  const turned = values.map((_, at) => values[(at % width) * width + Math.floor(at / width)]!);
  const weight = { values: turned, outputs: width, inputs: width };
  const grid = { bits: 4, groupSize: 32, symmetric: false };
  const bare = gptq(weight, statistics, { ...grid, damping: 0 });
  expect(bare.damping).toBeGreaterThan(0);
  expect(bare.damping).toBeLessThan(0.01);
  expect(bare.notes.join(' ')).toMatch(/not positive definite/);
  expect(Math.max(...bare.codes)).toBeLessThanOrEqual(15);
  expect([...bare.scales].every((scale) => Number.isFinite(scale) && scale > 0)).toBe(true);

  // The 1 % that everyone gets is enough, so that nothing is told, and the outputs are closer than rounding leaves them.
  await withFolder(async (folder) => {
    const file = await writeModel(folder, proto);
    const { results } = await compress(file, {
      to: ['q4'],
      algorithm: 'gptq',
      data,
      verify: false,
      threads: 1,
    });
    const [layer] = results[0]?.solved?.layers ?? [];
    expect(layer?.damping).toBe(0.01);
    expect(layer?.errorAfter).toBeLessThan(0.5 * (layer?.errorBefore ?? 0));
    expect(results[0]?.notes.join(' ')).not.toMatch(/positive definite/);
  });
});
