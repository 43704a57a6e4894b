/** Errors are measured unasked only where that is quick: the size that counts is that of the weights, in whatever file. */

import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isQuickToMeasure } from '../../src/cli/quantize.ts';
import { encodeModel } from '../../src/formats/onnx/layout.ts';
import { external, graph, model, node, value, withFolder } from '../formats/build-onnx.ts';

test('a data file of any name counts for the size of a model', async () => {
  for (const [rows, quick] of [
    [64, true],
    [100_000, false],
  ] as const) {
    await withFolder(async (folder) => {
      const proto = model(
        graph({
          nodes: [node('MatMul', ['x', 'w'], ['y'])],
          initializers: [external('w', 'f32', [rows, 1000], { location: 'weights.bin' })],
          inputs: [value('x', 'f32', [1, rows])],
          outputs: [value('y', 'f32', [1, 1000])],
        }),
      );
      await writeFile(join(folder, 'weights.bin'), '');
      await truncate(join(folder, 'weights.bin'), rows * 4000);
      await writeFile(join(folder, 'model.onnx'), await encodeModel(proto));
      expect(await isQuickToMeasure(join(folder, 'model.onnx'))).toBe(quick);
    });
  }
});
