/** What the main thread and its workers say to each other: plain data only, no tensor. */

import { type ErrorCode, type ErrorDetails, WhittleError } from '../errors.ts';
import type { FileEntry } from './access.ts';
import type { JobResult } from './job.ts';
import type { JobList } from './job-list.ts';
import type { JobOptions } from './run-job.ts';

/** Given to a worker when it starts. */
export interface WorkerStart {
  readonly jobs: JobList;
  readonly sources: readonly (FileEntry | undefined)[];
  readonly targets: readonly (FileEntry | undefined)[];
  readonly options: JobOptions;
  /**
   * Shared by all threads. [NEXT]: index of the next job to take; [STOP]: not 0 once the run is to stop; from
   * [FIRST_WORKER] on, the state of each worker.
   */
  readonly control: Int32Array<SharedArrayBuffer>;
  /** Place of this worker's state in `control`. */
  readonly slot: number;
}

export const NEXT = 0;
export const STOP = 1;
export const FIRST_WORKER = 2;

/** State of a worker: whoever changes STARTING first decides whether it takes part. */
export const STARTING = 0;
export const TAKES_PART = 1;
export const NOT_NEEDED = 2;

export type WorkerMessage =
  | { readonly kind: 'done'; readonly result: JobResult; readonly tensor: string; readonly bytes: number }
  | { readonly kind: 'failed'; readonly error: PlainError }
  | { readonly kind: 'finished'; readonly bytesRead: number; readonly bytesWritten: number };

export interface PlainError {
  /** Absent for an error that is not a WhittleError: a bug. */
  readonly code?: ErrorCode | undefined;
  readonly message: string;
  readonly details: Omit<ErrorDetails, 'cause'>;
  readonly stack?: string | undefined;
}

export function toPlainError(error: unknown): PlainError {
  if (error instanceof WhittleError) {
    const { cause: _cause, ...details } = error.details;
    return { code: error.code, message: error.message, details, stack: error.stack };
  }
  if (error instanceof Error) return { message: error.message, details: {}, stack: error.stack };
  return { message: String(error), details: {} };
}

export function fromPlainError({ code, message, details, stack }: PlainError): Error {
  const error = code === undefined ? new Error(message) : new WhittleError(code, message, details);
  if (stack !== undefined) error.stack = stack;
  return error;
}

export function aborted(): WhittleError {
  return new WhittleError('E_ABORTED', 'stopped before it was complete', {
    hint: 'Nothing was written; run it again.',
  });
}
