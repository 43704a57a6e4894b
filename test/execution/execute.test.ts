/** Whole runs on disk: threads, aborts, changed inputs, several outputs at once. */

import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { type ExecuteOptions, executeFiles, executeSets } from '../../src/execution/execute.ts';
import { planJobs } from '../../src/execution/jobs.ts';
import { workerUrl } from '../../src/execution/pool.ts';
import type { OutputFile, TensorBytes } from '../../src/formats/layout.ts';
import { blobSource } from '../../src/io/blob-source.ts';
import { openFile } from '../../src/io/file-source.ts';
import type { ByteSource } from '../../src/io/source.ts';
import { referenceKernels } from '../../src/kernels/index.ts';
import type { Kernels } from '../../src/kernels/kernels.ts';
import type { Operation } from '../../src/numerics/operation.ts';
import type { Task } from '../../src/numerics/task.ts';
import { layoutOf, weightBytes } from './run.ts';

const root = mkdtempSync(join(tmpdir(), 'whittle-execute-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
const folder = (): string => {
  const path = join(root, String(folders++));
  mkdirSync(path);
  return path;
};

const nbits = (rows: number, columns: number): Operation => ({
  kind: 'matmul-nbits',
  from: 'f32',
  rows,
  columns,
  transposed: false,
  bits: 4,
  blockSize: 32,
  symmetric: false,
  scaleType: 'f32',
});
const int8 = (rows: number, columns: number): Operation => ({
  kind: 'affine',
  from: 'f32',
  shape: [rows, columns],
  type: 'int8',
  axis: 1,
  symmetric: true,
  reduceRange: false,
  scaleType: 'f32',
});

const SHAPES = [
  [96, 40],
  [33, 7],
  [256, 64],
  [1, 1],
  [64, 130],
] as const;
const operations = SHAPES.map(([rows, columns], i) =>
  i % 2 === 0 ? nbits(rows, columns) : int8(rows, columns),
);
const payload = Buffer.concat(SHAPES.map(([rows, columns], i) => weightBytes('f32', rows * columns, i)));

function tasksOn(source: ByteSource): Task<TensorBytes>[] {
  let offset = 0;
  return operations.map((operation, id) => {
    const [rows, columns] = SHAPES[id] ?? [0, 0];
    const length = rows * columns * 4;
    const task: Task<TensorBytes> = {
      id,
      tensor: `layer.${id}`,
      operation,
      source: { kind: 'range', source, offset, length },
    };
    offset += length;
    return task;
  });
}

async function run(directory: string, source: ByteSource, options: ExecuteOptions): Promise<Buffer> {
  const { file } = layoutOf('model.onnx', operations, 5);
  await executeFiles({ files: [file], tasks: tasksOn(source), target: { directory }, ...options });
  return readFileSync(join(directory, 'model.onnx'));
}

const note = workerUrl() === undefined ? ' (skipped: needs dist, run `npm run build`)' : '';

test.skipIf(workerUrl() === undefined)(
  `1, 2 and 3 threads, a Blob and a file write the same bytes and the same report${note}`,
  async () => {
    const directory = folder();
    const input = join(directory, 'in.bin');
    writeFileSync(input, payload);
    const source = await openFile(input);
    const wanted = await run(folder(), blobSource(new Blob([payload])), {});
    const reports = [];
    for (const threads of [1, 2, 3]) {
      const target = folder();
      const { file } = layoutOf('model.onnx', operations, 5);
      const report = await executeFiles({
        files: [file],
        tasks: tasksOn(source),
        target: { directory: target },
        threads,
        bytesPerWorker: 1,
        measure: true,
        kernels: threads === 1 ? referenceKernels() : pausingKernels(),
      });
      expect(report.threads).toBeGreaterThanOrEqual(Math.min(threads, 2));
      expect(readFileSync(join(target, 'model.onnx')).equals(wanted), `${threads} threads`).toBe(true);
      expect(report.bytesWritten).toBe(operationsBytes(file));
      reports.push({ tensors: report.tensors, sqnr: report.sqnr });
      expect(readdirSync(target)).toEqual(['model.onnx']);
    }
    expect(reports[1]).toEqual(reports[0]);
    expect(reports[2]).toEqual(reports[0]);
    expect(reports[0]?.sqnr).toBeGreaterThan(15);
    await source.close();
  },
);

/** Kernels of this thread that rest in their first job, so that workers get to take the others. */
function pausingKernels(): Kernels {
  const kernels = referenceKernels();
  let rested = false;
  return {
    ...kernels,
    arena(bytes) {
      if (!rested) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1200);
      rested = true;
      return kernels.arena(bytes);
    },
  };
}

function operationsBytes(file: OutputFile): number {
  return file.segments.reduce((sum, part) => sum + (part.kind === 'part' ? part.length : 0), 0);
}

test.each([1, 3])('an abort stops the run and leaves nothing (%i threads)', async (threads) => {
  const directory = folder();
  const input = join(folder(), 'in.bin');
  writeFileSync(input, payload);
  const source = await openFile(input);
  const controller = new AbortController();
  const running = run(directory, source, {
    threads,
    bytesPerWorker: 1,
    signal: controller.signal,
    onProgress: () => controller.abort(),
  });
  await expect(running).rejects.toMatchObject({ code: 'E_ABORTED' });
  expect(readdirSync(directory)).toEqual([]);
  await expect(run(directory, source, { signal: controller.signal })).rejects.toMatchObject({
    code: 'E_ABORTED',
  });
  await source.close();
});

test('NaN and Inf are refused with the tensor and the element, or kept and counted', async () => {
  const values = new Float32Array(weightBytes('f32', 96 * 40, 0).buffer);
  values[77] = Number.NaN;
  values[78] = Number.POSITIVE_INFINITY;
  const bytes = new Uint8Array(values.buffer);
  const operation = nbits(96, 40);
  const { file } = layoutOf('m', [operation]);
  const tasks: Task<TensorBytes>[] = [
    { id: 0, tensor: 'enc.w', operation, source: { kind: 'inline', bytes } },
  ];
  const directory = folder();
  const set = { files: [file], tasks, target: { directory } };
  await expect(executeFiles(set)).rejects.toMatchObject({
    code: 'E_NONFINITE',
    message: expect.stringContaining('NaN at element 77'),
    details: { tensor: 'enc.w' },
  });
  expect(readdirSync(directory)).toEqual([]);
  const report = await executeFiles({ ...set, nonFinite: 'keep' });
  expect(report.tensors).toEqual([{ tensor: 'enc.w', task: 0, count: 3840, nonFinite: 2 }]);
});

test('an input that shrinks or changes during the run is noticed, and nothing appears', async () => {
  for (const change of ['shrink', 'touch'] as const) {
    const directory = folder();
    const input = join(folder(), 'in.bin');
    writeFileSync(input, payload);
    const source = await openFile(input);
    if (change === 'shrink') truncateSync(input, 100);
    else writeFileSync(input, Buffer.concat([payload, Buffer.of(1)]));
    const error = run(directory, source, { threads: 1 });
    await expect(error).rejects.toMatchObject({
      code: change === 'shrink' ? 'E_TRUNCATED' : 'E_INPUT_CHANGED',
    });
    expect(readdirSync(directory)).toEqual([]);
    await source.close();
  }
});

test('a tensor whose range is shorter than its shape is refused before bytes of a neighbour are read', async () => {
  const source = blobSource(new Blob([payload]));
  const operation = nbits(96, 40);
  const { file } = layoutOf('m', [operation]);
  const short: TensorBytes = { kind: 'range', source, offset: 0, length: 96 * 40 * 4 - 4 };
  await expect(
    executeFiles({
      files: [file],
      tasks: [{ id: 0, tensor: 'w', operation, source: short }],
      target: { directory: folder() },
    }),
  ).rejects.toMatchObject({ code: 'E_TENSOR_SIZE', details: { tensor: 'w' } });
});

test('several outputs are written in one run; copies and literals land in their places; all or none appear', async () => {
  const directory = folder();
  const input = join(folder(), 'in.bin');
  writeFileSync(input, payload);
  const source = await openFile(input);
  const copied: OutputFile = {
    name: 'copy.onnx',
    size: 300,
    segments: [
      { kind: 'bytes', offset: 0, bytes: Uint8Array.of(1, 2, 3) },
      { kind: 'copy', offset: 10, length: 200, source, sourceOffset: 40 },
    ],
  };
  const { file } = layoutOf('q4.onnx', operations);
  const sets = [
    { files: [copied], tasks: [], target: { directory } },
    { files: [file], tasks: tasksOn(source), target: { directory } },
  ];
  const phases: number[] = [];
  const report = await executeSets(sets, {
    onProgress: ({ bytesDone, bytesTotal }) => phases.push(bytesDone / bytesTotal),
  });
  const content = readFileSync(join(directory, 'copy.onnx'));
  expect(content.length).toBe(300);
  expect([...content.subarray(0, 10)]).toEqual([1, 2, 3, 0, 0, 0, 0, 0, 0, 0]);
  expect(content.subarray(10, 210).equals(payload.subarray(40, 240))).toBe(true);
  expect(report.sets.map((set) => set.files)).toEqual([
    [{ path: join(directory, 'copy.onnx'), bytes: 300 }],
    [{ path: join(directory, 'q4.onnx'), bytes: file.size }],
  ]);
  expect(phases.at(-1)).toBeCloseTo(1, 9);

  const second = folder();
  writeFileSync(join(second, 'q4.onnx'), 'mine');
  const elsewhere = sets.map((set) => ({ ...set, target: { directory: second } }));
  await expect(executeSets(elsewhere)).rejects.toMatchObject({ code: 'E_OUTPUT_EXISTS' });
  expect(readdirSync(second)).toEqual(['q4.onnx']);
  const twice = [sets[0], sets[0]].flatMap((set) => set ?? []);
  await expect(executeSets(twice)).rejects.toMatchObject({ code: 'E_OUTPUT_EXISTS' });
  await source.close();
});

test('a plan cuts large tensors so that threads share them and memory stays bounded, whatever the number of threads', () => {
  const source = { name: 'x', size: 1 << 30, readInto: async () => undefined, close: async () => undefined };
  const plan = (rows: number, columns: number, count: number) => {
    const operation = nbits(rows, columns);
    const tasks = Array.from({ length: count }, (_, id) => ({
      id,
      tensor: `w${id}`,
      operation,
      source: { kind: 'range' as const, source, offset: 0, length: rows * columns * 4 },
    }));
    const { file } = layoutOf(
      'm',
      tasks.map((task) => task.operation),
    );
    return planJobs([{ files: [file], tasks }]).jobs;
  };
  expect(plan(4096, 4096, 8)).toHaveLength(8);
  expect(plan(4096, 4096, 1).length).toBeGreaterThanOrEqual(4);
  for (const job of plan(4096, 128_256, 1)) {
    expect(((job.window.end - job.window.start) * 4096) / 2).toBeLessThanOrEqual(12 << 20);
  }
  expect(plan(16, 16, 1)).toHaveLength(1);
});
