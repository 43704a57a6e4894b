/** Error sums of tiles, added up in the order of the tiles; and what they say about a whole tensor. */

import type { ErrorSums, Kernels } from '../../kernels/kernels.ts';

export const NO_ERROR: ErrorSums = {
  count: 0,
  maxAbs: 0,
  squaredError: 0,
  squaredA: 0,
  squaredB: 0,
  dot: 0,
};

export function addSums(a: ErrorSums, b: ErrorSums): ErrorSums {
  return {
    count: a.count + b.count,
    maxAbs: Math.max(a.maxAbs, b.maxAbs),
    squaredError: a.squaredError + b.squaredError,
    squaredA: a.squaredA + b.squaredA,
    squaredB: a.squaredB + b.squaredB,
    dot: a.dot + b.dot,
  };
}

/** Signal-to-noise ratio in dB: 10·log10(Σa² / Σ(a−b)²); Infinity where nothing differs. */
export function sqnr(sums: ErrorSums): number {
  if (sums.squaredError === 0) return Number.POSITIVE_INFINITY;
  return 10 * Math.log10(sums.squaredA / sums.squaredError);
}

export interface SumsCollector {
  add(original: Float32Array, restored: Float32Array): void;
  readonly sums: ErrorSums | undefined;
}

/** `sums` stays undefined unless `measure`, so that a result says whether it was measured. */
export function collectSums(kernels: Kernels, measure: boolean): SumsCollector {
  let sums = measure ? NO_ERROR : undefined;
  return {
    add(original, restored) {
      if (sums !== undefined) sums = addSums(sums, kernels.errorSums(original, restored));
    },
    get sums() {
      return sums;
    },
  };
}
