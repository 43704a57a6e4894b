/**
 * The sums over the rows of a product that calibration collects, as nodes: each run gives the sums of one sample, which are
 * then added up outside (`InputSums`). Σ x² is the diagonal of H where H is collected.
 */

import { intAttribute } from '../../formats/onnx/rewrite/build.ts';
import type { TapGraph } from '../../formats/onnx/taps/tap-graph.ts';
import type { Collected } from './products.ts';
import type { Rows } from './rows.ts';

/** Output of the tapped model that holds each sum; `shape` is that of the matrix of rows. */
export type SumOutputs = Partial<Record<Collected, string>> & { readonly shape: string };

/**
 * Adds the nodes.
 * @param reference The same rows in the float model, for 'cross'.
 */
export function addSums(
  taps: TapGraph,
  rows: Rows,
  collect: ReadonlySet<Collected>,
  reference?: Rows,
): SumOutputs {
  const { name: x, axis, groups } = rows;
  const across = axis === 'first' ? [0] : [groups > 1 ? 2 : 1];
  const made: Partial<Record<Collected, string>> = {};
  const magnitudes = collect.has('magnitudes') || collect.has('peaks') ? taps.node('Abs', [x]) : undefined;
  if (collect.has('gram')) made.gram = addProduct(taps, rows, x);
  else made.squares = taps.reduce('ReduceSum', taps.node('Mul', [x, x]), across);
  if (magnitudes !== undefined && collect.has('magnitudes')) {
    made.magnitudes = taps.reduce('ReduceSum', magnitudes, across);
  }
  if (magnitudes !== undefined && collect.has('peaks')) {
    made.peaks = taps.reduce('ReduceMax', magnitudes, across);
  }
  if (collect.has('sums')) made.sums = taps.reduce('ReduceSum', x, across);
  if (reference !== undefined) {
    made.cross = addProduct(taps, rows, taps.node('Sub', [reference.name, x]));
  }
  const outputs: SumOutputs = { ...made, shape: taps.node('Shape', [x]) };
  for (const output of Object.values(outputs)) taps.output(output);
  return outputs;
}

/** Σ a xᵀ over the rows: [inputs, inputs], or [groups, inputs, inputs]. */
function addProduct(taps: TapGraph, { name: x, axis, groups }: Rows, a: string): string {
  if (groups > 1) return taps.node('MatMul', [a, taps.transpose(x, [0, 2, 1])]);
  // C of Gemm may be left out since version 11.
  const c = taps.opset >= 11 ? [] : [taps.floats([1], new Float32Array(1))];
  return taps.node('Gemm', [a, x, ...c], [intAttribute(axis === 'first' ? 'transA' : 'transB', 1)]);
}
