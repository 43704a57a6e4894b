/** Weights that were changed on purpose, as where batch norms are folded: no harm of quantizing is read from them unsaid. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { evaluateModel } from '../../src/compress/evaluate.ts';
import { compress } from '../../src/compress.ts';
import { randomValues } from '../calibration/collect/runs.ts';
import { floats, graph, model, node, value, withFolder, writeModel } from '../formats/build-onnx.ts';

const SIZE = 32;

function product(factor: number) {
  const values = randomValues(SIZE * SIZE, 1).map((each) => each * factor);
  return model(
    graph({
      nodes: [node('MatMul', ['x', 'w'], ['y'])],
      initializers: [floats('w', [SIZE, SIZE], [...values])],
      inputs: [value('x', 'f32', ['n', SIZE])],
      outputs: [value('y', 'f32', ['n', SIZE])],
    }),
    { opset: 21, ir: 10 },
  );
}

test.each([
  [1, false],
  [3, true],
])('a weight of 8 bits that is %s times the original: told as changed is %s', async (factor, told) => {
  await withFolder(async (folder) => {
    const scaled = await writeModel(folder, product(factor));
    const output = join(folder, 'result.onnx');
    await compress(scaled, { to: ['int8-qdq'], output, verify: false, threads: 1 });
    const against = await writeModel(folder, product(1));
    const rows = join(folder, 'rows.json');
    await writeFile(rows, JSON.stringify([{ x: [...randomValues(SIZE, 2)] }]));
    const data = { source: rows };
    const { layers } = await evaluateModel(output, { against, data, layers: true, cost: false, threads: 1 });
    expect(layers?.layers).toHaveLength(1);
    expect(/changed on purpose/.test(layers?.notes.join(' ') ?? '')).toBe(told);
  });
});
