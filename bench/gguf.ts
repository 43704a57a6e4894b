/**
 * Whole GGUF files: `whittle quantize` against `llama_model_quantize` of the prebuilt library on the same model, the same
 * threads, the same disk, in alternating runs on warm caches; `cp` beside them; peak memory of both; and that both wrote the
 * same bytes. Then what a command costs on a file of 100 GB (sparse), and what the IQ types need before their first block.
 *
 * The model is made for the run: the shapes of a LLaMA of 571 million weights (2048 wide, 10 layers, vocabulary 32000) in f16,
 * 1.1 GB, normally distributed. The disk is flushed before every run, outside the clock.
 */

import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { encodeFloat } from '#src/core/floats.js';
import { createRandom } from '#src/core/random.js';
import type { GgufOutputTensor } from '#src/formats/gguf/gguf.js';
import { placeGguf } from '#src/formats/gguf/writer.js';
import { median } from './statistics.ts';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const PEER = fileURLToPath(new URL('./llama-quantize.js', import.meta.url));
const LIBRARIES = fileURLToPath(
  new URL('../../node_modules/@node-llama-cpp/linux-x64/bins/linux-x64', import.meta.url),
);

interface Shape {
  readonly width: number;
  readonly forward: number;
  readonly vocabulary: number;
  readonly layers: number;
}

/** 571 million weights, 1.1 GB. */
const SMALL: Shape = { width: 2048, forward: 5632, vocabulary: 32000, layers: 10 };
/** 51 billion weights in the shapes of a LLaMA of 70 billion, 102 GB. */
const HUGE: Shape = { width: 8192, forward: 28672, vocabulary: 128256, layers: 57 };

const TARGETS = [
  { name: 'Q4_K_M', id: 15 },
  { name: 'Q8_0', id: 7 },
  { name: 'Q4_0', id: 2 },
] as const;

interface Run {
  readonly seconds: number;
  readonly peakMB: number;
}

export interface FileFigures {
  readonly oneThreadSeconds: number;
  readonly twoThreadsSeconds: number;
  readonly twoThreadsSpeedup: number;
  readonly peakMB: number;
  readonly peakTwoThreadsMB: number;
  /** Two threads against `cp`, scaled to the bytes that are read and written. */
  readonly ratioToCopy: number;
  /** The same with the copy flushed to the disk, as our output is when the command ends. */
  readonly ratioToFlushedCopy: number;
  /** Absent where the library is not installed. */
  readonly library?: {
    readonly oneThreadSeconds: number;
    readonly twoThreadsSeconds: number;
    readonly fasterOneThread: number;
    readonly fasterTwoThreads: number;
    readonly peakMB: number;
    readonly peakTwoThreadsMB: number;
    /** 1 or 0. */
    readonly sameBytes: number;
  };
}

export interface GgufFigures {
  readonly files: Readonly<Record<string, FileFigures>>;
  readonly huge: {
    readonly gigabytes: number;
    readonly inspectSeconds: number;
    readonly versionSeconds: number;
  };
}

