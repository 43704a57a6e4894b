/**
 * What a stopped run had finished: its journal's windows that this run has too, and whose bytes are in the file as they
 * were written. Everything else is done again, so a journal can be wrong without harm.
 */

import { setImmediate } from 'node:timers/promises';
import type { OutputFile } from '../formats/layout.ts';
import type { AtomicFile } from '../io/atomic-file.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { Job, JobResult } from './job.ts';
import type { JobPlan } from './jobs.ts';
import type { JournalRecord } from './journal.ts';
import { holds } from './written.ts';

/** Where a job belongs: its set, the place of that set's first target, and the name of its window in the journal. */
export interface WindowName {
  readonly set: number;
  readonly firstTarget: number;
  readonly name: string;
}

/** By job id. Names depend on a set alone, so that a mode can be continued without the others of its run. */
export function nameWindows(
  { jobs, origins }: JobPlan,
  sets: readonly { readonly files: readonly unknown[] }[],
): WindowName[] {
  const firsts: number[] = [];
  let next = 0;
  for (const { files } of sets) {
    firsts.push(next);
    next += files.length;
  }
  return jobs.map((job) => {
    const { start, end } = job.window;
    const origin = origins[job.id];
    if (origin !== undefined) {
      const firstTarget = firsts[origin.set] ?? 0;
      return { set: origin.set, firstTarget, name: `task ${origin.task}: ${start}-${end}` };
    }
    const [place] = job.outputs;
    const target = place?.target ?? 0;
    const set = firsts.findLastIndex((first) => first <= target);
    const firstTarget = firsts[set] ?? 0;
    const name = `copy ${target - firstTarget} at ${place?.offset ?? 0}: ${start}-${end}`;
    return { set, firstTarget, name };
  });
}

export interface StoppedSet {
  readonly files: readonly Pick<AtomicFile, 'read' | 'write'>[];
  readonly records: ReadonlyMap<string, JournalRecord>;
}

const BUFFER = 1 << 20;

/** Results of the jobs that need not run again, by job id. `check` is called between windows and may throw. */
export async function recoverFinished(
  plan: JobPlan,
  names: readonly WindowName[],
  stopped: readonly (StoppedSet | undefined)[],
  measure: boolean,
  kernels: Pick<Kernels, 'mixWords'>,
  check: (job: Job) => void,
): Promise<Map<number, JobResult>> {
  const finished = new Map<number, JobResult>();
  const buffer = new Uint8Array(BUFFER);
  let unseen = 0;
  for (const job of plan.jobs) {
    const window = names[job.id];
    const set = window && stopped[window.set];
    const record = window && set?.records.get(window.name);
    if (window === undefined || set === undefined || record === undefined) continue;
    // A run that was not measured has nothing to report.
    if (measure && plan.origins[job.id] !== undefined && record.result.sums === undefined) continue;
    if (await isIntact(job, record, set, window.firstTarget, buffer, kernels)) {
      finished.set(job.id, { id: job.id, ...record.result });
      check(job);
    }
    unseen += job.bytes;
    if (unseen < 16 * BUFFER) continue;
    unseen = 0;
    await setImmediate();
  }
  return finished;
}

/**
 * Writes the padding of a file that a stopped run began: a new file has zeros where nothing is written, but what a crash left
 * there is not known.
 */
export async function writePadding(file: Pick<AtomicFile, 'write'>, layout: OutputFile): Promise<void> {
  const zeros = new Uint8Array(BUFFER);
  let at = 0;
  const fill = async (end: number): Promise<void> => {
    for (; at < end; at = Math.min(end, at + zeros.length)) {
      await file.write(at, zeros.subarray(0, Math.min(zeros.length, end - at)));
    }
  };
  for (const segment of layout.segments) {
    await fill(segment.offset);
    at = segment.offset + (segment.kind === 'bytes' ? segment.bytes.length : segment.length);
  }
  await fill(layout.size);
}

async function isIntact(
  job: Job,
  { written }: JournalRecord,
  { files }: StoppedSet,
  firstTarget: number,
  buffer: Uint8Array,
  kernels: Pick<Kernels, 'mixWords'>,
): Promise<boolean> {
  for (const item of written) {
    const output = job.outputs[item.output];
    const file = output && files[output.target - firstTarget];
    if (output === undefined || file === undefined) return false;
    const end = output.offset + output.length;
    const within = item.pieces.every(
      ([offset, length, stride, count]) =>
        offset >= output.offset && count > 0 && offset + (count - 1) * stride + length <= end,
    );
    if (!within) return false;
    const read = async (offset: number, target: Uint8Array): Promise<boolean> =>
      (await file.read(offset, target)) === target.length;
    if (!(await holds(item, read, buffer, kernels))) return false;
  }
  // Every output of the job must have been written.
  return job.outputs.every(
    (output, index) =>
      output.length === 0 ||
      job.window.start === job.window.end ||
      written.some((item) => item.output === index),
  );
}
