/**
 * The time of `whittle quantize --to q4` on a 512 MiB model (8 MatMul of 4096×4096 f32, external data) against `cp` of the
 * same data to the same disk, in alternating runs on warm caches; peak memory of the process; one thread against two.
 *
 * The disk is flushed (`sync`) before every run, outside the clock, so that neither side pays for the other's writes.
 */

import { spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { median } from './statistics.ts';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

const SIDE = 4096;
const LAYERS = 8;
const LAYER_BYTES = SIDE * SIDE * 4;

export interface QuantizeBench {
  readonly inputMiB: number;
  readonly outputMiB: number;
  readonly copySeconds: number;
  readonly oneThreadSeconds: number;
  readonly twoThreadsSeconds: number;
  /** `whittle --version`: what a run costs before it does anything. */
  readonly startSeconds: number;
  /** Target: at most 1, i.e. two threads within 2× cp + 0.3 s. */
  readonly shareOfTarget: number;
  readonly ratioToCopy: number;
  /** (one − start) / (two − start); target 1.8. */
  readonly twoThreadsSpeedup: number;
  /** Target: at most 150. */
  readonly peakMB: number;
  readonly peakOneThreadMB: number;
}

/** Makes its model under the folder for temporary files (about 1.2 GB while it runs), and removes it. */
export async function benchQuantize(runs = 5): Promise<QuantizeBench> {
  const folder = mkdtempSync(join(tmpdir(), 'whittle-bench-'));
  try {
    const model = join(folder, 'model.onnx');
    writeModel(model);
    const data = `${model}_data`;
    const output = join(folder, 'out.onnx');
    const copy = join(folder, 'copy');
    const times = { copy: [] as number[], one: [] as number[], two: [] as number[], start: [] as number[] };
    quantize(model, output, 2);
    for (let run = 0; run < runs; run++) {
      times.copy.push(timed('cp', [data, copy]));
      rmSync(copy);
      times.two.push(quantize(model, output, 2));
      times.one.push(quantize(model, output, 1));
      times.start.push(timed(process.execPath, [MAIN, '--version']));
    }
    const outputBytes = sizeOf(output) + sizeOf(`${output}_data`);
    const copySeconds = median(times.copy);
    const two = median(times.two);
    const one = median(times.one);
    const start = median(times.start);
    return {
      inputMiB: sizeOf(data) / 2 ** 20,
      outputMiB: outputBytes / 2 ** 20,
      copySeconds,
      oneThreadSeconds: one,
      twoThreadsSeconds: two,
      startSeconds: start,
      shareOfTarget: two / (2 * copySeconds + 0.3),
      ratioToCopy: two / copySeconds,
      twoThreadsSpeedup: (one - start) / (two - start),
      peakMB: peakMemory(folder, model, output, 2),
      peakOneThreadMB: peakMemory(folder, model, output, 1),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function quantizeArguments(model: string, output: string, threads: number): string[] {
  return [
    MAIN,
    'quantize',
    model,
    '--to',
    'q4',
    '--no-verify',
    '-o',
    output,
    '--force',
    '--threads',
    String(threads),
  ];
}

function quantize(model: string, output: string, threads: number): number {
  return timed(process.execPath, quantizeArguments(model, output, threads));
}

/** Wall time in seconds of a child process, after the disk is quiet. */
function timed(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): number {
  spawnSync('sync');
  const start = performance.now();
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8', env });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${error?.message ?? stderr}`);
  return (performance.now() - start) / 1000;
}

/** Largest resident set of a run, MB; the process itself says so when it ends. */
function peakMemory(folder: string, model: string, output: string, threads: number): number {
  const note = join(folder, 'peak');
  const script =
    `import{writeFileSync}from'node:fs';process.on('exit',()=>` +
    `writeFileSync(${JSON.stringify(note)},String(process.resourceUsage().maxRSS)))`;
  const preload = `data:text/javascript,${encodeURIComponent(script)}`;
  timed(process.execPath, ['--import', preload, ...quantizeArguments(model, output, threads)]);
  return (Number(readFileSync(note, 'utf8')) * 1024) / 1e6;
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** x → MatMul(w0) → … → MatMul(w7) → y, weights in `<model>_data`, their values from a fixed generator. */
function writeModel(path: string): void {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const initializers: Uint8Array[] = [];
  const nodes: Uint8Array[] = [];
  for (let i = 0; i < LAYERS; i++) {
    const tensor = [
      int(1, SIDE),
      int(1, SIDE),
      int(2, 1),
      text(8, `w${i}`),
      bytes(13, [text(1, 'location'), text(2, `${name}_data`)]),
      bytes(13, [text(1, 'offset'), text(2, String(i * LAYER_BYTES))]),
      bytes(13, [text(1, 'length'), text(2, String(LAYER_BYTES))]),
      int(14, 1),
    ];
    initializers.push(bytes(5, tensor));
    const input = i === 0 ? 'x' : `h${i}`;
    const output = i === LAYERS - 1 ? 'y' : `h${i + 1}`;
    nodes.push(
      bytes(1, [
        text(1, input),
        text(1, `w${i}`),
        text(2, output),
        text(3, `matmul_${i}`),
        text(4, 'MatMul'),
      ]),
    );
  }
  const shape = bytes(2, [bytes(1, [text(2, 'batch')]), bytes(1, [int(1, SIDE)])]);
  const value = (field: number, id: string): Uint8Array =>
    bytes(field, [text(1, id), bytes(2, [bytes(1, [int(1, 1), shape])])]);
  const graph = bytes(7, [...nodes, text(2, 'bench'), ...initializers, value(11, 'x'), value(12, 'y')]);
  writeFileSync(path, Buffer.concat([int(1, 8), graph, bytes(8, [int(2, 17)])]));

  const fd = openSync(`${path}_data`, 'w');
  const values = new Float32Array(SIDE * SIDE);
  let state = 1;
  for (let i = 0; i < LAYERS; i++) {
    for (let k = 0; k < values.length; k++) {
      // Sum of two uniform values of a linear congruential generator: cheap, and different in every block.
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
      values[k] = ((state >> 16) + ((state << 16) >> 16)) / 2 ** 21;
    }
    writeSync(fd, values);
  }
  closeSync(fd);
}

/** Protocol Buffers wire format, as much as this model needs: varint, string and message fields. */
function int(field: number, value: number): Uint8Array {
  return Uint8Array.from([...varint(field << 3), ...varint(value)]);
}

function text(field: number, value: string): Uint8Array {
  return bytes(field, [new TextEncoder().encode(value)]);
}

function bytes(field: number, pieces: readonly Uint8Array[]): Uint8Array {
  const body = Buffer.concat(pieces);
  return Buffer.concat([Uint8Array.from([...varint((field << 3) | 2), ...varint(body.length)]), body]);
}

function varint(value: number): number[] {
  const result: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) result.push((value % 128) | 128);
  return [...result, value];
}
