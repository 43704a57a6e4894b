/**
 * Fills layouts: plans the jobs, runs them on this thread and as few workers as pay off, and makes the files appear when
 * everything is written, flushed and the inputs are still the ones that were opened. One run may fill several outputs
 * (all modes of a model) at once. On any failure or abort nothing is left behind.
 */

import { availableParallelism } from 'node:os';
import type { RunOptions } from '../core/progress.ts';
import { WhittleError } from '../errors.ts';
import { isFileSource } from '../io/file-source.ts';
import type { ByteSource } from '../io/source.ts';
import { selectKernels } from '../kernels/index.ts';
import type { ErrorSums, Kernels } from '../kernels/kernels.ts';
import { createMixedAccess, fileEntry } from './access.ts';
import type { Job, JobResult, JobSource } from './job.ts';
import { type FilesAndTasks, type JobPlan, planJobs } from './jobs.ts';
import { aborted, FIRST_WORKER, NEXT, STOP } from './messages.ts';
import type { NonFinitePolicy } from './operations/context.ts';
import { addSums, sqnr } from './operations/sums.ts';
import { type Pool, type PoolTotals, startPool, workerUrl } from './pool.ts';
import { type JobOptions, runJob } from './run-job.ts';
import { type OpenTargets, openTargets, type Target } from './targets.ts';

export interface OutputSet extends FilesAndTasks {
  readonly target: Target;
}

export interface ExecuteOptions extends RunOptions {
  /** Threads that compute, this one included; default: all cores. 1 starts no worker. */
  readonly threads?: number | undefined;
  /** Dequantize every tile again and report SQNR and the largest error. */
  readonly measure?: boolean | undefined;
  /** NaN and Inf among weights: refuse (default), or take them as they come. Conversions and copies never refuse. */
  readonly nonFinite?: NonFinitePolicy | undefined;
  /** Files that were read besides the tasks' sources: must not be overwritten, nor change during the run. */
  readonly inputs?: readonly ByteSource[] | undefined;
  /**
   * Looks at the complete files before they appear: for each output the paths, model first, under their final bare names
   * in a folder of their own. What it throws ends the run, and nothing appears. Not called for sinks of the caller.
   */
  readonly prove?: ((outputs: readonly (readonly string[])[]) => Promise<void>) | undefined;
  /** Default: the fastest that this machine runs. */
  readonly kernels?: Kernels | undefined;
  /** Bytes of work that justify a worker thread; default 24 MiB. */
  readonly bytesPerWorker?: number | undefined;
  /** Bytes of one tile of f32; default 1 MiB. */
  readonly tileBytes?: number | undefined;
}

export interface TensorReport {
  readonly tensor: string;
  readonly task: number;
  readonly count: number;
  readonly nonFinite: number;
  /** dB; Infinity where nothing is lost. Present when measured. */
  readonly sqnr?: number | undefined;
  readonly maxAbs?: number | undefined;
}

export interface SetReport {
  /** Where the files are: model first, then its data files. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  readonly tensors: readonly TensorReport[];
  /** Over all measured weights, dB. */
  readonly sqnr?: number | undefined;
}

export interface ExecutionReport {
  readonly sets: readonly SetReport[];
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly seconds: number;
  /** Threads that were used. */
  readonly threads: number;
}

/** Below this much work a worker costs more than it gives (about 40 ms until it computes). */
const WORTH_A_WORKER = 24 << 20;
/** More share one disk and one memory without gain. */
const MAX_WORKERS = 64;
/** Inline bytes above this are not copied to workers; this thread has them already. */
const MAX_SHARED_INLINE = 1 << 20;
/** Output bytes after which the disk is told to start. */
const FLUSH_EVERY = 16 << 20;
/** This thread lets others (signals, progress, messages) have a turn at least so often, milliseconds. */
const TURN_MS = 12;

