/**
 * What is done: results of the jobs, progress, and making it durable. Data first, then the journal's lines about it: a
 * line speaks only of bytes that are on the disk. Flushing goes on while the threads compute, so that little is left at the end.
 */

import type { RunOptions } from '../core/progress.ts';
import type { OutputFile } from '../formats/layout.ts';
import { selectKernels } from '../kernels/index.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { Job, JobResult } from './job.ts';
import type { JobPlan } from './jobs.ts';
import type { JournalRecord } from './journal.ts';
import { aborted } from './messages.ts';
import { nameWindows, recoverFinished, writePadding } from './recover.ts';
import type { OpenTargets } from './targets.ts';

export interface Ledger {
  readonly results: ReadonlyMap<number, JobResult>;
  readonly journaled: boolean;
  readonly bytesResumed: number;
  /** Share of the work that a later run need not do, 0 to 1. */
  readonly share: number;
  /** Finds what an earlier run finished. */
  recover(): Promise<void>;
  add(result: JobResult, tensor: string, bytes: number): void;
  /** Waits for a flush that is under way, and writes down what is not yet; throws what flushing met. */
  settle(): Promise<void>;
}

export interface LedgerOptions extends RunOptions {
  readonly measure?: boolean | undefined;
  readonly flushBytes?: number | undefined;
  readonly kernels?: Kernels | undefined;
}

/** Bytes of work after which the disk is told to start … */
const FLUSH_BYTES = 64 << 20;
/** … and milliseconds after which windows go to the journal, so that a crash costs no more. */
const FLUSH_MS = 2000;

export function createLedger(
  plan: JobPlan,
  sets: readonly { readonly files: readonly OutputFile[] }[],
  targets: OpenTargets,
  options: LedgerOptions,
): Ledger {
  const { flushBytes = FLUSH_BYTES } = options;
  const journaled = targets.resumables.some((resumable) => resumable !== undefined);
  const names = journaled ? nameWindows(plan, sets) : [];
  const bytesOf = new Map<number, number>(plan.jobs.map((job) => [job.id, job.bytes]));
  const results = new Map<number, JobResult>();
  let pending: JobResult[] = [];
  let bytesDone = 0;
  let bytesResumed = 0;
  let bytesKept = 0;
  let unflushed = 0;
  let lastFlush = performance.now();
  let flushing: Promise<void> | undefined;
  let failure: unknown;

  const say = (phase: string, tensor: string): void => {
    options.onProgress?.({ phase, bytesDone, bytesTotal: plan.bytesTotal, tensor });
  };

  const flush = async (): Promise<void> => {
    const done = pending;
    pending = [];
    unflushed = 0;
    await targets.flush();
    const bySet = new Map<number, JournalRecord[]>();
    for (const { id, written, ...result } of done) {
      const window = names[id];
      if (window === undefined || written === undefined) continue;
      const records = bySet.get(window.set) ?? [];
      records.push({ window: window.name, result, written });
      bySet.set(window.set, records);
    }
    for (const [set, records] of bySet) {
      const resumable = targets.resumables[set];
      await resumable?.journal.append(records);
      await resumable?.lock.renew();
    }
    for (const { id, written } of done) if (written !== undefined) bytesKept += bytesOf.get(id) ?? 0;
    lastFlush = performance.now();
  };
  /** One at a time; a failure is kept, and stops the flushing. */
  const startFlush = (): void => {
    flushing = flush()
      .catch((error: unknown) => {
        failure ??= error;
      })
      .finally(() => {
        flushing = undefined;
      });
  };

  return {
    results,
    journaled,
    get bytesResumed() {
      return bytesResumed;
    },
    get share() {
      return plan.bytesTotal === 0 ? 0 : Math.min(1, bytesKept / plan.bytesTotal);
    },
    async recover() {
      const stopped = targets.resumables.map((one) => (one?.continued === true ? one : undefined));
      if (stopped.every((one) => one === undefined)) return;
      for (const [index, { files }] of sets.entries()) {
        for (const [i, layout] of files.entries()) {
          const file = stopped[index]?.files[i];
          if (file !== undefined) await writePadding(file, layout);
        }
      }
      const check = (job: Job): void => {
        if (options.signal?.aborted) throw aborted();
        bytesDone += job.bytes;
        say('checking what is done', job.tensor);
      };
      const measure = options.measure ?? false;
      const kernels = options.kernels ?? (await selectKernels());
      for (const [id, result] of await recoverFinished(plan, names, stopped, measure, kernels, check)) {
        results.set(id, result);
      }
      bytesResumed = bytesDone;
      bytesKept = bytesDone;
    },
    add(result, tensor, bytes) {
      results.set(result.id, result);
      bytesDone += bytes;
      unflushed += bytes;
      if (journaled) pending.push(result);
      const isDue = unflushed >= flushBytes || (journaled && performance.now() - lastFlush >= FLUSH_MS);
      if (isDue && flushing === undefined && failure === undefined) startFlush();
      say('quantizing', tensor);
    },
    async settle() {
      await flushing;
      if (failure !== undefined) throw failure;
      if (pending.length === 0) return;
      startFlush();
      await flushing;
      if (failure !== undefined) throw failure;
    },
  };
}
