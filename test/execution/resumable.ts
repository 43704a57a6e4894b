/** A small run with a journal, for tests of stopping and continuing: a model file and its data file with eight weights. */

import { type ExecuteOptions, executeFiles } from '../../src/execution/execute.ts';
import type { OutputFile, TensorBytes } from '../../src/formats/layout.ts';
import { blobSource } from '../../src/io/blob-source.ts';
import type { Disk } from '../../src/io/disk.ts';
import type { ByteSource } from '../../src/io/source.ts';
import { selectKernels } from '../../src/kernels/index.ts';
import type { Operation } from '../../src/numerics/operation.ts';
import type { Task } from '../../src/numerics/task.ts';
import { layoutOf, weightBytes } from './run.ts';

const WEIGHTS = 8;
const ROWS = 64;
const COLUMNS = 48;
const LENGTH = ROWS * COLUMNS * 4;

/** Weights in groups whose windows write in different ways: rows one behind another, and columns of a matrix. */
const operations = (blockSize: 16 | 32): Operation[] =>
  Array.from({ length: WEIGHTS }, (_, i) =>
    i % 2 === 0
      ? {
          kind: 'matmul-nbits',
          from: 'f32',
          rows: ROWS,
          columns: COLUMNS,
          transposed: false,
          bits: 4,
          blockSize,
          symmetric: false,
          scaleType: 'f32',
        }
      : {
          kind: 'ggml',
          from: 'f32',
          to: 'f16',
          rows: ROWS,
          columns: COLUMNS,
          matrixRows: ROWS,
        },
  );

export const payload = Buffer.concat(
  Array.from({ length: WEIGHTS }, (_, i) => weightBytes('f32', ROWS * COLUMNS, i)),
);
export const blob: ByteSource = blobSource(new Blob([payload]), 'in.bin');

export interface SmallRun extends ExecuteOptions {
  readonly source?: ByteSource | undefined;
  readonly directory?: string | undefined;
  readonly disk?: Disk | undefined;
  readonly force?: boolean | undefined;
  readonly settings?: Readonly<Record<string, string>> | undefined;
  readonly blockSize?: 16 | 32 | undefined;
  /** How many of the eight. */
  readonly weights?: number | undefined;
}

/** One set for all runs: an instance for each would cost more than the run. */
const kernels = selectKernels();

/** `m.bin` and `m.bin_data` in `directory`, journaled and made durable after every window. */
export async function smallRun(options: SmallRun) {
  const {
    source = blob,
    directory = '/out',
    disk,
    force,
    blockSize = 32,
    weights = WEIGHTS,
    ...rest
  } = options;
  const all = operations(blockSize).slice(0, weights);
  const tasks: Task<TensorBytes>[] = all.map((operation, id) => ({
    id,
    tensor: `w${id}`,
    operation,
    source: { kind: 'range', source, offset: id * LENGTH, length: LENGTH },
  }));
  const { file: data } = layoutOf('m.bin_data', all, 8);
  const model: OutputFile = {
    name: 'm.bin',
    size: 2020,
    segments: [
      { kind: 'bytes', offset: 0, bytes: new Uint8Array(16).fill(7) },
      { kind: 'copy', offset: 20, length: 2000, source, sourceOffset: 100 },
    ],
  };
  return executeFiles({
    files: [model, data],
    tasks,
    target: { directory, force, disk },
    threads: 1,
    journal: true,
    flushBytes: 1,
    kernels: await kernels,
    ...rest,
  });
}

/** Stops a run when it reports progress for the `count`th time. */
export function stopAfter(count: number): Pick<ExecuteOptions, 'signal' | 'onProgress'> {
  const controller = new AbortController();
  let seen = 0;
  return {
    signal: controller.signal,
    onProgress: () => {
      if (++seen === count) controller.abort();
    },
  };
}
