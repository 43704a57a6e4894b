/**
 * Weights of any float type as f32 tiles in kernel memory. f32 is read in place; f16 and bf16 are widened exactly and
 * f64 is rounded once (ties to even), through a scratch area that belongs to the loader.
 */

import { DTYPES, type WeightDType } from '../../core/dtype.ts';
import { WhittleError } from '../../errors.ts';
import type { Arena } from '../../kernels/kernels.ts';
import { bytesOf, type OperationContext } from './context.ts';

export interface Loader {
  /** Elements [start, start + target.length) of the tensor in its stored order. */
  contiguous(start: number, target: Float32Array): Promise<void>;
  /** Rows [row, row + rows) × columns [from, to) of a stored row-major matrix of `width` columns, packed in `target`. */
  panel(
    row: number,
    rows: number,
    from: number,
    to: number,
    width: number,
    target: Float32Array,
  ): Promise<void>;
}

/** Bytes of scratch that the loader takes from the arena for tiles of `elements`. */
export function scratchBytes(from: WeightDType, elements: number): number {
  return from === 'f32' ? 0 : (elements * DTYPES[from].bits) / 8;
}

export function createLoader(
  context: OperationContext,
  from: WeightDType,
  arena: Arena,
  largestTile: number,
): Loader {
  const size = DTYPES[from].bits / 8;
  const scratch = from === 'f32' ? undefined : arena.u8(scratchBytes(from, largestTile));
  const widen = (source: Uint8Array, target: Float32Array): void => {
    context.kernels.convert(from, 'f32', source, bytesOf(target), target.length);
  };
  return {
    async contiguous(start, target) {
      if (scratch === undefined) return context.read(start * 4, bytesOf(target));
      const raw = scratch.subarray(0, target.length * size);
      await context.read(start * size, raw);
      widen(raw, target);
    },
    async panel(row, rows, from, to, width, target) {
      const columns = to - from;
      const tile = target.subarray(0, rows * columns);
      if (columns === width) return this.contiguous(row * width, tile);
      const raw = scratch === undefined ? bytesOf(tile) : scratch.subarray(0, tile.length * size);
      const rowBytes = columns * size;
      for (let i = 0; i < rows; i++) {
        const pending = context.read(
          ((row + i) * width + from) * size,
          raw.subarray(i * rowBytes, (i + 1) * rowBytes),
        );
        if (pending !== undefined) await pending;
      }
      if (scratch !== undefined) widen(raw, tile);
    },
  };
}

/**
 * Refuses a tile with NaN or Inf where the policy says so. `indexOf` turns a place in the tile into an element index
 * of the tensor as it is stored.
 */
export function checkFinite(
  context: OperationContext,
  nonFinite: number,
  tile: Float32Array,
  indexOf: (place: number) => number,
): void {
  if (nonFinite === 0 || context.nonFinite === 'keep') return;
  const place = tile.findIndex((value) => !Number.isFinite(value));
  throw new WhittleError(
    'E_NONFINITE',
    `the weight holds ${tile[place] ?? 'NaN'} at element ${indexOf(place)}`,
    {
      tensor: context.tensor,
      expected: 'finite values',
      found: `${nonFinite} value${nonFinite === 1 ? '' : 's'} that are NaN or Inf near there`,
      hint: 'Leave this tensor out (--exclude), or pass --nonfinite keep to take such values as they come.',
    },
  );
}
