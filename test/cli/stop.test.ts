/** Ctrl-C as the system sends it, in the middle of runs that try, measure and keep: the exit code, the last line, and what is left. */

import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { network, rowsOf } from '../compress/max-loss/sensitive-network.ts';
import { withFolder, writeModel } from '../formats/build-onnx.ts';
import { BUILT, NOT_BUILT, whittle } from './run.ts';

const possible = BUILT && process.platform !== 'win32';

describe.skipIf(!possible)(possible ? 'the built whittle' : `the built whittle (${NOT_BUILT})`, () => {
  test('quantize --max-loss that is stopped while layers are tried leaves no output and no temporary file', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, network());
      const rows = await rowsOf(folder, file, 400);
      const temporary = join(folder, 'temporary');
      await mkdir(temporary);
      const before = (await readdir(folder)).sort();
      const loss = [
        '--max-loss',
        '0',
        '--loss',
        'error',
        '--evaluate-data',
        rows,
        '--evaluate-samples',
        '400',
      ];
      const { code, stderr, stdout } = await whittle(
        ['quantize', file, '--to', 'q2,q4', ...loss, '--threads', '1', '--verbose'],
        {
          env: { TMPDIR: temporary },
          onOutput: { like: /alone|sample \d+ of/, act: (child) => child.kill('SIGINT') },
        },
      );
      expect(stderr).toMatch(/Stopped\. Nothing was left behind\.\n$/);
      expect({ code, stdout }).toEqual({ code: 130, stdout: '' });
      expect((await readdir(folder)).sort()).toEqual(before);
      expect(await readdir(temporary)).toEqual([]);
    });
  });

  test('evaluate that is stopped ends with 130 and leaves nothing', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, network());
      const rows = await rowsOf(folder, file, 2000);
      const temporary = join(folder, 'temporary');
      await mkdir(temporary);
      const before = (await readdir(folder)).sort();
      const { code, stderr } = await whittle(
        ['evaluate', file, '--against', file, '--data', rows, '--no-cost', '--threads', '1', '--verbose'],
        {
          env: { TMPDIR: temporary },
          onOutput: { like: /sample \d+ of/, act: (child) => child.kill('SIGINT') },
        },
      );
      expect(stderr).toMatch(/Stopped\. Nothing was left behind\.\n$/);
      expect(code).toBe(130);
      expect((await readdir(folder)).sort()).toEqual(before);
      expect(await readdir(temporary)).toEqual([]);
    });
  });
});
