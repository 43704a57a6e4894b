/** Small data sets and the definition of the statistics in plain loops, for the tests of collecting. */

import type { CalibrationModel } from '../../../src/calibration/collect/tapped-model.ts';
import type { Dataset, Sample } from '../../../src/calibration/data/dataset.ts';
import { createRandom } from '../../../src/core/random.ts';
import type { ModelProto } from '../../../src/formats/onnx/messages.ts';
import type { RuntimeTensor } from '../../../src/runtime/runtime.ts';

export function f32(shape: readonly number[], values: Float32Array): RuntimeTensor {
  return { dtype: 'f32', shape, data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
}

export function randomValues(count: number, seed: number): Float32Array {
  const random = createRandom(seed);
  return Float32Array.from({ length: count }, () => random.uniform() * 2 - 1);
}

export function dataset(samples: readonly Readonly<Record<string, RuntimeTensor>>[]): Dataset {
  const made = samples.map((inputs): Sample => ({ inputs: new Map(Object.entries(inputs)) }));
  return {
    count: made.length,
    description: 'values of a test',
    synthetic: true,
    notes: [],
    async *samples() {
      yield* made;
    },
  };
}

/** A model whose bytes are all in place. */
export function modelOf(proto: ModelProto): CalibrationModel {
  return { proto, resolve: () => Promise.reject(new Error('no tensor is external')) };
}

/** What the statistics of these rows are. */
export function statisticsOf(rows: readonly ArrayLike<number>[]) {
  const inputs = rows[0]?.length ?? 0;
  const squares = new Float64Array(inputs);
  const magnitudes = new Float64Array(inputs);
  const sums = new Float64Array(inputs);
  const peaks = new Float32Array(inputs);
  const gram = new Float64Array(inputs * inputs);
  for (const row of rows) {
    for (let i = 0; i < inputs; i++) {
      const x = row[i] ?? 0;
      squares[i]! += x * x;
      magnitudes[i]! += Math.abs(x);
      sums[i]! += x;
      peaks[i] = Math.max(peaks[i]!, Math.abs(x));
      for (let j = 0; j < inputs; j++) gram[i * inputs + j]! += x * (row[j] ?? 0);
    }
  }
  return { rows: rows.length, squares, magnitudes, sums, peaks, gram };
}

/** Largest difference, relative to the largest expected value. */
export function difference(found: ArrayLike<number> | undefined, expected: ArrayLike<number>): number {
  if (found?.length !== expected.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  let largest = 1e-30;
  for (let i = 0; i < expected.length; i++) {
    worst = Math.max(worst, Math.abs((found[i] ?? Number.NaN) - (expected[i] ?? 0)));
    largest = Math.max(largest, Math.abs(expected[i] ?? 0));
  }
  return worst / largest;
}
