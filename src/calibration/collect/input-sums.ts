/**
 * Adds up what a tapped model gives for each sample. Vectors are summed in f64, Gram matrices in f32: a matrix is the sum of at
 * most some thousand samples, and its rounding is far below the damping that every user of it adds.
 */

import { WhittleError } from '../../errors.ts';
import type { RuntimeTensor } from '../../runtime/runtime.ts';
import type { InputStatistics } from '../statistics/input-statistics.ts';
import type { Rows } from './rows.ts';
import type { SumOutputs } from './sums.ts';

export interface InputSums {
  /** Adds one run; false where something is not finite (nothing is added then). */
  add(outputs: ReadonlyMap<string, RuntimeTensor>): boolean;
  result(): InputStatistics;
}

export function createInputSums(inputs: number, { axis, groups }: Rows, names: SumOutputs): InputSums {
  const length = groups * inputs;
  const vector = (name: string | undefined): Float64Array | undefined =>
    name === undefined ? undefined : new Float64Array(length);
  const squares = new Float64Array(length);
  const magnitudes = vector(names.magnitudes);
  const sums = vector(names.sums);
  const peaks = names.peaks === undefined ? undefined : new Float32Array(length);
  let gram: Float32Array | undefined;
  let cross: Float32Array | undefined;
  let rows = 0;
  return {
    add(outputs) {
      const read = (name: string): Float32Array => floatsOf(outputs, name);
      const squaresNow =
        names.gram === undefined ? read(names.squares ?? '') : diagonal(read(names.gram), inputs);
      if (!squaresNow.every(Number.isFinite)) return false;
      const crossNow = names.cross === undefined ? undefined : read(names.cross);
      if (crossNow !== undefined && !diagonal(crossNow, inputs).every(Number.isFinite)) return false;
      rows += rowCount(outputs.get(names.shape), axis);
      addTo(squares, squaresNow);
      if (names.gram !== undefined) gram = addMatrix(gram, read(names.gram));
      if (crossNow !== undefined) cross = addMatrix(cross, crossNow);
      if (magnitudes !== undefined) addTo(magnitudes, read(names.magnitudes ?? ''));
      if (sums !== undefined) addTo(sums, read(names.sums ?? ''));
      if (peaks !== undefined) maximize(peaks, read(names.peaks ?? ''));
      return true;
    },
    result: () => ({
      inputs,
      ...(groups > 1 ? { groups } : {}),
      rows,
      squares,
      magnitudes,
      sums,
      peaks,
      gram,
      cross,
    }),
  };
}

/** f32 values of an output; the bytes belong to the caller and are not copied where they are aligned. */
export function floatsOf(outputs: ReadonlyMap<string, RuntimeTensor>, name: string): Float32Array {
  const tensor = outputs.get(name);
  if (tensor?.dtype !== 'f32') {
    throw new WhittleError('E_RUNTIME', 'the runtime did not deliver a tapped tensor as f32', {
      tensor: name,
      found: tensor?.dtype ?? 'nothing',
    });
  }
  const { data } = tensor;
  const aligned = data.byteOffset % 4 === 0 ? data : data.slice();
  return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4);
}

function rowCount(shape: RuntimeTensor | undefined, axis: Rows['axis']): number {
  if (shape === undefined) return 0;
  const view = new DataView(shape.data.buffer, shape.data.byteOffset, shape.data.byteLength);
  return Number(view.getBigInt64(axis === 'first' ? 0 : shape.data.byteLength - 8, true));
}

/** Diagonals of [n, n], or of [groups, n, n]. */
function diagonal(matrices: Float32Array, n: number): Float32Array {
  const result = new Float32Array(matrices.length / n);
  for (let i = 0; i < result.length; i++) result[i] = matrices[i * n + (i % n)]!;
  return result;
}

function addTo(target: Float64Array, values: Float32Array): void {
  for (let i = 0; i < target.length; i++) target[i]! += values[i]!;
}

/** The first matrix is kept as it came: its bytes are ours. */
function addMatrix(target: Float32Array | undefined, values: Float32Array): Float32Array {
  if (target === undefined) return values;
  for (let i = 0; i < target.length; i++) target[i]! += values[i]!;
  return target;
}

function maximize(target: Float32Array, values: Float32Array): void {
  for (let i = 0; i < target.length; i++) if (values[i]! > target[i]!) target[i] = values[i]!;
}
