/**
 * Layers that are to be calibrated together, in parts whose Gram matrices (and what else grows with the square of the inputs) fit into
 * memory at once. A stage of a large decoder has few layers; one of a mixture of experts, or all layers of a method that is not
 * sequential, have many.
 */

import { matrixBytes } from '../../calibration/collect/matrix-bytes.ts';
import type { Collected } from '../../calibration/collect/products.ts';
import type { Layer } from './layers.ts';

/** Bytes of matrices that are held at once, where nothing else is said. One layer may take more. */
export const MATRIX_BYTES = 1024 ** 3;

/** In order, but for layers that share an input: those stay together as far as they fit. A layer that alone is too large is a part. */
export function inParts<T>(
  items: readonly T[],
  layerOf: (item: T) => Layer,
  needs: readonly Collected[],
  limit = MATRIX_BYTES,
): T[][] {
  const bytesOf = (part: readonly T[]): number =>
    matrixBytes(
      part.flatMap((item) => layerOf(item).products),
      needs,
    );
  if (items.length === 0 || bytesOf(items) <= limit) return items.length === 0 ? [] : [[...items]];
  const byInput = new Map<string, T[]>();
  for (const item of items) {
    const input = layerOf(item).products[0]?.input ?? '';
    byInput.set(input, [...(byInput.get(input) ?? []), item]);
  }
  const parts: T[][] = [];
  let part: T[] = [];
  for (const item of [...byInput.values()].flat()) {
    const bytes = bytesOf([...part, item]);
    // What shares all its matrices costs nothing.
    if (part.length > 0 && bytes > limit && bytes > bytesOf(part)) {
      parts.push(part);
      part = [];
    }
    part.push(item);
  }
  return [...parts, part];
}
