/**
 * Worker threads that share the jobs with this thread. There is no scheduler: all take the next job from one counter in
 * shared memory, so a thread is never idle while another waits to be told. A worker that cannot even start has taken nothing:
 * it is left out, and the caller runs alone if need be.
 */

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { JobResult } from './job.ts';
import {
  FIRST_WORKER,
  fromPlainError,
  NOT_NEEDED,
  STARTING,
  STOP,
  TAKES_PART,
  type WorkerMessage,
  type WorkerStart,
} from './messages.ts';

/** A job leaves little garbage: with the usual room for it a worker would take 4 MB more. */
const YOUNG_MB = 2;

export interface PoolTotals {
  /** Workers that took part. */
  readonly workers: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

export interface Pool {
  /** Settles when every worker has done its part: rejects with the first failure. */
  readonly ended: Promise<PoolTotals>;
  /** No job is left to take: workers that are still starting are not waited for. */
  release(): void;
}

/** The built worker; of a run from sources, that of the last build where there is one. */
export function workerUrl(): URL | undefined {
  const here = new URL('./worker.js', import.meta.url);
  if (existsSync(fileURLToPath(here))) return here;
  const built = new URL('../../dist/execution/worker.js', import.meta.url);
  return existsSync(fileURLToPath(built)) ? built : undefined;
}

export function startPool(
  url: URL,
  count: number,
  start: Omit<WorkerStart, 'slot'>,
  onDone: (result: JobResult, tensor: string, bytes: number) => void,
): Pool {
  const { control } = start;
  let failure: unknown;
  let bytesRead = 0;
  let bytesWritten = 0;
  const fail = (error: unknown): void => {
    failure ??= error;
    Atomics.store(control, STOP, 1);
  };
  const releases: (() => void)[] = [];
  const runOne = (slot: number): Promise<void> =>
    new Promise((resolve) => {
      // Flags of this process are not the worker's: --input-type or a debugger would break it.
      const worker = new Worker(url, {
        workerData: { ...start, slot },
        name: 'whittle',
        execArgv: [],
        resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB },
      });
      const takesPart = (): boolean => Atomics.load(control, slot) === TAKES_PART;
      let closed = false;
      /** Its files are closed by then; the thread may end on its own time. */
      const close = (): void => {
        closed = true;
        worker.unref();
        resolve();
      };
      worker.on('message', (message: WorkerMessage) => {
        switch (message.kind) {
          case 'done':
            onDone(message.result, message.tensor, message.bytes);
            break;
          case 'failed':
            if (takesPart()) fail(fromPlainError(message.error));
            close();
            break;
          case 'finished':
            bytesRead += message.bytesRead;
            bytesWritten += message.bytesWritten;
            close();
            break;
          default:
            message satisfies never;
        }
      });
      worker.on('error', (error) => {
        if (takesPart() && !closed) fail(error);
      });
      worker.on('exit', (code) => {
        if (takesPart() && !closed) fail(new Error(`a worker thread ended early (exit code ${code})`));
        resolve();
      });
      releases.push(() => {
        if (Atomics.compareExchange(control, slot, STARTING, NOT_NEEDED) !== STARTING) return;
        close();
        void worker.terminate();
      });
    });
  const slots = Array.from({ length: count }, (_, i) => FIRST_WORKER + i);
  const all = Promise.all(slots.map(runOne));
  return {
    ended: all.then(() => {
      if (failure !== undefined) throw failure;
      const workers = slots.filter((slot) => Atomics.load(control, slot) === TAKES_PART).length;
      return { workers, bytesRead, bytesWritten };
    }),
    release() {
      for (const release of releases) release();
    },
  };
}
