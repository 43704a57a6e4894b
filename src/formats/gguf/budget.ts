/**
 * What opening one GGUF file may still hold in memory. Keys, scalars and tensor descriptions are held; arrays stay in
 * the file. One key is 14 bytes in the file and some hundred in memory, so that bytes alone would not bound the heap.
 */

import { WhittleError } from '../../errors.ts';
import type { Limits } from '../limits.ts';

export interface Budget {
  readonly file: string;
  readonly limits: Limits;
  held: number;
  heap: number;
}

export function createBudget(file: string, limits: Limits): Budget {
  return { file, limits, held: 0, heap: 0 };
}

/** Heap of one entry or tensor beside its texts, in bytes: measured with V8, rounded up. */
const RECORD_COST = 400;

/** Charges one record with `bytes` of text. @throws WhittleError E_LIMIT */
export function hold(budget: Budget, bytes: number, offset: number): void {
  budget.held += bytes;
  budget.heap += RECORD_COST + 2 * bytes;
  if (budget.held > budget.limits.skeletonBytes) {
    throw limitError(budget, 'skeletonBytes', 'the metadata without its arrays is too large', offset);
  }
  if (budget.heap > budget.limits.heapBytes) {
    throw limitError(
      budget,
      'heapBytes',
      'the file has too many keys or tensors to be held in memory',
      offset,
    );
  }
}

export function limitError(
  { file, limits }: Pick<Budget, 'file' | 'limits'>,
  limit: keyof Limits,
  message: string,
  offset: number | undefined,
  found?: number | bigint,
): WhittleError {
  return new WhittleError('E_LIMIT', message, {
    file,
    offset,
    expected: `at most ${limits[limit]} (limit "${limit}")`,
    found: found === undefined ? undefined : String(found),
    hint: 'If the model is real and you trust it, raise that limit.',
  });
}
