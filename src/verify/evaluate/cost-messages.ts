/** What goes between the process that asks for costs and the one that measures them (compress/evaluate-cost.ts, compress/evaluate-cost-process.ts). */

import type { DType } from '../../core/dtype.ts';
import type { ErrorCode } from '../../errors.ts';

export interface CostRequest {
  readonly file: string;
  readonly runtime: 'onnxruntime-node' | 'onnxruntime-web';
  readonly threads: number | undefined;
  /** Runs that are timed, at least. */
  readonly runs: number;
  /** Inputs of one run; shapes and types as the runtime takes them. */
  readonly inputs: readonly {
    readonly name: string;
    readonly dtype: DType;
    readonly shape: readonly number[];
    readonly data: Uint8Array;
  }[];
}

/** What a model costs to run: figures of a process of its own. */
export interface ModelCost {
  readonly runtime: string;
  readonly runtimeVersion: string;
  /** From the file to a session that is ready, milliseconds. */
  readonly loadMs: number;
  /** Median of the runs after one that warms up, milliseconds. */
  readonly runMs: number;
  readonly runs: number;
  /** Largest resident memory of the process, bytes. */
  readonly peakBytes: number;
  /** Resident memory before the model was loaded: Node and the engine, bytes. */
  readonly engineBytes: number;
}

export type CostAnswer =
  | { readonly kind: 'cost'; readonly cost: ModelCost }
  | {
      readonly kind: 'failed';
      readonly code: ErrorCode | undefined;
      readonly message: string;
      readonly expected: string | undefined;
      readonly found: string | undefined;
      readonly hint: string | undefined;
    };
