/**
 * The engine without threads and without a disk: the same jobs and operations as everywhere, one after the other, from and to
 * whatever `ByteSource` and `ByteSink` stand for. It needs nothing of Node, so it is what runs in a page.
 *
 * Every file is written from its first byte to its last, as far as its parts allow, so that a sink may be a stream.
 */

import type { RunOptions } from '../core/progress.ts';
import type { OutputFile } from '../formats/layout.ts';
import type { ByteSink, ByteSource } from '../io/source.ts';
import { selectKernels } from '../kernels/index.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { Access } from './access.ts';
import { createCheckpoint } from './checkpoint.ts';
import type { Job, JobResult } from './job.ts';
import { type FilesAndTasks, type JobPlan, planJobs } from './jobs.ts';
import { aborted } from './messages.ts';
import type { NonFinitePolicy } from './operations/context.ts';
import { type ExecutionReport, reportSets } from './report.ts';
import { runJob } from './run-job.ts';

export interface InlineSet extends FilesAndTasks {
  /** One for each file, in order; their `commit` is called when all is written (the first file's last), else their `abort`. */
  readonly sinks: readonly ByteSink[];
}

export interface InlineOptions extends RunOptions {
  /** Dequantize every tile again and report SQNR and the largest error. */
  readonly measure?: boolean | undefined;
  /** NaN and Inf among weights: refuse (default), or take them as they come. */
  readonly nonFinite?: NonFinitePolicy | undefined;
  /** Default: the fastest that this machine runs. */
  readonly kernels?: Kernels | undefined;
  /** Bytes of one tile of f32; default 4 MiB: fewer and larger reads than on a disk. */
  readonly tileBytes?: number | undefined;
}

const TILE_BYTES = 4 << 20;
const ZEROS = 1 << 20;

/**
 * Fills several outputs; all are committed, or all aborted.
 * @throws WhittleError E_ABORTED, E_NONFINITE, E_TRUNCATED, E_INPUT_CHANGED, and what the sinks throw
 */
export async function executeInline(
  sets: readonly InlineSet[],
  options: InlineOptions = {},
): Promise<ExecutionReport> {
  const started = performance.now();
  const { measure = false, nonFinite = 'error', tileBytes = TILE_BYTES, signal, onProgress } = options;
  const sinks = sets.flatMap((set) => set.sinks);
  try {
    const plan = planJobs(sets);
    const access = createAccess(plan.sources, sinks);
    const checkpoint = createCheckpoint(signal);
    const kernels = options.kernels ?? (await selectKernels());
    const results = new Map<number, JobResult>();
    let bytesDone = 0;
    for (const step of inFileOrder(plan, sets)) {
      await checkpoint();
      if (step.kind === 'zeros') await writeZeros(access, step);
      else if (step.kind === 'bytes') await access.write(step.target, step.offset, step.bytes);
      else {
        const { job } = step;
        results.set(
          job.id,
          await runJob(job, kernels, access, { nonFinite, measure, tileBytes }, checkpoint),
        );
        bytesDone += job.bytes;
        onProgress?.({ phase: 'quantizing', bytesDone, bytesTotal: plan.bytesTotal, tensor: job.tensor });
      }
    }
    if (signal?.aborted) throw aborted();
    // Models last: their presence says that their data files are complete.
    for (const { sinks: own } of sets) for (const sink of own.slice(1)) await sink.commit();
    for (const { sinks: own } of sets) await own[0]?.commit();
    return {
      sets: reportSets(plan, sets, results, { measured: measure }),
      bytesRead: access.bytesRead,
      bytesWritten: access.bytesWritten,
      bytesResumed: 0,
      bytesTotal: plan.bytesTotal,
      threads: 1,
      seconds: (performance.now() - started) / 1000,
    };
  } catch (error) {
    await Promise.allSettled(sinks.map((sink) => sink.abort()));
    throw error;
  }
}

function createAccess(sources: readonly ByteSource[], sinks: readonly ByteSink[]): Access {
  let bytesRead = 0;
  let bytesWritten = 0;
  return {
    read(index, offset, target) {
      const source = sources[index];
      if (source === undefined) throw new Error(`no source with the index ${index}`);
      bytesRead += target.length;
      return source.readInto(offset, target);
    },
    write(index, offset, bytes) {
      const sink = sinks[index];
      if (sink === undefined) throw new Error(`no sink with the index ${index}`);
      bytesWritten += bytes.length;
      return sink.write(offset, bytes);
    },
    get bytesRead() {
      return bytesRead;
    },
    get bytesWritten() {
      return bytesWritten;
    },
    close() {},
  };
}

type Step = { readonly target: number; readonly offset: number } & (
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'zeros'; readonly length: number }
  | { readonly kind: 'job'; readonly job: Job }
);

/** All that is to be written, by the place where it begins; windows of one weight stay in their order. */
function inFileOrder(plan: JobPlan, sets: readonly FilesAndTasks[]): Step[] {
  const steps: Step[] = plan.literals.map((literal) => ({ kind: 'bytes', ...literal }));
  for (const [target, file] of sets.flatMap(({ files }) => files).entries()) {
    for (const gap of gapsOf(file)) steps.push({ kind: 'zeros', target, ...gap });
  }
  for (const job of plan.jobs) {
    const first = job.outputs.toSorted((a, b) => a.target - b.target || a.offset - b.offset)[0];
    steps.push({ kind: 'job', target: first?.target ?? 0, offset: first?.offset ?? 0, job });
  }
  // Stable: jobs of one weight begin at the same place, and come in the order of their windows.
  return steps.sort((a, b) => a.target - b.target || a.offset - b.offset);
}

/** Bytes that no segment covers: the padding between tensors. */
function gapsOf({ segments, size }: OutputFile): { offset: number; length: number }[] {
  const gaps: { offset: number; length: number }[] = [];
  let at = 0;
  const skipTo = (offset: number): void => {
    if (offset > at) gaps.push({ offset: at, length: offset - at });
  };
  for (const segment of segments) {
    skipTo(segment.offset);
    at = segment.offset + (segment.kind === 'bytes' ? segment.bytes.length : segment.length);
  }
  skipTo(size);
  return gaps;
}

async function writeZeros(
  access: Access,
  { target, offset, length }: { target: number; offset: number; length: number },
): Promise<void> {
  for (let done = 0; done < length; done += ZEROS) {
    await access.write(target, offset + done, new Uint8Array(Math.min(ZEROS, length - done)));
  }
}