/** Fills one output. See `executeSets`. */
export async function executeFiles(
  options: OutputSet & ExecuteOptions,
): Promise<SetReport & Omit<ExecutionReport, 'sets'>> {
  const { sets, ...totals } = await executeSets([options], options);
  const [report] = sets;
  if (report === undefined) throw new Error('a run without a report');
  return { ...report, ...totals };
}

/**
 * Fills several outputs in one run; all of them appear, or none.
 * @throws WhittleError E_ABORTED, E_NONFINITE, E_TRUNCATED, E_INPUT_CHANGED, E_OUTPUT_EXISTS, E_OUTPUT_IS_INPUT,
 * E_NO_SPACE, E_ACCESS, E_NOT_FOUND, E_IO.
 */
export async function executeSets(
  sets: readonly OutputSet[],
  options: ExecuteOptions = {},
): Promise<ExecutionReport> {
  const plan = planJobs(sets);
  return executePlanned(plan, sets, options);
}

/** Runs jobs that were planned elsewhere (the dequantize command plans its own). */
export async function executePlanned(
  plan: JobPlan,
  sets: readonly OutputSet[],
  options: ExecuteOptions,
): Promise<ExecutionReport> {
  const started = performance.now();
  if (options.signal?.aborted) throw aborted();
  const inputs = [...plan.sources, ...(options.inputs ?? [])];
  const targets = await openTargets(sets, inputs);
  try {
    const outcome = await runJobs(plan, targets, options);
    for (const source of new Set(inputs)) if (isFileSource(source)) await source.assertUnchanged();
    if (options.signal?.aborted) throw aborted();
    if (options.prove !== undefined) await targets.stage(options.prove);
    if (options.signal?.aborted) throw aborted();
    await targets.commit();
    return {
      sets: report(plan, sets, targets, outcome.results, options.measure ?? false),
      bytesRead: outcome.bytesRead,
      bytesWritten: outcome.bytesWritten,
      threads: outcome.threads,
      seconds: (performance.now() - started) / 1000,
    };
  } catch (error) {
    await targets.abort();
    throw error;
  }
}

interface Outcome extends Omit<PoolTotals, 'workers'> {
  readonly results: ReadonlyMap<number, JobResult>;
  readonly threads: number;
}

async function runJobs(plan: JobPlan, targets: OpenTargets, options: ExecuteOptions): Promise<Outcome> {
  const { jobs, sources } = plan;
  const access = createMixedAccess(sources, targets.sinks);
  const control = new Int32Array(new SharedArrayBuffer((FIRST_WORKER + MAX_WORKERS) * 4));
  const jobOptions: JobOptions = {
    nonFinite: options.nonFinite ?? 'error',
    measure: options.measure ?? false,
    tileBytes: options.tileBytes,
  };
  const results = new Map<number, JobResult>();
  const progress = trackProgress(plan, targets, options);
  const done = (result: JobResult, tensor: string, bytes: number): void => {
    results.set(result.id, result);
    progress.add(tensor, bytes);
  };
  const checkpoint = createCheckpoint(control, options.signal);
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
      pool = startPool(url, workers, { jobs: shared, ...tables, options: jobOptions, control }, done);
      // Looked at below; until then a failure must not count as unhandled.
      pool.ended.catch(() => undefined);
    }
    for (const { target, offset, bytes } of plan.literals) {
      await access.write(target, offset, bytes);
    }
    const kernels = options.kernels ?? (await selectKernels());
    for (const job of local) {
      await checkpoint();
      done(await runJob(job, kernels, access, jobOptions, checkpoint), job.tensor, job.bytes);
    }
    for (;;) {
      await checkpoint();
      const job = shared[Atomics.add(control, NEXT, 1)];
      if (job === undefined) break;
      done(await runJob(job, kernels, access, jobOptions, checkpoint), job.tensor, job.bytes);
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
  await progress.settle().catch((error: unknown) => errors.push(error));
  if (options.signal?.aborted) throw aborted();
  if (errors.length > 0) throw firstCause(errors);
  return {
    results,
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
function workerCount(shared: readonly Job[], options: ExecuteOptions): number {
  const bytes = shared.reduce((sum, job) => sum + job.bytes, 0);
  const threads = Math.max(1, Math.floor(options.threads ?? availableParallelism()));
  const worth = options.bytesPerWorker ?? WORTH_A_WORKER;
  if (bytes < worth) return 0;
  return Math.max(0, Math.min(MAX_WORKERS, threads - 1, shared.length - 1, Math.ceil(bytes / worth)));
}

/** Throws E_ABORTED once the run is to stop, and gives the event loop a turn now and then. */
function createCheckpoint(
  control: Int32Array<SharedArrayBuffer>,
  signal: AbortSignal | undefined,
): () => Promise<void> | void {
  let last = performance.now();
  const assertRunning = (): void => {
    if (signal?.aborted || Atomics.load(control, STOP) !== 0) throw aborted();
  };
  return () => {
    assertRunning();
    const now = performance.now();
    if (now - last < TURN_MS) return;
    return new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      last = performance.now();
      assertRunning();
    });
  };
}

