/** The command line as users meet it: the built program in a process of its own. */

import { readdir, readFile, stat } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { floats, linearModel, withFolder, writeModel } from '../formats/build-onnx.ts';
import { BUILT, NOT_BUILT, whittle } from './run.ts';
import { writeLargeGguf } from './small-gguf.ts';

async function bigModel(folder: string, side: number): Promise<string> {
  const proto = linearModel(side, side);
  const values = Array.from({ length: side * side }, (_, i) => (((i * 2654435761) % 1000) - 500) / 1000);
  proto.graph!.initializer = [floats('w', [side, side], values), floats('b', [side])];
  return writeModel(folder, proto);
}

describe.skipIf(!BUILT)(BUILT ? 'the built whittle' : `the built whittle (${NOT_BUILT})`, () => {
  test('--version prints the version of the package and nothing else', async () => {
    const manifest: { version: string } = JSON.parse(
      await readFile(new URL('../../package.json', import.meta.url), 'utf8'),
    );
    expect(await whittle(['--version'])).toEqual({ code: 0, stdout: `${manifest.version}\n`, stderr: '' });
    expect((await whittle(['-V'])).stdout).toBe(`${manifest.version}\n`);
  });

  test('wrong use: exit code 2, one message on stderr, no stack', async () => {
    const { code, stdout, stderr } = await whittle(['quantize', 'm.onnx', '--too', 'q4']);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toBe("E_USAGE: unknown option '--too'\n  hint     Did you mean --to?\n");
  });

  test('a reader that closes the pipe disturbs nothing', async () => {
    const { code, stderr } = await whittle(['modes'], { closeStdout: true });
    expect(code).toBe(0);
    expect(stderr).not.toContain('EPIPE');
  });

  test('quantizes with workers, proves, and leaves exactly the files it names', async () => {
    await withFolder(async (folder) => {
      const file = await bigModel(folder, 512);
      const { code, stdout, stderr } = await whittle([
        'quantize',
        file,
        '--to',
        'q8,q4',
        '--threads',
        '2',
        '--runs',
        '1',
        '--json',
      ]);
      expect(stderr).toBe('');
      expect(code).toBe(0);
      const { results } = JSON.parse(stdout);
      const files = results.flatMap((result: { files: { path: string; bytes: number }[] }) => result.files);
      for (const { path, bytes } of files) expect((await stat(path)).size).toBe(bytes);
      expect((await readdir(folder)).length).toBe(1 + files.length);
    });
  });

  test.skipIf(process.platform === 'win32').each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)(
    '%s stops a short run with exit code %i and leaves nothing behind',
    async (signal, expected) => {
      await withFolder(async (folder) => {
        const proto = linearModel(2048, 2048);
        proto.graph!.initializer = [
          floats('w', [2048, 2048], new Array(2048 * 2048).fill(0.25)),
          floats('b', [2048]),
        ];
        const file = await writeModel(folder, proto);
        // The first progress line proves that the work has begun.
        const outcome = await whittle(['quantize', file, '--to', 'q8,q4,q2', '--verbose', '--threads', '1'], {
          onFirstOutput: (child) => child.kill(signal),
        });
        expect(outcome.code).toBe(expected);
        expect(outcome.stderr).toMatch(/Stopped. Nothing was left behind.\n$/);
        expect(await readdir(folder)).toEqual(['model.onnx']);
      });
    },
  );

  test.skipIf(process.platform === 'win32')(
    'a long GGUF run that is stopped says how to go on, and --resume gives the same file',
    async () => {
      await withFolder(async (folder) => {
        const file = await writeLargeGguf(folder);
        const words = [
          'quantize',
          file,
          '--to',
          'Q4_K_M',
          '--threads',
          '1',
          '--no-measure',
          '--sha256',
          '--json',
        ];
        const stopped = await whittle([...words.slice(0, -2), '--verbose'], {
          onFirstOutput: (child) => child.kill('SIGINT'),
        });
        expect(stopped.code).toBe(130);
        expect(stopped.stderr).toMatch(
          /Stopped\. Run the same command with --resume to continue: \d+ % is done\.\n$/,
        );
        const left = (await readdir(folder)).sort();
        expect(left).toEqual(['large-Q4_K_M.gguf.journal', 'large-Q4_K_M.gguf.partial', 'large-f16.gguf']);
        const resumed = await whittle([...words, '--resume']);
        expect(resumed.code).toBe(0);
        expect((await readdir(folder)).sort()).toEqual(['large-Q4_K_M.gguf', 'large-f16.gguf']);
        const afresh = await whittle([...words, '--force']);
        const digest = ({ stdout }: { stdout: string }): string =>
          JSON.parse(stdout).results[0].files[0].sha256;
        expect(digest(resumed)).toBe(digest(afresh));
      });
    },
  );
});
