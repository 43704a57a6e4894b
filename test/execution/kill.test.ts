/** A run that is killed at any moment leaves no half-written output, and the next run clears away what it left. */

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { createRandom } from '../../src/core/random.ts';
import type { Operation } from '../../src/numerics/operation.ts';
import { layoutOf, weightBytes } from './run.ts';

const execute = new URL('../../dist/execution/execute.js', import.meta.url);
const absent = !existsSync(fileURLToPath(execute));
const note = absent ? ' (skipped: needs dist, run `npm run build`)' : '';

const LAYERS = 6;
const operation: Operation = {
  kind: 'matmul-nbits',
  from: 'f32',
  rows: 512,
  columns: 512,
  transposed: false,
  bits: 4,
  blockSize: 32,
  symmetric: true,
  scaleType: 'f32',
};
const LENGTH = 512 * 512 * 4;

/** The program of the child: says "ready" when it starts to write. */
function program(input: string, directory: string, options = ''): string {
  const { file } = layoutOf('out.onnx', Array(LAYERS).fill(operation));
  return `
    import { executeFiles } from ${JSON.stringify(execute.href)};
    import { openFile } from ${JSON.stringify(new URL('../io/file-source.js', execute).href)};
    const source = await openFile(${JSON.stringify(input)});
    const operation = ${JSON.stringify(operation)};
    const tasks = Array.from({ length: ${LAYERS} }, (_, id) => ({
      id, tensor: 'w' + id, operation,
      source: { kind: 'range', source, offset: id * ${LENGTH}, length: ${LENGTH} },
    }));
    process.stdout.write('ready');
    const report = await executeFiles({
      files: [${JSON.stringify(file)}], tasks, threads: 2, bytesPerWorker: 1, tileBytes: 65536, ${options}
      target: { directory: ${JSON.stringify(directory)}, force: true },
    });
    process.stdout.write(' resumed ' + report.bytesResumed);
  `;
}

function start(source: string): { child: ChildProcess; ready: Promise<void>; ended: Promise<number | null> } {
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
  const ready = new Promise<void>((resolve) => {
    child.stdout?.once('data', () => resolve());
    child.on('exit', () => resolve());
  });
  return { child, ready, ended };
}

test.skipIf(absent)(`SIGKILL at any moment: the output is absent or perfect${note}`, async () => {
  const root = mkdtempSync(join(tmpdir(), 'whittle-kill-'));
  try {
    const input = join(root, 'in.bin');
    writeFileSync(
      input,
      Buffer.concat(Array.from({ length: LAYERS }, (_, i) => weightBytes('f32', 512 * 512, i))),
    );
    const directory = join(root, 'out');
    mkdirSync(directory);
    const output = join(directory, 'out.onnx');
    const hash = (): string | undefined =>
      existsSync(output) ? createHash('sha256').update(readFileSync(output)).digest('hex') : undefined;

    const source = program(input, directory);
    expect(await start(source).ended).toBe(0);
    const perfect = hash();
    expect(perfect).toMatch(/^[0-9a-f]{64}$/);
    const random = createRandom(1);
    for (let i = 0; i < 8; i++) {
      if (i % 2 === 0) rmSync(output, { force: true });
      const { child, ready, ended } = start(source);
      await ready;
      await new Promise((resolve) => setTimeout(resolve, random.uniform() * 120));
      child.kill('SIGKILL');
      await ended;
      expect([undefined, perfect]).toContain(hash());
    }
    expect(await start(source).ended).toBe(0);
    expect(hash()).toBe(perfect);
    expect(readdirSync(directory)).toEqual(['out.onnx']);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

test.skipIf(absent)(
  `a run that is killed again and again gets done with --resume, piece by piece${note}`,
  async () => {
    const root = mkdtempSync(join(tmpdir(), 'whittle-kill-'));
    try {
      const input = join(root, 'in.bin');
      writeFileSync(
        input,
        Buffer.concat(Array.from({ length: LAYERS }, (_, i) => weightBytes('f32', 512 * 512, i))),
      );
      const [once, often] = ['once', 'often'].map((name) => join(root, name));
      if (once === undefined || often === undefined) throw new Error('two folders are needed');
      mkdirSync(once);
      mkdirSync(often);
      expect(await start(program(input, once)).ended).toBe(0);
      const source = program(input, often, 'resume: true, flushBytes: 1,');
      const output = join(often, 'out.onnx');
      const random = createRandom(2);
      let kills = 0;
      for (; kills < 6; kills++) {
        const { child, ready, ended } = start(source);
        await ready;
        // Until something is in the journal, or for a moment.
        await new Promise((resolve) => setTimeout(resolve, random.uniform() * 150));
        child.kill('SIGKILL');
        if ((await ended) === 0) break;
        expect(existsSync(output)).toBe(false);
      }
      const last = start(source);
      let said = '';
      last.child.stdout?.on('data', (text) => {
        said += String(text);
      });
      expect(await last.ended).toBe(0);
      expect(said).toMatch(/resumed \d+$/);
      expect(readFileSync(output).equals(readFileSync(join(once, 'out.onnx')))).toBe(true);
      expect(readdirSync(often)).toEqual(['out.onnx']);
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  },
);
