/**
 * Worker threads that share the jobs with this thread. There is no scheduler: all take the next job from one counter in
 * shared memory, so a thread is never idle while another waits to be told. Where workers cannot be had (no thread support,
 * sources without built files), the caller runs alone.
 */

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { JobResult } from './job.ts';
import { fromPlainError, STOP, type WorkerMessage, type WorkerStart } from './messages.ts';

export interface PoolTotals {
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

export interface Pool {
  /** Settles when every worker has ended: rejects with the first failure. */
  readonly ended: Promise<PoolTotals>;
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
  start: WorkerStart,
  onDone: (result: JobResult, tensor: string, bytes: number) => void,
): Pool {
  let failure: unknown;
  let bytesRead = 0;
  let bytesWritten = 0;
  const fail = (error: unknown): void => {
    failure ??= error;
    Atomics.store(start.control, STOP, 1);
  };
  const runOne = (): Promise<void> =>
    new Promise((resolve) => {
      const worker = new Worker(url, { workerData: start, name: 'whittle' });
      let closed = false;
      worker.on('message', (message: WorkerMessage) => {
        switch (message.kind) {
          case 'done':
            onDone(message.result, message.tensor, message.bytes);
            break;
          case 'failed':
            closed = true;
            fail(fromPlainError(message.error));
            break;
          case 'finished':
            closed = true;
            bytesRead += message.bytesRead;
            bytesWritten += message.bytesWritten;
            break;
          default:
            message satisfies never;
        }
      });
      worker.on('error', fail);
      worker.on('exit', (code) => {
        if (!closed) fail(new Error(`a worker thread ended early (exit code ${code})`));
        resolve();
      });
    });
  const all = Promise.all(Array.from({ length: count }, runOne));
  return {
    ended: all.then(() => {
      if (failure !== undefined) throw failure;
      return { bytesRead, bytesWritten };
    }),
  };
}
