/**
 * Where every byte of an output goes, known before anything is computed. A format's writer makes the layout;
 * execution fills it. Segments are sorted, do not overlap and cover the file (gaps are zero padding).
 */

import type { ByteSource } from '../io/source.ts';
import type { PartRole } from '../numerics/operation.ts';

export type Segment =
  | { readonly kind: 'bytes'; readonly offset: number; readonly bytes: Uint8Array }
  | {
      readonly kind: 'copy';
      readonly offset: number;
      readonly length: number;
      readonly source: ByteSource;
      readonly sourceOffset: number;
    }
  | {
      /** Bytes that the task's operation writes for that part. */
      readonly kind: 'part';
      readonly offset: number;
      readonly length: number;
      readonly task: number;
      readonly role: PartRole;
    };

export interface OutputFile {
  /** Bare file name. */
  readonly name: string;
  readonly size: number;
  readonly segments: readonly Segment[];
}

/** Raw little-endian bytes of one tensor, in a source or in memory. */
export type TensorBytes =
  | { readonly kind: 'inline'; readonly bytes: Uint8Array }
  | { readonly kind: 'range'; readonly source: ByteSource; readonly offset: number; readonly length: number };
