/**
 * A worker thread: takes the next job from the shared counter until there is none, reads and writes files by itself, and
 * reports. It looks at the stop flag before every tile.
 */

import { parentPort, workerData } from 'node:worker_threads';
import { selectKernels } from '../kernels/index.ts';
import { createFileAccess } from './access.ts';
import { jobReader } from './job-list.ts';
import {
  aborted,
  NEXT,
  STARTING,
  STOP,
  TAKES_PART,
  toPlainError,
  type WorkerMessage,
  type WorkerStart,
} from './messages.ts';
import { runJob } from './run-job.ts';
import { trackWrites } from './written.ts';

async function work(start: WorkerStart, post: (message: WorkerMessage) => void): Promise<void> {
  const { control, options } = start;
  const jobAt = jobReader(start.jobs);
  const track = options.note === true ? trackWrites : undefined;
  const access = createFileAccess(start.sources, start.targets);
  const checkpoint = (): void => {
    if (Atomics.load(control, STOP) !== 0) throw aborted();
  };
  try {
    const kernels = await selectKernels();
    // Too late: the others have taken all jobs meanwhile.
    if (Atomics.compareExchange(control, start.slot, STARTING, TAKES_PART) !== STARTING) return;
    for (;;) {
      checkpoint();
      const job = jobAt(Atomics.add(control, NEXT, 1));
      if (job === undefined) break;
      const result = await runJob(job, kernels, access, options, checkpoint, track);
      post({ kind: 'done', result, tensor: job.tensor, bytes: job.bytes });
    }
    access.close();
    post({ kind: 'finished', bytesRead: access.bytesRead, bytesWritten: access.bytesWritten });
  } catch (error) {
    Atomics.store(control, STOP, 1);
    access.close();
    post({ kind: 'failed', error: toPlainError(error) });
  }
}

const port = parentPort;
if (port !== null) {
  const start: WorkerStart = workerData;
  await work(start, (message) => port.postMessage(message));
}