interface ProgressTracker {
  add(tensor: string, bytes: number): void;
  /** Waits for a flush that is under way; throws what it met. */
  settle(): Promise<void>;
}

function trackProgress(plan: JobPlan, targets: OpenTargets, options: ExecuteOptions): ProgressTracker {
  let bytesDone = 0;
  let unflushed = 0;
  let flushing: Promise<void> | undefined;
  let failure: unknown;
  return {
    add(tensor, bytes) {
      bytesDone += bytes;
      unflushed += bytes;
      if (unflushed >= FLUSH_EVERY * 4 && flushing === undefined) {
        unflushed = 0;
        flushing = targets
          .flush()
          .catch((error: unknown) => {
            failure ??= error;
          })
          .finally(() => {
            flushing = undefined;
          });
      }
      options.onProgress?.({ phase: 'quantizing', bytesDone, bytesTotal: plan.bytesTotal, tensor });
    },
    async settle() {
      await flushing;
      if (failure !== undefined) throw failure;
    },
  };
}

function report(
  plan: JobPlan,
  sets: readonly OutputSet[],
  targets: OpenTargets,
  results: ReadonlyMap<number, JobResult>,
  measured: boolean,
): SetReport[] {
  return sets.map((set, index) => {
    const tensors = new Map<number, { count: number; nonFinite: number; sums: ErrorSums | undefined }>();
    let whole: ErrorSums | undefined;
    for (const [id, origin] of plan.origins.entries()) {
      const result = results.get(id);
      if (origin === undefined || origin.set !== index || result === undefined) continue;
      const known = tensors.get(origin.task) ?? { count: 0, nonFinite: 0, sums: undefined };
      tensors.set(origin.task, {
        count: known.count + result.count,
        nonFinite: known.nonFinite + result.nonFinite,
        sums: merge(known.sums, result.sums),
      });
      whole = merge(whole, result.sums);
    }
    return {
      files: set.files.map((file, i) => ({
        path: targets.paths[index]?.[i] ?? file.name,
        bytes: file.size,
      })),
      tensors: [...set.tasks, ...(set.restorations ?? [])].map((task) => {
        const { count, nonFinite, sums } = tensors.get(task.id) ?? {
          count: 0,
          nonFinite: 0,
          sums: undefined,
        };
        const base = { tensor: task.tensor, task: task.id, count, nonFinite };
        return sums === undefined ? base : { ...base, sqnr: sqnr(sums), maxAbs: sums.maxAbs };
      }),
      ...(measured && whole !== undefined ? { sqnr: sqnr(whole) } : {}),
    };
  });
}

function merge(a: ErrorSums | undefined, b: ErrorSums | undefined): ErrorSums | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return addSums(a, b);
}