/** Makes its files under the folder for temporary files (about 3 GB while it runs), and removes them. */
export async function benchGguf(runs = 3): Promise<GgufFigures> {
  const folder = mkdtempSync(join(tmpdir(), 'whittle-bench-'));
  try {
    const model = join(folder, 'model-f16.gguf');
    writeModel(model, SMALL, true);
    const files: Record<string, FileFigures> = {};
    for (const target of TARGETS) files[target.name] = compareRuns(folder, model, target, runs);
    rmSync(model);
    return { files, huge: inspectHuge(folder) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function compareRuns(
  folder: string,
  model: string,
  { name, id }: (typeof TARGETS)[number],
  runs: number,
): FileFigures {
  const ours = join(folder, 'ours.gguf');
  const theirs = join(folder, 'theirs.gguf');
  const copy = join(folder, 'copy');
  const peer = existsSync(LIBRARIES);
  const times = {
    one: [] as Run[],
    two: [] as Run[],
    peer: [] as Run[],
    peerTwo: [] as Run[],
    copy: [] as number[],
    flushed: [] as number[],
  };
  // No run replaces the output of another: taking that off the disk is no part of writing a file (0.2 s for 600 MB).
  const afresh = <T>(output: string, run: () => T): T => {
    rmSync(output, { force: true });
    return run();
  };
  for (let run = 0; run < runs; run++) {
    times.one.push(afresh(ours, () => whittle(folder, model, ours, name, 1)));
    if (peer) times.peer.push(afresh(theirs, () => library(model, theirs, id, 1)));
    times.two.push(afresh(ours, () => whittle(folder, model, ours, name, 2)));
    if (peer) times.peerTwo.push(afresh(theirs, () => library(model, theirs, id, 2)));
    times.copy.push(timed('cp', [model, copy]));
    times.flushed.push((times.copy.at(-1) ?? 0) + flushSeconds(copy));
    rmSync(copy);
  }
  const seconds = (list: readonly Run[]): number => median(list.map((run) => run.seconds));
  const peak = (list: readonly Run[]): number => Math.max(...list.map((run) => run.peakMB));
  const outputBytes = statSync(ours).size;
  const inputBytes = statSync(model).size;
  // What `cp` would take to read the input and write no more than the output has.
  const share = (inputBytes + outputBytes) / (2 * inputBytes);
  const copySeconds = median(times.copy) * share;
  const result = {
    oneThreadSeconds: seconds(times.one),
    twoThreadsSeconds: seconds(times.two),
    twoThreadsSpeedup: seconds(times.one) / seconds(times.two),
    peakMB: peak(times.one),
    peakTwoThreadsMB: peak(times.two),
    ratioToCopy: seconds(times.two) / copySeconds,
    ratioToFlushedCopy: seconds(times.two) / (median(times.flushed) * share),
    ...(peer
      ? {
          library: {
            oneThreadSeconds: seconds(times.peer),
            twoThreadsSeconds: seconds(times.peerTwo),
            fasterOneThread: seconds(times.peer) / seconds(times.one),
            fasterTwoThreads: seconds(times.peerTwo) / seconds(times.two),
            peakMB: peak(times.peer),
            peakTwoThreadsMB: peak(times.peerTwo),
            sameBytes: spawnSync('cmp', [ours, theirs]).status === 0 ? 1 : 0,
          },
        }
      : {}),
  };
  rmSync(ours);
  rmSync(theirs, { force: true });
  return result;
}

function whittle(folder: string, model: string, output: string, type: string, threads: number): Run {
  const note = join(folder, 'peak');
  const script =
    `import{writeFileSync}from'node:fs';process.on('exit',()=>` +
    `writeFileSync(${JSON.stringify(note)},String(process.resourceUsage().maxRSS)))`;
  const preload = `data:text/javascript,${encodeURIComponent(script)}`;
  const seconds = timed(process.execPath, [
    '--import',
    preload,
    MAIN,
    'quantize',
    model,
    '--to',
    type,
    '-o',
    output,
    '--force',
    '--no-measure',
    '--threads',
    String(threads),
  ]);
  return { seconds, peakMB: (Number(readFileSync(note, 'utf8')) * 1024) / 1e6 };
}

/** The clock of the library starts when its process is up: that is no part of it. */
function library(model: string, output: string, type: number, threads: number): Run {
  spawnSync('sync');
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [PEER, LIBRARIES, model, output, String(type), String(threads)],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`llama_model_quantize failed: ${stderr}`);
  const run: Run = JSON.parse(stdout);
  return run;
}

/** A model of 100 GB whose payloads were never written: only its head can be read quickly. */
function inspectHuge(folder: string): GgufFigures['huge'] {
  const path = join(folder, 'huge.gguf');
  const bytes = writeModel(path, HUGE, false);
  const args = [MAIN, 'inspect', path];
  const start = median(Array.from({ length: 5 }, () => timed(process.execPath, [MAIN, '--version'])));
  const inspect = median(Array.from({ length: 5 }, () => timed(process.execPath, args)));
  return { gigabytes: bytes / 1e9, inspectSeconds: inspect, versionSeconds: start };
}

/** What is left to write of a file that was just written. */
function flushSeconds(path: string): number {
  const start = performance.now();
  spawnSync('sync', [path]);
  return (performance.now() - start) / 1000;
}

function timed(command: string, args: readonly string[]): number {
  spawnSync('sync');
  const start = performance.now();
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${error?.message ?? stderr}`);
  return (performance.now() - start) / 1000;
}

/** Writes a model; without `filled` the payloads are left out (a sparse file). Returns its size. */
function writeModel(path: string, shape: Shape, filled: boolean): number {
  const { width, forward, vocabulary, layers } = shape;
  const shapes: (readonly [name: string, shape: readonly number[], type: 'f16' | 'f32'])[] = [
    ['token_embd.weight', [width, vocabulary], 'f16'],
    ...Array.from({ length: layers }, (_, i) => layer(i, shape)).flat(),
    ['output_norm.weight', [width], 'f32'],
    ['output.weight', [width, vocabulary], 'f16'],
  ];
  const tensors = shapes.map(
    ([name, shape, type], task): GgufOutputTensor => ({
      name,
      shape,
      type,
      content: { kind: 'task', task },
    }),
  );
  const text = (key: string, value: string) => ({ kind: 'scalar', key, type: 'string', value }) as const;
  const count = (key: string, value: number) => ({ kind: 'scalar', key, type: 'u32', value }) as const;
  const { file, offsets, lengths } = placeGguf({
    name: 'model-f16.gguf',
    alignment: 32,
    tensors,
    metadata: [
      text('general.architecture', 'llama'),
      text('general.name', 'bench'),
      count('llama.block_count', layers),
      count('llama.context_length', 2048),
      count('llama.embedding_length', width),
      count('llama.feed_forward_length', forward),
      count('llama.attention.head_count', 32),
      count('llama.attention.head_count_kv', 4),
      { kind: 'scalar', key: 'llama.attention.layer_norm_rms_epsilon', type: 'f32', value: 1e-5 },
      count('llama.rope.dimension_count', 64),
      count('general.file_type', 1),
      text('tokenizer.ggml.model', 'no_vocab'),
      count('llama.vocab_size', vocabulary),
    ],
  });
  const fd = openSync(path, 'w');
  try {
    for (const segment of file.segments) {
      if (segment.kind === 'bytes') writeSync(fd, segment.bytes, 0, segment.bytes.length, segment.offset);
    }
    if (filled) fill(fd, tensors, offsets, lengths);
  } finally {
    closeSync(fd);
  }
  truncateSync(path, file.size);
  return file.size;
}

function layer(i: number, { width, forward }: Shape) {
  const weight = (name: string, shape: readonly number[], type: 'f16' | 'f32' = 'f16') =>
    [`blk.${i}.${name}.weight`, shape, type] as const;
  return [
    weight('attn_norm', [width], 'f32'),
    weight('attn_q', [width, width]),
    weight('attn_k', [width, width / 8]),
    weight('attn_v', [width, width / 8]),
    weight('attn_output', [width, width]),
    weight('ffn_norm', [width], 'f32'),
    weight('ffn_gate', [width, forward]),
    weight('ffn_up', [width, forward]),
    weight('ffn_down', [forward, width]),
  ];
}

/** Normal values from a table of a million, each piece from another place of it. */
function fill(
  fd: number,
  tensors: readonly GgufOutputTensor[],
  offsets: readonly number[],
  lengths: readonly number[],
): void {
  const random = createRandom(11);
  const table = new Uint16Array((1 << 20) + (1 << 16));
  for (let i = 0; i < table.length; i++) table[i] = encodeFloat('f16', random.normal() * 0.02);
  const ones = Buffer.from(new Float32Array(SMALL.width).fill(1).buffer);
  for (const [i, tensor] of tensors.entries()) {
    const offset = offsets[i] ?? 0;
    const length = lengths[i] ?? 0;
    if (tensor.type === 'f32') {
      writeSync(fd, ones, 0, length, offset);
      continue;
    }
    for (let done = 0; done < length; ) {
      const bytes = Math.min(length - done, 2 << 20);
      const start = (random.uint32() % (1 << 16)) * 2;
      writeSync(fd, new Uint8Array(table.buffer, start, bytes), 0, bytes, offset + done);
      done += bytes;
    }
  }
}
