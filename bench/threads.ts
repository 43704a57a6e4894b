/**
 * Two worker threads against one, the same work for each: 4-bit column blocks over a tile in the cache, so that neither the
 * disk nor the start of a worker counts. Alternating runs; the ratio of the medians, and of the best runs, which says what
 * the code allows where other guests of the machine take a core now and then. 2 is perfect.
 */

import { once } from 'node:events';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { wasmKernels } from '#src/kernels/index.js';
import { median } from './statistics.ts';

const ROWS = 256;
const COLUMNS = 1024;
const PASSES = 400;
const RUNS = 15;

export interface ThreadsResult {
  readonly oneMs: number;
  readonly twoMs: number;
  /** Work per time of two threads ÷ that of one. */
  readonly speedup: number;
  /** The same of the best runs. */
  readonly bestSpeedup: number;
}

export async function benchThreads(): Promise<ThreadsResult> {
  const workers = [0, 1].map(() => new Worker(new URL(import.meta.url)));
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  const time = async (threads: number): Promise<number> => {
    const start = performance.now();
    await Promise.all(
      workers.slice(0, threads).map((worker) => {
        worker.postMessage('go');
        return once(worker, 'message');
      }),
    );
    return performance.now() - start;
  };
  const one: number[] = [];
  const two: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    one.push(await time(1));
    two.push(await time(2));
  }
  await Promise.all(workers.map((worker) => worker.terminate()));
  return {
    oneMs: median(one),
    twoMs: median(two),
    speedup: (2 * median(one)) / median(two),
    bestSpeedup: (2 * Math.min(...one)) / Math.min(...two),
  };
}

async function work(): Promise<void> {
  const kernels = await wasmKernels();
  if (kernels === undefined || parentPort === null) throw new Error('no WebAssembly SIMD here');
  const arena = kernels.arena(ROWS * COLUMNS * 5 + 65_536);
  const tile = arena.f32(ROWS * COLUMNS);
  for (let i = 0; i < tile.length; i++) tile[i] = Math.sin(i * 1.37);
  const packed = arena.u8((ROWS / 2) * COLUMNS);
  const scales = arena.f32((ROWS / 32) * COLUMNS);
  const zeroPoints = new Uint8Array(0);
  const options = { rule: 'nbits', bits: 4, blockSize: 32, symmetric: true, scaleType: 'f32' } as const;
  const port = parentPort;
  port.on('message', () => {
    for (let pass = 0; pass < PASSES; pass++) {
      kernels.quantizeColumnBlocks(
        tile,
        ROWS,
        COLUMNS,
        options,
        packed,
        ROWS / 2,
        scales,
        ROWS / 32,
        zeroPoints,
        0,
      );
    }
    port.postMessage('done');
  });
  port.postMessage('ready');
}

if (!isMainThread) await work();
