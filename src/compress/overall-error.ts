/**
 * One figure for the error of all weights of a result: the mean ratio of noise to signal, every element counting for its
 * own tensor. Unlike the ratio of the summed energies it is not ruled by one tensor of huge values (a mask of −3e38 that
 * half precision clips), nor by the scale of any layer.
 */

import type { WeightError } from './options.ts';

/** dB; Infinity where all are exact, undefined where none was measured. */
export function overallSqnr(weights: readonly WeightError[]): number | undefined {
  let elements = 0;
  let noise = 0;
  for (const { count, sqnr } of weights) {
    if (sqnr === undefined || Number.isNaN(sqnr)) continue;
    elements += count;
    noise += count * 10 ** (-sqnr / 10);
  }
  return elements === 0 ? undefined : -10 * Math.log10(noise / elements);
}
