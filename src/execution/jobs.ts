/**
 * From a layout and its tasks to jobs: where each tensor is cut, and where every other byte of the files comes from.
 *
 * Cuts depend on the tensors alone, never on the number of threads, so that a run gives the same report everywhere:
 * a window holds at most `HELD_BYTES` of working memory, and a tensor that is a large share of all the work is cut so that
 * threads can share it and a run that was stopped finds most of it done.
 */

import type { OutputFile, TensorBytes } from '../formats/layout.ts';
import type { ByteSource } from '../io/source.ts';
import { type DequantizeTask, dequantizedPart } from '../numerics/dequantize-operation.ts';
import { type Operation, operationParts, type Part, type PartRole } from '../numerics/operation.ts';
import type { Task } from '../numerics/task.ts';
import type { Job, JobOutput, JobSource } from './job.ts';
import type { Cut, Window } from './operations/context.ts';
import { dequantizeCut } from './operations/dequantize.ts';
import { cutOf } from './operations/run.ts';

/** Files of one output with the tasks that fill them. */
export interface FilesAndTasks {
  readonly files: readonly OutputFile[];
  readonly tasks: readonly Task<TensorBytes>[];
  /** Weights that come back as values; their ids share the numbering of `tasks`. */
  readonly restorations?: readonly DequantizeTask<TensorBytes>[] | undefined;
}

