/**
 * Granularity: which values share one scale. A closed union; the scales of
 *   tensor                                 [4, 6] have the shape []
 *   axis  { axis: 0 }                      [4, 6] → [4]             one for each row ("per channel")
 *   group { axis: 1, size: 4 }             [4, 6] → [4, 2]          the last group of each row holds two
 *   block { rows: 2, columns: 4 }          [4, 6] → [2, 2]          tiles of the last two dimensions
 * Groups are listed in the row-major order of the scales' shape. Each is a set of runs with constant strides, which is
 * all that gathering and scattering need to know.
 */

import { formatShape, type Shape } from '../core/shape.ts';
import { WhittleError } from '../errors.ts';
import type { CodeArray } from './affine.ts';
import { resolveAxis } from './weights.ts';

export type Granularity =
  | { readonly kind: 'tensor' }
  | { readonly kind: 'axis'; readonly axis: number }
  | { readonly kind: 'group'; readonly axis: number; readonly size: number }
  | { readonly kind: 'block'; readonly rows: number; readonly columns: number };

/** `runs` runs of `length` elements: element j of run i is at start + i · runStride + j · step. */
export interface Group {
  readonly start: number;
  readonly runs: number;
  readonly runStride: number;
  readonly length: number;
  readonly step: number;
}

export interface GroupLayout {
  readonly groups: number;
  /** Shape of the scales. */
  readonly scaleShape: Shape;
  /** Elements of the largest group. */
  readonly largest: number;
  group(index: number): Group;
}

/** How `granularity` divides `shape`. Throws E_SHAPE for an axis outside the shape, E_USAGE for a size below 1. */
export function layOutGroups(shape: Shape, granularity: Granularity): GroupLayout {
  switch (granularity.kind) {
    case 'tensor': {
      const length = product(shape, 0, shape.length);
      return {
        groups: 1,
        scaleShape: [],
        largest: length,
        group: () => ({ start: 0, runs: 1, runStride: 0, length, step: 1 }),
      };
    }
    case 'axis': {
      const axis = resolveAxis(granularity.axis, shape.length);
      const dim = shape[axis]!;
      const outer = product(shape, 0, axis);
      const inner = product(shape, axis + 1, shape.length);
      return {
        groups: dim,
        scaleShape: [dim],
        largest: outer * inner,
        group: (index) =>
          // One value per run is one strided run: the columns of a matrix.
          inner === 1
            ? { start: index, runs: 1, runStride: 0, length: outer, step: dim }
            : { start: index * inner, runs: outer, runStride: dim * inner, length: inner, step: 1 },
      };
    }
    case 'group': {
      const axis = resolveAxis(granularity.axis, shape.length);
      const size = positive('group size', granularity.size);
      const dim = shape[axis]!;
      const inner = product(shape, axis + 1, shape.length);
      const parts = Math.ceil(dim / size);
      return {
        groups: product(shape, 0, axis) * parts * inner,
        scaleShape: shape.map((d, i) => (i === axis ? parts : d)),
        largest: Math.min(size, dim),
        group: (index) => {
          const column = index % inner;
          const part = Math.floor(index / inner) % parts;
          const slice = Math.floor(index / (inner * parts));
          return {
            start: (slice * dim + part * size) * inner + column,
            runs: 1,
            runStride: 0,
            length: Math.min(size, dim - part * size),
            step: inner,
          };
        },
      };
    }
    case 'block': {
      const rows = positive('rows of a block', granularity.rows);
      const columns = positive('columns of a block', granularity.columns);
      if (shape.length < 2) {
        throw new WhittleError('E_SHAPE', 'blocks need a matrix', {
          expected: 'at least two dimensions',
          found: formatShape(shape),
          hint: 'Use the granularity tensor, axis or group.',
        });
      }
      const [height, width] = [shape.at(-2)!, shape.at(-1)!];
      const down = Math.ceil(height / rows);
      const across = Math.ceil(width / columns);
      return {
        groups: product(shape, 0, shape.length - 2) * down * across,
        scaleShape: [...shape.slice(0, -2), down, across],
        largest: Math.min(rows, height) * Math.min(columns, width),
        group: (index) => {
          const column = index % across;
          const row = Math.floor(index / across) % down;
          const slice = Math.floor(index / (across * down));
          return {
            start: (slice * height + row * rows) * width + column * columns,
            runs: Math.min(rows, height - row * rows),
            runStride: width,
            length: Math.min(columns, width - column * columns),
            step: 1,
          };
        },
      };
    }
    default:
      throw unknownKind(granularity);
  }
}

/** Values of one group: a view where they are contiguous, else a copy in `scratch`. */
export function gatherGroup(values: Float32Array, group: Group, scratch: Float32Array): Float32Array {
  const { start, runs, runStride, length, step } = group;
  if (runs === 1 && step === 1) return values.subarray(start, start + length);
  let at = 0;
  for (let run = 0; run < runs; run++) {
    const from = start + run * runStride;
    for (let i = 0; i < length; i++) scratch[at++] = values[from + i * step]!;
  }
  return scratch.subarray(0, at);
}

/** Inverse of `gatherGroup`: writes the group's values (or codes) to their places. */
export function scatterGroup(
  from: Float32Array | CodeArray,
  group: Group,
  target: Float32Array | CodeArray,
): void {
  const { start, runs, runStride, length, step } = group;
  let at = 0;
  for (let run = 0; run < runs; run++) {
    const to = start + run * runStride;
    for (let i = 0; i < length; i++) target[to + i * step] = from[at++]!;
  }
}

/** Codes of one group, copied into `target`. */
export function gatherCodes(codes: CodeArray, group: Group, target: CodeArray): void {
  const { start, runs, runStride, length, step } = group;
  let at = 0;
  for (let run = 0; run < runs; run++) {
    const from = start + run * runStride;
    for (let i = 0; i < length; i++) target[at++] = codes[from + i * step]!;
  }
}

/** Reached by calls that no compiler checked. */
function unknownKind(granularity: never): WhittleError {
  return new WhittleError('E_USAGE', 'there is no such granularity', {
    expected: '{ kind: tensor, axis, group or block }',
    found: JSON.stringify(granularity),
  });
}

export function isContiguous(group: Group): boolean {
  return group.runs === 1 && group.step === 1;
}

/** Short text for tables: "tensor", "axis 0", "group 32", "block 16×16". */
export function formatGranularity(granularity: Granularity): string {
  switch (granularity.kind) {
    case 'tensor':
      return 'tensor';
    case 'axis':
      return `axis ${granularity.axis}`;
    case 'group':
      return granularity.axis === -1
        ? `group ${granularity.size}`
        : `group ${granularity.size} of axis ${granularity.axis}`;
    case 'block':
      return `block ${granularity.rows}×${granularity.columns}`;
    default:
      return granularity satisfies never;
  }
}

function product(shape: Shape, from: number, to: number): number {
  let result = 1;
  for (let i = from; i < to; i++) result *= shape[i]!;
  return result;
}

function positive(what: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new WhittleError('E_USAGE', `the ${what} must be a positive integer`, { found: String(value) });
  }
  return value;
}
