/**
 * What an operation gets to work with, and what it hands back. An operation cuts its tensor into windows (jobs), and
 * works through a window tile by tile: read source bytes straight into kernel memory, run a kernel, write the finished
 * bytes of each part. It knows nothing of files and threads, so the same code runs everywhere, and a window gives the
 * same bytes whichever way the tensor is cut.
 *
 * Policy for f16 scales: of an f16 weight the scale is rounded to f16 before it is used (as onnxruntime does); of any
 * other weight the f32 scale is used and stored afterwards as f16 with the clip of float16.py (the q4 model, converted).
 */

import type { ErrorSums, Kernels } from '../../kernels/kernels.ts';
import type { Operation, PartRole } from '../../numerics/operation.ts';

/** Part of a tensor, in the units of its operation's `Cut`; `end` is exclusive. */
export interface Window {
  readonly start: number;
  readonly end: number;
}

/** How a tensor may be cut into windows. */
export interface Cut {
  /** Number of units: columns, rows, blocks or elements. */
  readonly units: number;
  /** A window starts at a multiple of this (bytes shared by two units may not be torn). */
  readonly align: number;
  /** Bytes of working memory that a window holds for each of its units, beside its tiles. */
  readonly heldBytes: number;
  /** Fewest units that are worth a window of their own (strided reads get short below). */
  readonly minUnits: number;
  /** Units lie one behind another in source and output, so that windows of a few MiB cost nothing. */
  readonly fine?: true | undefined;
}

/** A range of bytes that is read when it is needed. */
export interface ReadableRange {
  readonly length: number;
  read(offset: number, target: Uint8Array): Promise<void> | void;
}

export type NonFinitePolicy = 'error' | 'keep';

export interface OperationContext {
  readonly tensor: string;
  readonly kernels: Kernels;
  readonly nonFinite: NonFinitePolicy;
  /** Dequantize every tile again and sum its error. */
  readonly measure: boolean;
  /** Aim for the f32 bytes of one tile. */
  readonly tileBytes: number;
  /** Fills `target` with bytes of the tensor from `offset`. */
  read(offset: number, target: Uint8Array): Promise<void> | void;
  /** Importance of the columns, of a `ggml` operation that says so. */
  readonly importance?:
    | { readonly values: ReadableRange; readonly counts?: ReadableRange | undefined }
    | undefined;
  /** Writes bytes of a part, at an offset within it. `bytes` may be reused once this returns (or resolves). */
  write(role: PartRole, offset: number, bytes: Uint8Array): Promise<void> | void;
  /** Called between tiles; throws E_ABORTED where the run was stopped. */
  checkpoint(): Promise<void> | void;
}

export interface WindowResult {
  /** Weights worked on. */
  readonly count: number;
  readonly nonFinite: number;
  readonly sums?: ErrorSums | undefined;
}

export interface OperationRunner<O extends Operation> {
  cut(operation: O): Cut;
  run(operation: O, window: Window, context: OperationContext): Promise<WindowResult>;
}

export const DEFAULT_TILE_BYTES = 1 << 20;

/** Units for one tile: at least `step`, a multiple of it unless that is all there is. */
export function tileUnits(bytesPerUnit: number, total: number, step: number, tileBytes: number): number {
  const units = Math.max(1, Math.floor(tileBytes / Math.max(1, bytesPerUnit) / step)) * step;
  return Math.max(1, Math.min(units, total));
}

export function greatestCommonDivisor(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}

/** Bytes of a typed array, without a copy. */
export function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** Arena bytes with room for the alignment of each allocation. */
export function arenaBytes(...sizes: readonly number[]): number {
  return sizes.reduce((sum, size) => sum + Math.ceil(size / 16) * 16 + 16, 64);
}
