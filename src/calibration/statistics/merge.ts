/** Adds the statistics of two runs: sums add, peaks take the larger; what only one of them has is left out. */

import { WhittleError } from '../../errors.ts';
import type { InputStatistics } from './input-statistics.ts';

/** @throws WhittleError E_SHAPE where the two are not of the same input */
export function mergeStatistics(a: InputStatistics, b: InputStatistics): InputStatistics {
  if (a.inputs !== b.inputs || (a.groups ?? 1) !== (b.groups ?? 1)) {
    throw new WhittleError('E_SHAPE', 'statistics of inputs of different length cannot be merged', {
      expected: describe(a),
      found: describe(b),
    });
  }
  return {
    inputs: a.inputs,
    groups: a.groups,
    rows: a.rows + b.rows,
    squares: sum64(a.squares, b.squares),
    magnitudes: both(a.magnitudes, b.magnitudes, sum64),
    sums: both(a.sums, b.sums, sum64),
    peaks: both(a.peaks, b.peaks, (x, y) => x.map((value, i) => Math.max(value, y[i]!))),
    gram: both(a.gram, b.gram, sum32),
    cross: both(a.cross, b.cross, sum32),
    drift: both(a.drift, b.drift, sum32),
  };
}

/**
 * One group of a grouped Conv as statistics of its own; the arrays are views.
 * @throws WhittleError E_USAGE where there is no such group
 */
export function groupStatistics(statistics: InputStatistics, group: number): InputStatistics {
  const { inputs, rows, groups = 1 } = statistics;
  if (!Number.isInteger(group) || group < 0 || group >= groups) {
    throw new WhittleError('E_USAGE', 'there is no such group', {
      expected: `0 to ${groups - 1}`,
      found: String(group),
    });
  }
  const vector = [group * inputs, (group + 1) * inputs] as const;
  const matrix = [vector[0] * inputs, vector[1] * inputs] as const;
  return {
    inputs,
    rows,
    squares: statistics.squares.subarray(...vector),
    magnitudes: statistics.magnitudes?.subarray(...vector),
    sums: statistics.sums?.subarray(...vector),
    peaks: statistics.peaks?.subarray(...vector),
    gram: statistics.gram?.subarray(...matrix),
    cross: statistics.cross?.subarray(...matrix),
  };
}

function both<T>(a: T | undefined, b: T | undefined, merge: (a: T, b: T) => T): T | undefined {
  return a === undefined || b === undefined ? undefined : merge(a, b);
}

function sum64(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((value, i) => value + b[i]!);
}

function sum32(a: Float32Array, b: Float32Array): Float32Array {
  return a.map((value, i) => value + b[i]!);
}

function describe({ inputs, groups = 1 }: InputStatistics): string {
  return groups === 1 ? `${inputs} inputs` : `${groups} groups of ${inputs} inputs`;
}
