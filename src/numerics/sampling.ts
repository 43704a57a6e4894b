/**
 * Deterministic samples of large tensors, for judging encodings: whole rows or whole columns of a matrix, evenly spaced, so
 * that groups along rows and scales per column see what they would see in the tensor; or values drawn from a histogram.
 */

import { createRandom } from '../core/random.ts';
import type { Shape } from '../core/shape.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { ValueRange } from './affine.ts';
import type { TensorStatistics } from './statistics/accumulator.ts';
import { refuseNonFinite } from './weights.ts';

export interface SampledMatrix {
  readonly values: Float32Array;
  readonly shape: Shape;
}

export interface TensorSample {
  readonly rows: SampledMatrix;
  /** Made when first asked for. */
  columns(): SampledMatrix;
  /** Of the whole tensor. */
  readonly range: ValueRange;
}

/** Row length for a tensor of one dimension, or of rows longer than the whole sample. */
const ROW = 1024;

/** At most about `limit` values of `values` with a shape of one or two dimensions. Throws E_NONFINITE for NaN or Inf. */
export function sampleMatrix(
  values: Float32Array,
  shape: Shape,
  limit: number,
  kernels: Kernels,
): TensorSample {
  const { min, max, nonFinite } = kernels.range(values);
  if (nonFinite > 0) refuseNonFinite(values);
  const range = { min, max };
  const whole = { values, shape };
  if (values.length <= limit) return { rows: whole, columns: () => whole, range };
  let columns: SampledMatrix | undefined;
  return {
    rows: sampleRows(values, shape, limit),
    columns: () => (columns ??= sampleColumns(values, shape, limit)),
    range,
  };
}

function sampleRows(values: Float32Array, shape: Shape, limit: number): SampledMatrix {
  const length = shape.length === 2 && shape[1]! <= limit ? shape[1]! : Math.min(ROW, limit);
  const rows = Math.floor(values.length / length);
  const take = Math.min(rows, Math.max(1, Math.floor(limit / length)));
  const sample = new Float32Array(take * length);
  for (let i = 0; i < take; i++) {
    const row = Math.floor((i * rows) / take);
    sample.set(values.subarray(row * length, (row + 1) * length), i * length);
  }
  return { values: sample, shape: shape.length === 2 ? [take, length] : [take * length] };
}

function sampleColumns(values: Float32Array, shape: Shape, limit: number): SampledMatrix {
  const [rows = 1, columns = 1] = shape;
  const take = Math.min(columns, Math.max(1, Math.floor(limit / rows)));
  const sample = new Float32Array(rows * take);
  for (let i = 0; i < take; i++) {
    const column = Math.floor((i * columns) / take);
    for (let row = 0; row < rows; row++) sample[row * take + i] = values[row * columns + column]!;
  }
  return { values: sample, shape: [rows, take] };
}

/** Values at evenly spaced ranks of the histogram, in a seeded random order; min and max are among the ranks. */
export function drawFromHistogram(statistics: TensorStatistics, limit: number): TensorSample {
  const { histogram, min, max, finite } = statistics;
  const total = histogram.counts.reduce((sum, count) => sum + count, 0);
  const size = Math.max(2, Math.min(limit, finite));
  const values = new Float32Array(size);
  let bin = 0;
  let below = 0;
  for (let i = 0; i < size; i++) {
    const rank = ((i + 0.5) / size) * total;
    while (bin < histogram.counts.length - 1 && below + histogram.counts[bin]! < rank) {
      below += histogram.counts[bin]!;
      bin++;
    }
    const from = Math.max(min, histogram.low + bin * histogram.width);
    const to = Math.min(max, histogram.low + (bin + 1) * histogram.width);
    values[i] = from + ((rank - below) / Math.max(1, histogram.counts[bin]!)) * (to - from);
  }
  values[0] = min;
  values[size - 1] = max;
  const random = createRandom(1);
  for (let i = size - 1; i > 0; i--) {
    const j = Math.floor(random.uniform() * (i + 1));
    const kept = values[i]!;
    values[i] = values[j]!;
    values[j] = kept;
  }
  const columns = Math.min(ROW, size);
  const rows = Math.floor(size / columns);
  const drawn = { values: values.subarray(0, rows * columns), shape: [rows, columns] };
  return { rows: drawn, columns: () => drawn, range: { min, max } };
}
