/**
 * An importance matrix: for each weight and input column, how strongly the column was activated (mean of squares).
 * Values stay in the file: workers read the slice they need, so that the matrix of a large mixture of experts costs no
 * memory. Both file forms of llama-imatrix are read into this (docs/gguf.md).
 */

import type { TensorBytes } from '../layout.ts';

export interface ImatrixEntry {
  /** Name of the weight. */
  readonly name: string;
  /** Values of each matrix: the weight's row length. */
  readonly columns: number;
  /** Matrices with values of their own: experts, else 1. In the old form only the total length is known: then 1. */
  readonly matrices: number;
  /** f32 [matrices, columns], little-endian. */
  readonly values: TensorBytes;
  /** Importance = value / count: f32 [matrices] (rounded to integers; 0 → importance 1), or one number for all. */
  readonly counts: TensorBytes | number;
}

export interface Imatrix {
  /** As the user named it. */
  readonly file: string;
  readonly form: 'dat' | 'gguf';
  /** By weight name, in file order. */
  readonly entries: ReadonlyMap<string, ImatrixEntry>;
  readonly datasets: readonly string[];
  /** Chunks of text it was made from; 0 where it is not said. */
  readonly chunks: number;
  readonly chunkSize: number | undefined;
  close(): Promise<void>;
}
