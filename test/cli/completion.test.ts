/** The completion scripts, run by the shells themselves where they are installed. */

import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { withFolder } from '../formats/build-onnx.ts';
import { run } from './run.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;

function has(shell: string): boolean {
  return spawnSync(shell, ['-c', 'true']).status === 0;
}

test.each(SHELLS)('the script for %s names every command, mode and type', async (shell) => {
  const { code, stdout } = await run(['completion', shell]);
  expect(code).toBe(0);
  for (const word of [
    'inspect',
    'quantize',
    'dequantize',
    'compare',
    'modes',
    'q4f16',
    'bnb4',
    'onnxruntime-web',
    'imatrix',
    'Q4_K_M',
    'iq4_nl',
  ]) {
    expect(stdout).toContain(word);
  }
});

test.each(SHELLS)('%s accepts its script', async (shell) => {
  if (!has(shell)) return;
  const { stdout } = await run(['completion', shell]);
  await withFolder(async (folder) => {
    const file = join(folder, 'script');
    await writeFile(file, stdout);
    const { status, stderr } = spawnSync(shell, ['-n', file], { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(status).toBe(0);
  });
});

test.skipIf(!has('bash'))(
  'bash completes commands, flags, modes in a list, closed values and file names',
  async () => {
    const { stdout: script } = await run(['completion', 'bash']);
    await withFolder(async (folder) => {
      await writeFile(join(folder, 'script'), script);
      await writeFile(join(folder, 'my model.onnx'), '');
      const complete = (...words: string[]): string[] => {
        const { stdout } = spawnSync(
          'bash',
          [
            '-c',
            `source ./script; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _whittle; printf "%s\\n" "\${COMPREPLY[@]}"`,
            'bash',
            ...words,
          ],
          { encoding: 'utf8', cwd: folder },
        );
        return stdout.split('\n').filter((line) => line !== '');
      };
      expect(complete('whittle', 'qu')).toEqual(['quantize']);
      expect(complete('whittle', 'quantize', '--dry')).toEqual(['--dry-run']);
      expect(complete('whittle', 'quantize', 'm.onnx', '--to', 'q8,q4')).toEqual(['q8,q4', 'q8,q4f16']);
      expect(complete('whittle', 'quantize', 'm.gguf', '--to', 'Q5_K_M,Q4_K_')).toEqual([
        'Q5_K_M,Q4_K_M',
        'Q5_K_M,Q4_K_S',
      ]);
      expect(complete('whittle', 'inspect', 'm.onnx', '--sort', 'o')).toEqual(['outliers']);
      expect(complete('whittle', '--json', 'compress', 'my')).toEqual(['my model.onnx']);
    });
  },
);
