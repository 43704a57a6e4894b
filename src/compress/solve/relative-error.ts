/**
 * The share of a layer's output energy that is error, tr(E H Eᵀ) / tr(W H Wᵀ) with E = W − Q: what reports say of each layer. With the
 * diagonal of H, or without H, where that is all that is known.
 */

import { quadraticForms } from '../../algorithms/linear-algebra.ts';
import type { WeightMatrix } from '../../algorithms/matrix.ts';
import type { InputStatistics } from '../../calibration/statistics/input-statistics.ts';
import type { AlgebraKernels } from '../../kernels/algebra/index.ts';

/** Rows that are brought into f64 at a time. Values. */
const BATCH = 1 << 21;

/** @param restored - values that the runtime multiplies with, one array for each figure that is wanted */
export function relativeErrors(
  { values, outputs, inputs }: WeightMatrix,
  restored: readonly Float32Array[],
  statistics: InputStatistics | undefined,
  algebra?: AlgebraKernels,
): number[] {
  const known = statistics?.groups === undefined ? statistics : undefined;
  const batch = Math.max(1, Math.floor(BATCH / Math.max(1, inputs)));
  const energy = (quantized?: Float32Array): number => {
    let total = 0;
    for (let first = 0; first < outputs; first += batch) {
      const start = first * inputs;
      const end = Math.min(outputs, first + batch) * inputs;
      const rows = Float64Array.from(values.subarray(start, end));
      if (quantized !== undefined)
        for (let i = 0; i < rows.length; i++) rows[i] = rows[i]! - quantized[start + i]!;
      total += energyOf(rows, inputs, known, algebra);
    }
    return total;
  };
  const signal = energy();
  return restored.map((quantized) => {
    const noise = energy(quantized);
    return signal > 0 ? noise / signal : noise > 0 ? Number.POSITIVE_INFINITY : 0;
  });
}

function energyOf(
  rows: Float64Array,
  n: number,
  statistics: InputStatistics | undefined,
  algebra: AlgebraKernels | undefined,
): number {
  const { gram, squares } = statistics ?? {};
  if (gram !== undefined) return quadraticForms(rows, gram, n, algebra).reduce((sum, own) => sum + own, 0);
  let sum = 0;
  for (let i = 0; i < rows.length; i++) sum += rows[i]! * rows[i]! * (squares?.[i % n] ?? 1);
  return sum;
}
