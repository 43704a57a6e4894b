/** The importance of a few columns of a weight, read for a sample by the rule of the real run (docs/gguf.md). */

import type { TensorBytes } from '../../formats/layout.ts';
import type { Task } from '../../numerics/task.ts';

/**
 * Fills `target` with the importance of the columns from value `start` of the weight on, which lie in one row. False where the
 * task has none.
 */
export async function readImportance(
  { operation, importance }: Task<TensorBytes>,
  start: number,
  target: Float32Array,
): Promise<boolean> {
  if (operation.kind !== 'ggml' || operation.importance === undefined || importance === undefined)
    return false;
  const { columns, matrixRows } = operation;
  const matrix = Math.floor(start / columns / matrixRows);
  const sums = await readFloats(importance.values, matrix * columns + (start % columns), target.length);
  const divisor =
    operation.importance !== 'counts'
      ? operation.importance
      : importance.counts === undefined
        ? 1
        : roundAway((await readFloats(importance.counts, matrix, 1))[0] ?? 0);
  for (let i = 0; i < target.length; i++) target[i] = divisor > 0 ? sums[i]! / divisor : 1;
  return true;
}

/** Elements `first` … of little-endian f32. */
async function readFloats(bytes: TensorBytes, first: number, count: number): Promise<Float32Array> {
  const raw = new Uint8Array(count * 4);
  if (bytes.kind === 'inline') raw.set(bytes.bytes.subarray(first * 4, (first + count) * 4));
  else await bytes.source.readInto(bytes.offset + first * 4, raw);
  return new Float32Array(raw.buffer);
}

/** Counts are not negative: halves go up, away from zero. */
function roundAway(value: number): number {
  return Math.floor(value + 0.5);
}
