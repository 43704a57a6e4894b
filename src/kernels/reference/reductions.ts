/**
 * Whole-array reductions: range, power sums, bin counts, error sums.
 *
 * Order of the sums (the contract that SIMD follows): element i belongs to lane i mod 4. Every lane has its own f64
 * accumulator and adds its elements in rising order; a skipped element adds nothing. The total is
 * (lane 0 + lane 2) + (lane 1 + lane 3), each `+` one f64 rounding.
 * Powers of d = f64(x) − shift: d·d, (d·d)·d, (d·d)·(d·d).
 * Extremes do not depend on the order; a zero extreme is reported as +0.
 */

import type { ErrorSums, PowerSums, Range } from '../kernels.ts';

/** Total of four lanes that start at `first`, in the fixed order. */
export function laneTotal(lanes: Float64Array, first: number): number {
  return lanes[first]! + lanes[first + 2]! + (lanes[first + 1]! + lanes[first + 3]!);
}

/** Smallest and largest finite value; +Inf and −Inf where there is none. */
export function range(values: Float32Array): Range {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  let nonFinite = 0;
  for (let i = 0; i < values.length; i++) {
    const x = values[i]!;
    if (x - x !== 0) {
      nonFinite++;
    } else {
      if (x < min) min = x;
      if (x > max) max = x;
    }
  }
  return { min: min + 0, max: max + 0, nonFinite };
}

/** Counts, extremes and Σ(x−shift)^p for p = 1..4 over the finite values. `absMin` is the least |x| but 0. */
export function powerSums(values: Float32Array, shift: number): PowerSums {
  const lanes = new Float64Array(16);
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  let absMin = Number.POSITIVE_INFINITY;
  let nonFinite = 0;
  let nan = 0;
  let zeros = 0;
  for (let i = 0; i < values.length; i++) {
    const x = values[i]!;
    if (x - x !== 0) {
      nonFinite++;
      if (Number.isNaN(x)) nan++;
      continue;
    }
    if (x < min) min = x;
    if (x > max) max = x;
    const absolute = Math.abs(x);
    if (absolute === 0) zeros++;
    else if (absolute < absMin) absMin = absolute;
    const lane = i & 3;
    const d = x - shift;
    const d2 = d * d;
    lanes[lane]! += d;
    lanes[lane + 4]! += d2;
    lanes[lane + 8]! += d2 * d;
    lanes[lane + 12]! += d2 * d2;
  }
  return {
    min: min + 0,
    max: max + 0,
    nonFinite,
    count: values.length - nonFinite,
    nan,
    zeros,
    absMin,
    sum1: laneTotal(lanes, 0),
    sum2: laneTotal(lanes, 4),
    sum3: laneTotal(lanes, 8),
    sum4: laneTotal(lanes, 12),
  };
}

/** See `Kernels.binCounts`. */
export function binCounts(values: Float32Array, perUnit: number, first: number, counts: Uint32Array): void {
  for (let i = 0; i < values.length; i++) {
    const bin = Math.floor(values[i]! * perUnit) - first;
    // NaN and ±Inf fail a comparison.
    if (bin >= 0 && bin < counts.length) counts[bin]!++;
  }
}

/** Sums over the pairs whose two members are finite; lanes as stated above. */
export function errorSums(a: Float32Array, b: Float32Array): ErrorSums {
  const lanes = new Float64Array(16);
  let count = 0;
  let maxAbs = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i]!;
    const y = b[i]!;
    if (x - x !== 0 || y - y !== 0) continue;
    count++;
    const error = x - y;
    const absolute = Math.abs(error);
    if (absolute > maxAbs) maxAbs = absolute;
    const lane = i & 3;
    lanes[lane]! += error * error;
    lanes[lane + 4]! += x * x;
    lanes[lane + 8]! += y * y;
    lanes[lane + 12]! += x * y;
  }
  return {
    count,
    maxAbs,
    squaredError: laneTotal(lanes, 0),
    squaredA: laneTotal(lanes, 4),
    squaredB: laneTotal(lanes, 8),
    dot: laneTotal(lanes, 12),
  };
}
