/** Flags that would do nothing beside the others are refused with the reason, before anything is run. */

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { linearModel, withFolder, writeModel } from '../formats/build-onnx.ts';
import { run } from './run.ts';
import { writeSmallGguf } from './small-gguf.ts';

test.each([
  ['compare', ['--no-run', '--min-cosine', '0.9'], '--no-run leaves out'],
  ['compare', ['--no-run', '--runs', '3'], '--no-run leaves out'],
  ['compare', ['--no-run', '--input', 'x=x.npy'], '--no-run leaves out'],
  ['compare', ['--activations', '--input', 'x=x.npy'], 'values inside are compared on --data'],
  ['compare', ['--samples', '3'], 'Name the data with --data'],
  ['evaluate', ['--layer-samples', '3'], 'only --layers looks at'],
  ['evaluate', ['--top', '3'], 'only --layers looks at'],
  ['evaluate', ['--no-cost', '--runs', '3'], '--no-cost leaves out'],
  ['evaluate', ['--layers'], 'needs the original'],
  ['calibrate', ['--out', 'x.stats', '--histograms'], 'Name them with --tensors'],
] as const)('%s %s is refused: %s', async (command, words, expected) => {
  await withFolder(async (folder) => {
    const file = await writeModel(folder, linearModel(32, 32));
    const files = command === 'compare' ? [file, file] : [file];
    const data = command === 'evaluate' ? ['--data', join(folder, 'rows.json')] : [];
    const { code, stderr } = await run([command, ...files, ...data, ...words]);
    expect(code).toBe(2);
    expect(stderr).toContain(expected);
  });
});

test.each(['--data', '--samples', '--sequence', '--seed', '--tokenizer', '--threads', '--activations'])(
  'compare %s of GGUF files is refused, since they are not run',
  async (flag) => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      const words = flag === '--activations' ? [flag] : [flag, '16'];
      const { code, stderr } = await run(['compare', file, file, ...words]);
      expect(code).toBe(2);
      expect(stderr).toContain(`${flag} is `);
    });
  },
);
