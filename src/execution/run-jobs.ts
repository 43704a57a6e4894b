/**
 * Runs jobs on this thread and as few workers as pay off. Threads take the next job from one counter (pool.ts), the largest
 * first; jobs whose bytes a worker cannot reach by itself (Blobs, sinks of the caller) run here.
 */

import { availableParallelism } from 'node:os';
import { WhittleError } from '../errors.ts';
import type { ByteSource } from '../io/source.ts';
import { selectKernels } from '../kernels/index.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { createMixedAccess, fileEntry } from './access.ts';
import { createCheckpoint } from './checkpoint.ts';
import type { Job, JobSource } from './job.ts';
import { packJobs } from './job-list.ts';
import type { JobPlan } from './jobs.ts';
import type { Ledger } from './ledger.ts';
import { aborted, FIRST_WORKER, NEXT, STOP } from './messages.ts';
import type { NonFinitePolicy } from './operations/context.ts';
import { type Pool, type PoolTotals, startPool, workerUrl } from './pool.ts';
import { type JobOptions, runJob } from './run-job.ts';
import type { OpenTargets } from './targets.ts';
import { trackWrites } from './written.ts';

/** Below this much work a worker costs more than it gives (about 40 ms until it computes). */
const WORTH_A_WORKER = 24 << 20;
/** More share one disk and one memory without gain. */
const MAX_WORKERS = 64;
/** Inline bytes above this are not copied to workers; this thread has them already. */
const MAX_SHARED_INLINE = 1 << 20;

export interface RunJobsOptions {
  readonly threads?: number | undefined;
  readonly measure?: boolean | undefined;
  readonly nonFinite?: NonFinitePolicy | undefined;
  readonly kernels?: Kernels | undefined;
  readonly bytesPerWorker?: number | undefined;
  readonly tileBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface JobTotals extends Omit<PoolTotals, 'workers'> {
  /** Threads that were used. */
  readonly threads: number;
}

/** Runs the jobs that the ledger does not hold yet. @throws the failure that stopped the run; E_ABORTED */
export async function runJobs(
  plan: JobPlan,
  targets: OpenTargets,
  ledger: Ledger,
  options: RunJobsOptions,
): Promise<JobTotals> {
  const { sources } = plan;
  const jobs = plan.jobs.filter((job) => !ledger.results.has(job.id));
  const access = createMixedAccess(sources, targets.sinks);
  const control = new Int32Array(new SharedArrayBuffer((FIRST_WORKER + MAX_WORKERS) * 4));
  const jobOptions: JobOptions = {
    nonFinite: options.nonFinite ?? 'error',
    measure: options.measure ?? false,
    tileBytes: options.tileBytes,
    note: ledger.journaled,
  };
  const track = ledger.journaled ? trackWrites : undefined;
  const checkpoint = createCheckpoint(options.signal, () => Atomics.load(control, STOP) !== 0);
  const stop = (): void => {
    Atomics.store(control, STOP, 1);
  };
  options.signal?.addEventListener('abort', stop, { once: true });

  const isShared = (job: Job): boolean => canShare(job, sources, targets.sinks);
  const local = jobs.filter((job) => !isShared(job));
  // The largest first: the small ones fill the gaps at the end.
  const shared = jobs.filter(isShared).sort((a, b) => b.bytes - a.bytes || a.id - b.id);
  let pool: Pool | undefined;
  const errors: unknown[] = [];
  try {
    const url = workerUrl();
    const workers = url === undefined ? 0 : workerCount(shared, options);
    if (url !== undefined && workers > 0) {
      const tables = { sources: sources.map(fileEntry), targets: targets.sinks.map(fileEntry) };
      pool = startPool(
        url,
        workers,
        { jobs: packJobs(shared), ...tables, options: jobOptions, control },
        ledger.add,
      );
      // Looked at below; until then a failure must not count as unhandled.
      pool.ended.catch(() => undefined);
    }
    for (const { target, offset, bytes } of plan.literals) {
      await access.write(target, offset, bytes);
    }
    const kernels = options.kernels ?? (await selectKernels());
    for (const job of local) {
      await checkpoint();
      ledger.add(await runJob(job, kernels, access, jobOptions, checkpoint, track), job.tensor, job.bytes);
    }
    for (;;) {
      await checkpoint();
      const job = shared[Atomics.add(control, NEXT, 1)];
      if (job === undefined) break;
      ledger.add(await runJob(job, kernels, access, jobOptions, checkpoint, track), job.tensor, job.bytes);
    }
  } catch (error) {
    errors.push(error);
    stop();
  }
  let others: PoolTotals = { workers: 0, bytesRead: 0, bytesWritten: 0 };
  try {
    pool?.release();
    if (pool !== undefined) others = await pool.ended;
  } catch (error) {
    errors.push(error);
  }
  options.signal?.removeEventListener('abort', stop);
  access.close();
  await ledger.settle().catch((error: unknown) => errors.push(error));
  if (options.signal?.aborted) throw aborted();
  if (errors.length > 0) throw firstCause(errors);
  return {
    threads: others.workers + 1,
    bytesRead: access.bytesRead + others.bytesRead,
    bytesWritten: access.bytesWritten + others.bytesWritten,
  };
}

/** The failure that stopped the run, not the stops that it caused. */
function firstCause(errors: readonly unknown[]): unknown {
  const cause = errors.find((error) => !(error instanceof WhittleError && error.code === 'E_ABORTED'));
  return cause ?? errors[0];
}

/** Workers open files by themselves: everything the job touches must be one. */
function canShare(
  job: Job,
  sources: readonly ByteSource[],
  sinks: readonly { readonly path?: string | undefined }[],
): boolean {
  if (job.outputs.some((output) => sinks[output.target]?.path === undefined)) return false;
  const own = sourcesOf(job);
  return own.every((source) =>
    source.kind === 'inline'
      ? source.bytes.length <= MAX_SHARED_INLINE
      : sources[source.index]?.path !== undefined,
  );
}

function sourcesOf(job: Job): JobSource[] {
  if (job.kind === 'dequantize') return Object.values(job.sources);
  const { source, importance } = job;
  if (importance === undefined) return [source];
  return [source, importance.values, ...(importance.counts === undefined ? [] : [importance.counts])];
}

/** How many workers to start beside this thread. */
function workerCount(shared: readonly Job[], options: RunJobsOptions): number {
  const bytes = shared.reduce((sum, job) => sum + job.bytes, 0);
  const threads = Math.max(1, Math.floor(options.threads ?? availableParallelism()));
  const worth = options.bytesPerWorker ?? WORTH_A_WORKER;
  if (bytes < worth) return 0;
  return Math.max(0, Math.min(MAX_WORKERS, threads - 1, shared.length - 1, Math.ceil(bytes / worth)));
}
