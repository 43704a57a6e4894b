/** What cannot mean anything is refused with the reason before anything is run: idle flags, models of two formats, data that is no text. */

import { writeFile } from 'node:fs/promises';
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

test('models of two formats are not held against each other, in either order', async () => {
  await withFolder(async (folder) => {
    const onnx = await writeModel(folder, linearModel(32, 32));
    const gguf = await writeSmallGguf(folder);
    const data = join(folder, 'text.txt');
    await writeFile(data, 'text');
    for (const [a, b] of [
      [onnx, gguf],
      [gguf, onnx],
    ] as const) {
      for (const words of [
        ['compare', a, b],
        ['evaluate', b, '--against', a, '--data', data],
      ]) {
        const { code, stdout } = await run([...words, '--json']);
        expect(code).toBe(2);
        const error = { code: 'E_USAGE', message: 'the two models are of different formats', file: b };
        expect(JSON.parse(stdout).error).toMatchObject(error);
      }
    }
    const absent = await run(['compare', gguf, join(folder, 'absent.onnx')]);
    expect(absent.stderr).toContain('E_NOT_FOUND');
  });
});

test('a GGUF model is not evaluated on rows as if they were a text', async () => {
  await withFolder(async (folder) => {
    const file = await writeSmallGguf(folder);
    const rows = join(folder, 'rows.json');
    await writeFile(rows, '[[1, 2, 3]]');
    const { code, stderr } = await run(['evaluate', file, '--data', rows]);
    expect(code).toBe(2);
    expect(stderr).toContain('GGUF models are evaluated on a text');
  });
});
