/**
 * A job: an idempotent piece of work as plain data, the same whether it runs in this thread, in a worker or elsewhere.
 * It reads one tensor's bytes, runs one operation over one window of it, and writes each part at its place in a target
 * file. Doing it twice writes the same bytes.
 */

import type { ErrorSums } from '../kernels/kernels.ts';
import type { DequantizeOperation } from '../numerics/dequantize-operation.ts';
import type { Operation, PartRole } from '../numerics/operation.ts';
import type { Window } from './operations/context.ts';
import type { Written } from './written.ts';

/** Bytes of one tensor: a range of the source file with that index in the table of sources, or in memory. */
export type JobSource =
  | { readonly kind: 'file'; readonly index: number; readonly offset: number; readonly length: number }
  | { readonly kind: 'inline'; readonly bytes: Uint8Array };

/** Where a part goes: a byte range of the target with that index in the table of targets. */
export interface JobOutput {
  readonly role: PartRole;
  readonly target: number;
  readonly offset: number;
  readonly length: number;
}

/** What every job has. */
interface JobBase {
  readonly id: number;
  readonly tensor: string;
  readonly window: Window;
  readonly outputs: readonly JobOutput[];
  /** Estimate of its share of the work, in bytes of source. */
  readonly bytes: number;
}

export interface QuantizeJob extends JobBase {
  readonly kind: 'quantize';
  readonly operation: Operation;
  readonly source: JobSource;
  /** Importance of the columns, where the operation says that there is one: the worker reads the slices it needs. */
  readonly importance?: { readonly values: JobSource; readonly counts?: JobSource | undefined } | undefined;
}

/** The inverse: several parts in, values out. */
export interface DequantizeJob extends JobBase {
  readonly kind: 'dequantize';
  readonly operation: DequantizeOperation;
  readonly sources: Readonly<Partial<Record<PartRole, JobSource>>>;
}

export type Job = QuantizeJob | DequantizeJob;

/** What came of a job: plain data. */
export interface JobResult {
  readonly id: number;
  readonly count: number;
  readonly nonFinite: number;
  readonly sums?: ErrorSums | undefined;
  /** What it wrote, where that is noted. */
  readonly written?: readonly Written[] | undefined;
}
