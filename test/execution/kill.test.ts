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

const digestOf = (path: string): string | undefined =>
  existsSync(path) ? createHash('sha256').update(readFileSync(path)).digest('hex') : undefined;

/** Runs `look` beside an input, with the digest of what a run that nobody disturbs makes of it. */
async function besideInput(look: (root: string, input: string, perfect: string) => Promise<void>) {
  const root = mkdtempSync(join(tmpdir(), 'whittle-kill-'));
  try {
    const input = join(root, 'in.bin');
    writeFileSync(
      input,
      Buffer.concat(Array.from({ length: LAYERS }, (_, i) => weightBytes('f32', 512 * 512, i))),
    );
    const once = join(root, 'once');
    mkdirSync(once);
    expect(await start(program(input, once)).ended).toBe(0);
    const perfect = digestOf(join(once, 'out.onnx'));
    if (perfect === undefined) throw new Error('the run wrote nothing');
    await look(root, input, perfect);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/** Starts the program and kills it so many milliseconds after it said that it is ready. Returns whether it got done before. */
async function killed(source: string, milliseconds: number): Promise<boolean> {
  const { child, ready, ended } = start(source);
  await ready;
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  child.kill('SIGKILL');
  return (await ended) === 0;
}

// Most of the time goes into starting processes: both tests at once use the cores.
test.skipIf(absent)(
  `SIGKILL at any moment: the output is absent or perfect${note}`,
  { concurrent: true },
  () =>
    besideInput(async (root, input, perfect) => {
      const directory = join(root, 'out');
      mkdirSync(directory);
      const output = join(directory, 'out.onnx');
      const source = program(input, directory);
      const random = createRandom(1);
      for (let i = 0; i < 5; i++) {
        if (i % 2 === 0) rmSync(output, { force: true });
        await killed(source, random.uniform() * 120);
        expect([undefined, perfect]).toContain(digestOf(output));
      }
      expect(await start(source).ended).toBe(0);
      expect(digestOf(output)).toBe(perfect);
      expect(readdirSync(directory)).toEqual(['out.onnx']);
    }),
);

test.skipIf(absent)(
  `a run that is killed again and again gets done with --resume, piece by piece${note}`,
  { concurrent: true },
  () =>
    besideInput(async (root, input, perfect) => {
      const directory = join(root, 'often');
      mkdirSync(directory);
      const output = join(directory, 'out.onnx');
      const source = program(input, directory, 'resume: true, flushBytes: 1,');
      const random = createRandom(2);
      for (let kills = 0; kills < 4; kills++) {
        if (await killed(source, random.uniform() * 150)) break;
        // The kill may come when the file is in place and only the journal is left to remove.
        expect([undefined, perfect]).toContain(digestOf(output));
      }
      const last = start(source);
      let said = '';
      last.child.stdout?.on('data', (text) => {
        said += String(text);
      });
      expect(await last.ended).toBe(0);
      expect(said).toMatch(/resumed \d+$/);
      expect(digestOf(output)).toBe(perfect);
      expect(readdirSync(directory)).toEqual(['out.onnx']);
    }),
);
