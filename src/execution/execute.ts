/**
 * Fills layouts: plans the jobs, runs them on this thread and as few workers as pay off, and makes the files appear when
 * everything is written, flushed and the inputs are still the ones that were opened. One run may fill several outputs
 * (all modes of a model) at once. On any failure or abort nothing is left behind, but for what `resume` can continue
 * (docs/resume.md).
 */

import type { RunOptions } from '../core/progress.ts';
import { EXIT, WhittleError } from '../errors.ts';
import { isFileSource } from '../io/file-source.ts';
import type { ByteSource } from '../io/source.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { fingerprintOf } from './fingerprint.ts';
import { type FilesAndTasks, type JobPlan, planJobs } from './jobs.ts';
import { createLedger } from './ledger.ts';
import { aborted } from './messages.ts';
import type { NonFinitePolicy } from './operations/context.ts';
import { type ExecutionReport, reportSets, type SetReport } from './report.ts';
import { runJobs } from './run-jobs.ts';
import { type Journaling, openTargets, type Target } from './targets.ts';

export type { ExecutionReport, SetReport, TensorReport, WrittenFile } from './report.ts';

export interface OutputSet extends FilesAndTasks {
  readonly target: Target;
  /** What was asked for, by the name of the option: names what changed where another run is continued. */
  readonly settings?: Readonly<Record<string, string>> | undefined;
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
  /**
   * Continue the run that was stopped, where there is one: what it finished is checked and kept. Refused with E_RESUME where
   * input, options or version changed. Only for outputs on disk.
   */
  readonly resume?: boolean | undefined;
  /**
   * Keep a journal, so that a run that is stopped or fails for want of room can be continued with `resume`. `auto` (default): where
   * there is more than a second or so to lose, 64 MiB. Without one nothing is left of such a run.
   */
  readonly journal?: boolean | 'auto' | undefined;
  /** Report the SHA-256 of every file on disk. */
  readonly digest?: boolean | undefined;
  /** Bytes of work after which what is finished is made durable; default 64 MiB. */
  readonly flushBytes?: number | undefined;
}

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
 * @throws WhittleError E_ABORTED, E_NONFINITE, E_TRUNCATED, E_INPUT_CHANGED, E_OUTPUT_EXISTS, E_OUTPUT_IS_INPUT, E_LOCKED,
 * E_RESUME, E_NO_SPACE, E_ACCESS, E_NOT_FOUND, E_IO.
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
  const targets = await openTargets(sets, inputs, await journaling(plan, sets, options));
  const ledger = createLedger(plan, sets, targets, options);
  try {
    await ledger.recover();
    const outcome = await runJobs(plan, targets, ledger, options);
    for (const source of new Set(inputs)) if (isFileSource(source)) await source.assertUnchanged();
    if (options.signal?.aborted) throw aborted();
    // Flushing waits for the disk, digesting for the processor: both at once.
    const digests =
      options.digest === true ? (await Promise.all([targets.digests(), targets.flush()]))[0] : [];
    if (options.prove !== undefined) await targets.stage(options.prove);
    if (options.signal?.aborted) throw aborted();
    await targets.commit();
    return {
      sets: reportSets(plan, sets, ledger.results, {
        paths: targets.paths,
        measured: options.measure ?? false,
        digests,
      }),
      bytesRead: outcome.bytesRead,
      bytesWritten: outcome.bytesWritten,
      bytesResumed: ledger.bytesResumed,
      bytesTotal: plan.bytesTotal,
      threads: outcome.threads,
      seconds: (performance.now() - started) / 1000,
    };
  } catch (error) {
    const keep = targets.resumables.some((resumable) => resumable !== undefined) && leavesWork(error);
    if (keep) await ledger.settle().catch(() => undefined);
    await targets.abort(keep);
    throw keep ? sayHowToResume(error, ledger.share, targets.paths[0]?.[0]) : error;
  }
}

/** Work below which a stopped run is not worth continuing. */
const WORTH_A_JOURNAL = 64 << 20;

async function journaling(
  plan: JobPlan,
  sets: readonly OutputSet[],
  options: ExecuteOptions,
): Promise<Journaling | undefined> {
  const { resume = false, journal = 'auto', nonFinite = 'error' } = options;
  const wanted = resume || journal === true || (journal === 'auto' && plan.bytesTotal >= WORTH_A_JOURNAL);
  if (!wanted || sets.every(({ target }) => 'sinks' in target)) return undefined;
  return {
    resume,
    fingerprints: await Promise.all(sets.map((set) => fingerprintOf(set, nonFinite, set.settings))),
  };
}

/** Whether what was done is good for a later run: the user stopped it, the machine failed it, or a bug did. */
function leavesWork(error: unknown): boolean {
  return (
    !(error instanceof WhittleError) || error.exitCode === EXIT.interrupted || error.exitCode === EXIT.io
  );
}

function sayHowToResume(error: unknown, share: number, file: string | undefined): unknown {
  if (!(error instanceof WhittleError)) return error;
  const done = `Run the same command with --resume to continue: ${Math.floor(share * 100)} % is done.`;
  const { hint, ...details } = error.details;
  const isStop = error.code === 'E_ABORTED';
  const told = new WhittleError(error.code, error.message, {
    ...details,
    file: details.file ?? file,
    hint: isStop || hint === undefined ? done : `${hint} ${done}`,
  });
  if (error.stack !== undefined) told.stack = error.stack;
  return told;
}
