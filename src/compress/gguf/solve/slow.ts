/**
 * What is better known before the work: on lattices (IQ2, IQ3) `best` searches the points of eight values again and again, sweep after sweep
 * over each row, in plain TypeScript.
 */

import { BLOCK_TYPES, isBlockType } from '../../../core/ggml-types.ts';
import type { PlannedGgufTensor } from '../../../planning/gguf/options.ts';
import type { BlockMethod } from './names.ts';

/** Weights below which nobody needs to be told: some minutes. */
const SOON_DONE = 4e6;
/** IQ3_S, rows of 128 to 512 values, one core; wider rows take longer. */
const SECONDS_PER_WEIGHT = 45e-6;

/** @param wanted - the tensors that will be solved */
export function slowNote(wanted: readonly PlannedGgufTensor[], { options }: BlockMethod): string | undefined {
  if (options.refined !== true) return undefined;
  const slow = wanted.filter(({ to }) => isBlockType(to) && BLOCK_TYPES[to].family === 'lattice');
  const weights = slow.reduce((sum, { shape }) => sum + shape.reduce((count, size) => count * size, 1), 0);
  if (weights < SOON_DONE) return undefined;
  const types = [...new Set(slow.map(({ to }) => to))].join(', ');
  const millions = Math.round(weights / 1e6);
  const minutes = Math.round((weights * SECONDS_PER_WEIGHT) / 60);
  const time = minutes < 120 ? `${minutes} minutes` : `${Math.round(minutes / 60)} hours`;
  return `best is slow on ${types}: ${millions} million weights take ${time} or more. gptq-act-order is faster.`;
}
