/** What is said of a run when it is over: files, and what became of each weight. */

import type { ErrorSums } from '../kernels/kernels.ts';
import type { JobResult } from './job.ts';
import type { FilesAndTasks, JobPlan } from './jobs.ts';
import { addSums, sqnr } from './operations/sums.ts';

export interface TensorReport {
  readonly tensor: string;
  readonly task: number;
  readonly count: number;
  readonly nonFinite: number;
  /** dB; Infinity where nothing is lost. Present when measured. */
  readonly sqnr?: number | undefined;
  readonly maxAbs?: number | undefined;
}

export interface WrittenFile {
  readonly path: string;
  readonly bytes: number;
  /** Hex; present on request (`digest`) for files on disk. */
  readonly sha256?: string | undefined;
}

export interface SetReport {
  /** Where the files are: model first, then its data files. */
  readonly files: readonly WrittenFile[];
  readonly tensors: readonly TensorReport[];
  /** Over all measured weights, dB. */
  readonly sqnr?: number | undefined;
}

export interface ExecutionReport {
  readonly sets: readonly SetReport[];
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Bytes of work that an earlier run had done. */
  readonly bytesResumed: number;
  /** Bytes of work in all. */
  readonly bytesTotal: number;
  readonly seconds: number;
  /** Threads that were used. */
  readonly threads: number;
}

export interface ReportFacts {
  /** By set: where its files are; default: their names. */
  readonly paths?: readonly (readonly string[])[] | undefined;
  readonly measured: boolean;
  /** By set and file. */
  readonly digests?: readonly (readonly (string | undefined)[])[] | undefined;
}

/** @param results By job id. */
export function reportSets(
  plan: JobPlan,
  sets: readonly FilesAndTasks[],
  results: ReadonlyMap<number, JobResult>,
  { paths, measured, digests }: ReportFacts,
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
      files: set.files.map((file, i) => {
        const sha256 = digests?.[index]?.[i];
        const path = paths?.[index]?.[i] ?? file.name;
        return { path, bytes: file.size, ...(sha256 !== undefined && { sha256 }) };
      }),
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
