/** `quantize --max-loss` as it is typed: what it says to people, to programs and in the page, and what it refuses. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { network, rowsOf } from '../compress/max-loss/sensitive-network.ts';
import { withFolder, writeModel } from '../formats/build-onnx.ts';
import { run } from './run.ts';

test('kept layers stand below the table, in the page and in JSON', async () => {
  await withFolder(async (folder) => {
    const file = await writeModel(folder, network());
    const rows = await rowsOf(folder, file, 40);
    const page = join(folder, 'report.html');
    const loss = [
      '--evaluate-data',
      rows,
      '--max-loss',
      '20%',
      '--loss',
      'error',
      '--evaluate-samples',
      '24',
    ];
    const words = ['quantize', file, '--to', 'q4', ...loss, '--threads', '1', '--runs', '1', '--force'];
    const { code, stdout } = await run([...words, '--html', page]);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /q4: error, loss [\d.]+ % \(at most 20\); 1 of \d layers kept, \+[\d.]+ KiB; on 24 samples/,
    );
    expect(stdout).toMatch(/kept, worst first: hard \(\+/);
    expect(stdout).toMatch(/tried in .*: 0 kept \d.*, 1 kept \d/);
    const html = await readFile(page, 'utf8');
    expect(html).toContain('kept as it was, worst first');
    expect(html).toContain('hard');
    const json = JSON.parse((await run([...words, '--json'])).stdout);
    expect(json.results[0].loss.kept).toMatchObject([{ layer: 'hard' }]);
    expect(json.results[0].plan.recipe.exclude).toContainEqual({ tensor: 'hard' });
  });
});

test.each([
  [['--max-loss', '1'], 'Name the data with --data'],
  [['--loss', 'kl'], 'Say how much may be lost with --max-loss'],
  [['--evaluate-samples', '9'], 'Say how much may be lost with --max-loss'],
  [['--max-loss', 'much'], 'Expected a number such as 0.5'],
  [['--max-loss', '1%', '--loss', 'kl', '--data', 'rows.json'], 'no percentage'],
  [['--max-loss', '1', '--evaluate-data', 'rows.json', '--samples', '4'], '--samples speaks of data'],
])('%s is refused: %s', async (words, expected) => {
  await withFolder(async (folder) => {
    const file = await writeModel(folder, network());
    const { code, stderr } = await run(['quantize', file, '--to', 'q4', ...words]);
    expect(code).toBe(2);
    expect(stderr).toContain(expected);
  });
});