/** Bytes that the main thread writes as they are. */
export interface Literal {
  readonly target: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface JobPlan {
  readonly jobs: readonly Job[];
  readonly literals: readonly Literal[];
  /** Table of sources that jobs refer to by index. */
  readonly sources: readonly ByteSource[];
  /** Set and task that each job belongs to, by job id; `undefined` for plain copies. */
  readonly origins: readonly ({ readonly set: number; readonly task: number } | undefined)[];
  readonly bytesTotal: number;
}

/** Working memory of a window beside its tiles. */
const HELD_BYTES = 12 << 20;
/** Work below which cutting a tensor gains nothing. */
const SMALL_BYTES = 8 << 20;
/** A tensor above this share of all the work is cut. */
const LARGEST_SHARE = 1 / 8;
/** Largest window: what a run that is stopped loses at most. */
const COARSE_BYTES = 256 << 20;
/** The same where cutting costs nothing: threads finish together, and a stopped run loses little. */
const FINE_BYTES = 16 << 20;
const FINE_SHARE = 1 / 128;
const LEAST_BYTES = 2 << 20;

/** @param sets - targets are numbered through: the files of the first set, then those of the second … */
export function planJobs(sets: readonly FilesAndTasks[]): JobPlan {
  const jobs: Job[] = [];
  const literals: Literal[] = [];
  const sources: ByteSource[] = [];
  const origins: ({ set: number; task: number } | undefined)[] = [];
  const sourceIndex = new Map<ByteSource, number>();
  const indexOf = (source: ByteSource): number => {
    const known = sourceIndex.get(source);
    if (known !== undefined) return known;
    sourceIndex.set(source, sources.length);
    return sources.push(source) - 1;
  };
  const jobSource = (source: TensorBytes): JobSource =>
    source.kind === 'inline'
      ? source
      : { kind: 'file', index: indexOf(source.source), offset: source.offset, length: source.length };

  const total = sets.reduce(
    (sum, { tasks, restorations = [] }) =>
      sum +
      tasks.reduce((all, task) => all + lengthOf(task.source), 0) +
      restorations.reduce((all, task) => all + dequantizedPart(task.operation).bytes, 0),
    0,
  );
  const coarse = Math.min(COARSE_BYTES, Math.max(SMALL_BYTES, total * LARGEST_SHARE));
  const copied = sets.reduce(
    (sum, { files }) => sum + files.reduce((all, file) => all + copiedBytes(file), 0),
    0,
  );
  const fine = Math.min(FINE_BYTES, Math.max(LEAST_BYTES, (total + copied) * FINE_SHARE));
  const mostBytes = (cut: Cut): number => (cut.fine === true ? fine : coarse);
  let firstTarget = 0;
  for (const [set, { files, tasks, restorations = [] }] of sets.entries()) {
    const outputs = new Map<number, JobOutput[]>();
    for (const [index, file] of files.entries()) {
      const target = firstTarget + index;
      for (const segment of file.segments) {
        if (segment.kind === 'bytes') {
          literals.push({ target, offset: segment.offset, bytes: segment.bytes });
        } else if (segment.kind === 'part') {
          const { role, offset, length } = segment;
          const list = outputs.get(segment.task) ?? [];
          list.push({ role, target, offset, length });
          outputs.set(segment.task, list);
        } else if (segment.length > 0) {
          const operation: Operation = { kind: 'copy', dtype: 'uint8', shape: [segment.length] };
          const source: JobSource = {
            kind: 'file',
            index: indexOf(segment.source),
            offset: segment.sourceOffset,
            length: segment.length,
          };
          const place: JobOutput[] = [
            { role: 'data', target, offset: segment.offset, length: segment.length },
          ];
          const cut = cutOf(operation);
          for (const window of windows(cut, segment.length, mostBytes(cut))) {
            const bytes = window.end - window.start;
            origins[jobs.length] = undefined;
            jobs.push({
              kind: 'quantize',
              id: jobs.length,
              tensor: file.name,
              operation,
              window,
              source,
              outputs: place,
              bytes,
            });
          }
        }
      }
    }
    for (const task of tasks) {
      const places = outputs.get(task.id) ?? [];
      assertPlaced(task.tensor, operationParts(task.operation), places);
      const cut = cutOf(task.operation);
      const bytes = lengthOf(task.source);
      const source = jobSource(task.source);
      const importance = task.importance && {
        values: jobSource(task.importance.values),
        ...(task.importance.counts !== undefined && { counts: jobSource(task.importance.counts) }),
      };
      for (const window of windows(cut, bytes, mostBytes(cut))) {
        const share = cut.units === 0 ? 0 : (bytes * (window.end - window.start)) / cut.units;
        origins[jobs.length] = { set, task: task.id };
        jobs.push({
          kind: 'quantize',
          id: jobs.length,
          tensor: task.tensor,
          operation: task.operation,
          window,
          source,
          ...(importance !== undefined && { importance }),
          outputs: places,
          bytes: share,
        });
      }
    }
    for (const task of restorations) {
      const { operation, tensor } = task;
      const places = outputs.get(task.id) ?? [];
      const part = dequantizedPart(operation);
      assertPlaced(tensor, [part], places);
      const inputs: Partial<Record<PartRole, JobSource>> = {};
      for (const [role, source] of roleEntries(task.sources)) inputs[role] = jobSource(source);
      const cut = dequantizeCut(operation);
      for (const window of windows(cut, part.bytes, mostBytes(cut))) {
        const bytes = cut.units === 0 ? 0 : (part.bytes * (window.end - window.start)) / cut.units;
        const id = jobs.length;
        origins[id] = { set, task: task.id };
        jobs.push({
          kind: 'dequantize',
          id,
          tensor,
          operation,
          window,
          sources: inputs,
          outputs: places,
          bytes,
        });
      }
    }
    firstTarget += files.length;
  }
  return { jobs, literals, sources, origins, bytesTotal: jobs.reduce((sum, job) => sum + job.bytes, 0) };
}

/** Windows that cover all units; at least one, so that parts of empty tensors are written too. */
export function windows(cut: Cut, bytes: number, mostBytes: number): Window[] {
  const { units, align, heldBytes, minUnits } = cut;
  const byMemory = (heldBytes * units) / HELD_BYTES;
  const pieces = Math.max(1, Math.ceil(byMemory), Math.ceil(bytes / mostBytes));
  const wanted = Math.max(minUnits, Math.ceil(units / pieces));
  const step = Math.max(align, Math.ceil(wanted / align) * align);
  const result: Window[] = [];
  for (let start = 0; start < units; start += step)
    result.push({ start, end: Math.min(start + step, units) });
  return result.length === 0 ? [{ start: 0, end: 0 }] : result;
}

const ROLES = ['data', 'packed', 'scales', 'scale', 'zeroPoints', 'zeroPoint', 'absmax'] as const;

function roleEntries(
  sources: Readonly<Partial<Record<PartRole, TensorBytes>>>,
): (readonly [PartRole, TensorBytes])[] {
  return ROLES.flatMap((role) => {
    const source = sources[role];
    return source === undefined ? [] : [[role, source] as const];
  });
}

function copiedBytes({ segments }: OutputFile): number {
  return segments.reduce((sum, segment) => sum + (segment.kind === 'copy' ? segment.length : 0), 0);
}

function lengthOf(source: TensorBytes): number {
  return source.kind === 'inline' ? source.bytes.length : source.length;
}

/** Every part has its place, of its size: else the layout is wrong, and bytes of the file would stay zero. */
function assertPlaced(tensor: string, parts: readonly Part[], places: readonly JobOutput[]): void {
  for (const { role, bytes } of parts) {
    const own = places.filter((place) => place.role === role);
    if (own.length === 0) throw new Error(`${tensor}: the layout has no place for ${role}`);
    const wrong = own.find((place) => place.length !== bytes);
    if (wrong !== undefined)
      throw new Error(`${tensor}: ${role} has ${bytes} bytes, its place ${wrong.length}`);
  }
}
