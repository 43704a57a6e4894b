/**
 * Statistics of a convolution whose inputs are taken place by place, the channels of a place side by side, in place of channel by
 * channel: the order in which blocks across the channels are groups of consecutive inputs.
 */

import type { InputStatistics } from '../../calibration/statistics/input-statistics.ts';
import type { Layer } from './layers.ts';

/** The statistics in the order of the layer's matrix. */
export function placesFirst(
  statistics: InputStatistics | undefined,
  { filters, inputs }: Pick<Layer, 'filters' | 'inputs'>,
): InputStatistics | undefined {
  if (statistics === undefined || filters === undefined) return statistics;
  const { channels, places } = filters;
  const from = Int32Array.from(
    { length: inputs },
    (_, i) => (i % channels) * places + Math.floor(i / channels),
  );
  const { squares, magnitudes, sums, peaks, gram, cross } = statistics;
  return {
    ...statistics,
    squares: squares.map((_, i) => squares[from[i]!]!),
    magnitudes: magnitudes?.map((_, i) => magnitudes[from[i]!]!),
    sums: sums?.map((_, i) => sums[from[i]!]!),
    peaks: peaks?.map((_, i) => peaks[from[i]!]!),
    gram: gram && bothWays(gram, from),
    cross: cross && bothWays(cross, from),
  };
}

function bothWays(matrix: Float32Array, from: Int32Array): Float32Array {
  const n = from.length;
  const ordered = new Float32Array(matrix.length);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) ordered[i * n + j] = matrix[from[i]! * n + from[j]!]!;
  }
  return ordered;
}
