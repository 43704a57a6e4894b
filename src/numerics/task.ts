/** A task: one weight and the operation that turns it into the parts a file stores. Plain data but for the source. */

import type { Operation } from './operation.ts';

export interface Task<Source> {
  /** Index in the list of tasks; `Segment.task` and `Payload.task` refer to it. */
  readonly id: number;
  /** Name of the weight, for messages and progress. */
  readonly tensor: string;
  readonly source: Source;
  readonly operation: Operation;
  /** Importance of the columns, for `ggml` operations that say so: f32 [matrices, columns], and f32 [matrices] counts. */
  readonly importance?: { readonly values: Source; readonly counts?: Source | undefined } | undefined;
}
