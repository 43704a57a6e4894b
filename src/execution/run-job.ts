/** Runs one job against an `Access`: the same in this thread and in a worker. */

import { WhittleError } from '../errors.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { PartRole } from '../numerics/operation.ts';
import type { Access } from './access.ts';
import type { Job, JobResult, JobSource } from './job.ts';
import { DEFAULT_TILE_BYTES, type NonFinitePolicy, type ReadableRange } from './operations/context.ts';
import { runDequantize } from './operations/dequantize.ts';
import { runOperation } from './operations/run.ts';
import type { WriteTracker, Written } from './written.ts';

export interface JobOptions {
  readonly nonFinite: NonFinitePolicy;
  readonly measure: boolean;
  readonly tileBytes?: number | undefined;
  /** Note what is written, for the journal. */
  readonly note?: boolean | undefined;
}

/**
 * @param track Makes what notes the writes of a job, where a journal wants to know.
 * @throws WhittleError with the tensor's name; E_ABORTED from `checkpoint`.
 */
export async function runJob(
  job: Job,
  kernels: Kernels,
  access: Access,
  options: JobOptions,
  checkpoint: () => Promise<void> | void,
  track?: ((kernels: Kernels) => WriteTracker) | undefined,
): Promise<JobResult> {
  const tracker = track?.(kernels);
  const context = {
    tensor: job.tensor,
    kernels,
    nonFinite: options.nonFinite,
    measure: options.measure,
    tileBytes: options.tileBytes ?? DEFAULT_TILE_BYTES,
    checkpoint,
    write: (role: PartRole, offset: number, bytes: Uint8Array) =>
      writePart(job, access, tracker, role, offset, bytes),
  };
  try {
    if (job.kind === 'quantize') {
      const { source } = job;
      const read = (offset: number, target: Uint8Array) => readSource(source, access, offset, target);
      const { importance } = job;
      const result = await runOperation(job.operation, job.window, {
        ...context,
        read,
        ...(importance !== undefined && {
          importance: {
            values: readable(importance.values, access),
            ...(importance.counts !== undefined && { counts: readable(importance.counts, access) }),
          },
        }),
      });
      return { id: job.id, ...result, ...noted(tracker) };
    }
    const { sources } = job;
    const read = (role: PartRole, offset: number, target: Uint8Array) => {
      const source = sources[role];
      if (source === undefined) throw new Error(`the job for ${job.tensor} has no source for ${role}`);
      return readSource(source, access, offset, target);
    };
    const result = await runDequantize(job.operation, job.window, { ...context, read });
    return { id: job.id, ...result, ...noted(tracker) };
  } catch (error) {
    throw error instanceof WhittleError ? error.with({ tensor: job.tensor }) : error;
  }
}

function noted(tracker: WriteTracker | undefined): { written?: Written[] } {
  const written = tracker?.written();
  return written === undefined ? {} : { written };
}

function readable(source: JobSource, access: Access): ReadableRange {
  return {
    length: lengthOf(source),
    read: (offset, target) => readSource(source, access, offset, target),
  };
}

function lengthOf(source: JobSource): number {
  return source.kind === 'inline' ? source.bytes.length : source.length;
}

function readSource(
  source: JobSource,
  access: Access,
  offset: number,
  target: Uint8Array,
): Promise<void> | void {
  const length = lengthOf(source);
  if (offset + target.length > length) {
    // Never bytes of a neighbour: what lies past the tensor's declared bytes must not reach an output.
    throw new WhittleError('E_TENSOR_SIZE', 'the tensor has fewer bytes than its shape needs', {
      expected: `${offset + target.length} bytes`,
      found: `${length} bytes`,
    });
  }
  if (source.kind === 'inline') {
    target.set(source.bytes.subarray(offset, offset + target.length));
    return;
  }
  return access.read(source.index, source.offset + offset, target);
}

/** A part may stand in several places (a tied weight that two files hold). */
function writePart(
  job: Job,
  access: Access,
  tracker: WriteTracker | undefined,
  role: PartRole,
  offset: number,
  bytes: Uint8Array,
): Promise<void> | void {
  let pending: Promise<void> | undefined;
  let found = false;
  for (const [index, output] of job.outputs.entries()) {
    if (output.role !== role) continue;
    found = true;
    if (offset + bytes.length > output.length) {
      throw new Error(`${job.tensor}: ${role} of ${output.length} bytes was given ${offset + bytes.length}`);
    }
    tracker?.note(index, output.offset + offset, bytes);
    const write = () => access.write(output.target, output.offset + offset, bytes);
    if (pending !== undefined) pending = pending.then(write);
    else pending = write() ?? undefined;
  }
  if (!found) throw new Error(`${job.tensor}: the layout has no place for ${role}`);
  return pending;
}
