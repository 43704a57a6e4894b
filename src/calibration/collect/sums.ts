/**
 * The sums over the rows of a product that calibration collects: nodes that compute them for one sample, and what adds them up
 * over samples. Vectors leave the runtime with each sample and are summed in f64; matrices grow inside it (running-matrix.ts).
 * Σ x² is the diagonal of H where H is collected.
 */

import { WhittleError } from '../../errors.ts';
import type { TapGraph } from '../../formats/onnx/taps/tap-graph.ts';
import type { RuntimeTensor } from '../../runtime/runtime.ts';
import type { InputStatistics } from '../statistics/input-statistics.ts';
import type { Collected } from './products.ts';
import type { Rows } from './rows.ts';
import { addCross, addDrift, addGram } from './running-matrix.ts';

export interface InputSums {
  feeds(): Iterable<readonly [string, RuntimeTensor]>;
  into(): Iterable<readonly [string, RuntimeTensor]>;
  /** Adds one run; false where something is not finite: the sums are worthless then. */
  add(outputs: ReadonlyMap<string, RuntimeTensor>): boolean;
  /** To be called once: matrices are given away. */
  result(): InputStatistics;
}

/** What the float model has at the same places: the same rows, or the rows [rows, outputs] of the sum that the product goes into. */
export type Reference =
  | { readonly kind: 'cross'; readonly rows: Rows }
  | { readonly kind: 'drift'; readonly sum: string; readonly float: string; readonly outputs: number };

/**
 * Adds the nodes to the graph.
 * @param reference For 'cross' and 'drift'.
 */
export function addSums(
  taps: TapGraph,
  rows: Rows,
  collect: ReadonlySet<Collected>,
  reference?: Reference,
): InputSums {
  const { name: x, axis, groups, inputs } = rows;
  const across = axis === 'first' ? [0] : [groups > 1 ? 2 : 1];
  const given = (name: string): string => {
    taps.output(name);
    return name;
  };
  const reduced = (kind: 'ReduceSum' | 'ReduceMax', of: string): string =>
    given(taps.reduce(kind, of, across));
  const absolute = collect.has('magnitudes') || collect.has('peaks') ? taps.node('Abs', [x]) : '';
  const gram = collect.has('gram') ? addGram(taps, rows) : undefined;
  const cross =
    reference?.kind === 'cross'
      ? addCross(taps, rows, taps.node('Sub', [reference.rows.name, x]))
      : undefined;
  const drift =
    reference?.kind === 'drift'
      ? addDrift(taps, rows, taps.node('Sub', [reference.float, reference.sum]), reference.outputs)
      : undefined;
  const vector = (name: string) => ({ name, total: new Float64Array(groups * inputs) });
  const squares = gram ? undefined : vector(reduced('ReduceSum', taps.node('Mul', [x, x])));
  const magnitudes = collect.has('magnitudes') ? vector(reduced('ReduceSum', absolute)) : undefined;
  const sums = collect.has('sums') ? vector(reduced('ReduceSum', x)) : undefined;
  const peaks = collect.has('peaks')
    ? { name: reduced('ReduceMax', absolute), total: new Float32Array(groups * inputs) }
    : undefined;
  const shape = given(taps.node('Shape', [x]));
  const matrices = [gram, cross, drift].filter((matrix) => matrix !== undefined);
  let count = 0;
  return {
    feeds: () => matrices.flatMap((matrix) => [...matrix.feeds()]),
    into: () => matrices.flatMap((matrix) => [...matrix.into()]),
    add(outputs) {
      count += rowCount(outputs.get(shape), axis);
      for (const matrix of matrices) if (!matrix.take(outputs)) return false;
      for (const part of [squares, magnitudes, sums]) {
        if (part !== undefined && !addTo(part.total, floatsOf(outputs, part.name))) return false;
      }
      if (peaks !== undefined) maximize(peaks.total, floatsOf(outputs, peaks.name));
      return true;
    },
    result() {
      const H = gram?.result();
      return {
        inputs,
        ...(groups > 1 ? { groups } : {}),
        rows: count,
        squares: squares?.total ?? diagonal(H ?? new Float32Array(0), inputs),
        magnitudes: magnitudes?.total,
        sums: sums?.total,
        peaks: peaks?.total,
        gram: H,
        cross: cross?.result(),
        drift: drift?.result(),
      };
    },
  };
}

/** f32 values of an output; the bytes are not copied where they are aligned. */
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
function diagonal(matrices: Float32Array, n: number): Float64Array {
  const result = new Float64Array(matrices.length / n);
  for (let i = 0; i < result.length; i++) result[i] = matrices[i * n + (i % n)]!;
  return result;
}

/** False where a value is not finite. */
function addTo(target: Float64Array, values: Float32Array): boolean {
  let finite = true;
  for (let i = 0; i < target.length; i++) {
    const value = values[i]!;
    if (!Number.isFinite(value)) finite = false;
    target[i]! += value;
  }
  return finite;
}

function maximize(target: Float32Array, values: Float32Array): void {
  for (let i = 0; i < target.length; i++) if (values[i]! > target[i]!) target[i] = values[i]!;
}
