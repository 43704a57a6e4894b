/**
 * What iq1_s and iq1_m share: 8 values are a point of a code book of 2048 with the levels −1, 0, 1, shifted by ±0.125.
 *
 * A group of 8 codes (0, 1, 2) without a point goes to the one of the nearest points (the three least distances between codes,
 * src/kernels/ggml/codebooks/neighbours.ts) that has the least weighted error, the first one of equals.
 *
 * Source: docs/encodings.md, "ggml block types"; `iq1_find_best_neighbour2` of ggml 0.25.1 (MIT), restated.
 */

import { sumOfSquares } from '../blocks.ts';
import { IQ1_S } from '../codebooks/iq1-s.ts';
import { type Neighbours, neighboursOf } from '../codebooks/neighbours.ts';

const { fround } = Math;

/** Values of the codes 0, 1, 2 with the shift up, and with the shift down. */
export const UP = Float32Array.of(-0.875, 0.125, 1.125);
export const DOWN = Float32Array.of(-1.125, -0.125, 0.875);
export const SHIFT = 0.125;

/** Words of the points: code of component i at bit 2 i. */
export const POINTS: Uint16Array = IQ1_S.words;

let neighbours: Neighbours | undefined;

/** Built once, in about a tenth of a second, when the first weight is encoded. */
export function pointsNear(): Neighbours {
  neighbours ??= neighboursOf(IQ1_S, 3);
  return neighbours;
}

/** Σ w (scale · level − x)² of 8 values from `at` on, in f32. */
function errorOf(
  point: number,
  x: Float32Array,
  w: Float32Array,
  at: number,
  scale: number,
  levels: Float32Array,
): number {
  let sum = 0;
  for (let i = 0; i < 8; i++) {
    const difference = fround(fround(scale * levels[(point >> (2 * i)) & 3]!) - x[at + i]!);
    sum = fround(sum + fround(fround(w[at + i]! * difference) * difference));
  }
  return sum;
}

/**
 * Index of the point for 8 codes, as they are or the best one near them. Where no error is finite (|x| about 1e12 and more)
 * ggml reads beyond the block and may stop the process; here the first point is taken.
 */
export function pointFor(
  codes: Uint8Array,
  x: Float32Array,
  w: Float32Array,
  at: number,
  scale: number,
  levels: Float32Array,
): { readonly index: number; readonly exact: boolean } {
  const { places, lists } = pointsNear();
  let word = 0;
  for (let i = 0; i < 8; i++) word |= codes[at + i]! << (2 * i);
  const place = places[word]!;
  if (place >= 0) return { index: place, exact: true };
  const start = -1 - place;
  let index = lists[start + 1]!;
  let least = Number.POSITIVE_INFINITY;
  for (let j = 1; j <= lists[start]!; j++) {
    const error = errorOf(POINTS[lists[start + j]!]!, x, w, at, scale, levels);
    if (error < least) {
      least = error;
      index = lists[start + j]!;
    }
  }
  return { index, exact: false };
}

/** Adds a point's products to the sums of a fit: Σ w q x and Σ w q² with q = level · factor. */
export function addProducts(
  sums: { qx: number; q2: number },
  index: number,
  x: Float32Array,
  w: Float32Array,
  at: number,
  levels: Float32Array,
  factor: number,
): void {
  for (let i = 0; i < 8; i++) {
    const q = fround(levels[(POINTS[index]! >> (2 * i)) & 3]! * factor);
    const wq = fround(w[at + i]! * q);
    sums.qx = fround(sums.qx + fround(wq * x[at + i]!));
    sums.q2 = fround(sums.q2 + fround(wq * q));
  }
}

/** Weights of a block of 256: importance · sqrt(2 Σx² / 256 + x²), or x² without importance. */
export function blockWeights(
  x: Float32Array,
  importance: Float32Array | undefined,
  importanceAt: number,
  weights: Float32Array,
): void {
  const sigma2 = fround(fround(2 * sumOfSquares(x, 0, x.length)) / 256);
  for (let i = 0; i < x.length; i++) {
    const square = fround(x[i]! * x[i]!);
    weights[i] =
      importance === undefined
        ? square
        : fround(importance[importanceAt + i]! * fround(Math.sqrt(fround(sigma2 + square))));
  }
}

/** Indices of `count` values from `at` on, by value; equal ones (also 0 and −0) keep their order. */
export function ascending(x: Float32Array, at: number, order: Uint8Array): void {
  for (let i = 0; i < order.length; i++) {
    const value = x[at + i]!;
    let to = i;
    for (; to > 0 && x[at + order[to - 1]!]! > value; to--) order[to] = order[to - 1]!;
    order[to] = i;
  }
}

/** Largest |x| below which a group counts as zero, by type. */
export const ZERO_BELOW = { iq1_s: fround(1e-12), iq1_m: fround(1e-7) } as const;

/** max |x| of `count` values from `at` on. */
export function largestOf(x: Float32Array, at: number, count: number): number {
  let largest = 0;
  for (let i = at; i < at + count; i++) largest = Math.max(largest, Math.abs(x[i]!));
  return largest;
}
