/**
 * Sums of matrix products that grow inside the runtime: out = in + A·Xᵀ, where `in` is fed with what the run before gave, and
 * the runtime writes over it where it can. A matrix of any size so costs one buffer and no copy.
 *
 * XᵀX is symmetric: it is computed in strips, rows i·n/s … of the columns up to their end, which saves up to half of the
 * multiplications ((s − 1) / 2s); the rest is mirrored at the end. With four strips 5/8 are left.
 */

import { intAttribute } from '../../formats/onnx/rewrite/build.ts';
import type { TapGraph } from '../../formats/onnx/taps/tap-graph.ts';
import type { RuntimeTensor } from '../../runtime/runtime.ts';
import type { Rows } from './rows.ts';

/** A piece of a matrix: an input and an output of the tapped model, and what it holds so far. */
interface Piece {
  readonly input: string;
  readonly output: string;
  readonly firstRow: number;
  state: RuntimeTensor;
}

export interface RunningMatrix {
  /** What the next run is to be fed with, and may write over. */
  feeds(): Iterable<readonly [string, RuntimeTensor]>;
  into(): Iterable<readonly [string, RuntimeTensor]>;
  /** Takes over what a run gave; false where the diagonal is not finite. */
  take(outputs: ReadonlyMap<string, RuntimeTensor>): boolean;
  /** f32 [inputs, inputs], or [groups, inputs, inputs]. To be called once: what it is made of is let go. */
  result(): Float32Array;
}

/** Below this many inputs strips cost more than they save. */
const STRIP_INPUTS = 192;
const MAX_STRIPS = 4;

/** Σ x xᵀ. */
export function addGram(taps: TapGraph, rows: Rows): RunningMatrix {
  const { inputs, groups, name: x, axis } = rows;
  if (groups > 1) return addGrouped(taps, rows, x);
  const strips = Math.max(1, Math.min(MAX_STRIPS, Math.floor(inputs / STRIP_INPUTS)));
  const pieces: Piece[] = [];
  const along = axis === 'first' ? 1 : 0;
  for (let strip = 0; strip < strips; strip++) {
    const from = Math.floor((strip * inputs) / strips);
    const to = Math.floor(((strip + 1) * inputs) / strips);
    const left = strips === 1 ? x : taps.slice(x, along, from, to);
    const right = to === inputs ? x : taps.slice(x, along, 0, to);
    pieces.push(addPiece(taps, [to - from, to], from, (c) => gemm(taps, axis, left, right, c)));
  }
  return runningMatrix(rows, pieces, true);
}

/** Σ a xᵀ, of rows of the same kind. */
export function addCross(taps: TapGraph, rows: Rows, a: string): RunningMatrix {
  if (rows.groups > 1) return addGrouped(taps, rows, a);
  const { inputs, name: x, axis } = rows;
  const piece = addPiece(taps, [inputs, inputs], 0, (c) => gemm(taps, axis, a, x, c));
  return runningMatrix(rows, [piece], false);
}

/** Σ a xᵀ, [outputs, inputs], of rows of `outputs` values that belong to the rows x. */
export function addDrift(taps: TapGraph, rows: Rows, a: string, outputs: number): RunningMatrix {
  const { name: x, inputs, axis } = rows;
  const piece = addPiece(taps, [outputs, inputs], 0, (c) => gemm(taps, axis, a, x, c));
  return runningMatrix(rows, [piece], false);
}

function addGrouped(taps: TapGraph, rows: Rows, a: string): RunningMatrix {
  const { inputs, groups, name: x } = rows;
  const piece = addPiece(taps, [groups, inputs, inputs], 0, (c) =>
    taps.node('Add', [taps.node('MatMul', [a, taps.transpose(x, [0, 2, 1])]), c]),
  );
  return runningMatrix(rows, [piece], false);
}

function gemm(taps: TapGraph, axis: Rows['axis'], a: string, b: string, c: string): string {
  return taps.node('Gemm', [a, b, c], [intAttribute(axis === 'first' ? 'transA' : 'transB', 1)]);
}

function addPiece(
  taps: TapGraph,
  shape: readonly number[],
  firstRow: number,
  make: (c: string) => string,
): Piece {
  const input = taps.input(shape);
  const output = make(input);
  taps.output(output);
  const values = new Uint8Array(4 * shape.reduce((count, size) => count * size, 1));
  return { input, output, firstRow, state: { dtype: 'f32', shape, data: values } };
}

function runningMatrix({ inputs, groups }: Rows, pieces: readonly Piece[], mirrored: boolean): RunningMatrix {
  return {
    feeds: () => pieces.map(({ input, state }) => [input, state] as const),
    into: () => pieces.map(({ output, state }) => [output, state] as const),
    take(outputs) {
      let finite = true;
      for (const piece of pieces) {
        piece.state = outputs.get(piece.output) ?? piece.state;
        const values = valuesOf(piece.state);
        const columns = piece.state.shape.at(-1)!;
        for (let row = 0; row * columns < values.length; row++) {
          if (!Number.isFinite(values[row * columns + ((row + piece.firstRow) % inputs)])) finite = false;
        }
      }
      return finite;
    },
    result() {
      const [only] = pieces;
      if (pieces.length === 1 && only !== undefined && !mirrored) return valuesOf(only.state);
      const matrix = new Float32Array(groups * inputs * inputs);
      for (const piece of pieces) {
        const { state, firstRow } = piece;
        const values = valuesOf(state);
        const columns = state.shape.at(-1)!;
        piece.state = { ...state, data: new Uint8Array(0) };
        for (let row = 0; row * columns < values.length; row++) {
          const at = row + firstRow;
          // What lies right of the diagonal in a strip is the mirror image of what lies below it.
          for (let column = 0; column <= at; column++) {
            const value = values[row * columns + column]!;
            matrix[at * inputs + column] = value;
            matrix[column * inputs + at] = value;
          }
        }
      }
      return matrix;
    },
  };
}

function valuesOf({ data }: RuntimeTensor): Float32Array {
  return new Float32Array(data.buffer, data.byteOffset, data.byteLength / 4);
}
