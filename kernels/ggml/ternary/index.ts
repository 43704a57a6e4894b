/** Exports of the module for the ternary family of ggml block types (src/kernels/ggml/ternary). */

import { LISTS, PLACES, WORDS } from './memory';

export { dequantizeIq1M, quantizeIq1M } from './iq1-m';
export { dequantizeIq1S, quantizeIq1S } from './iq1-s';

/** Where the words of the points are expected: 2048 u16. */
export function wordsAt(): usize {
  return WORDS;
}

/** Where the places of all words are expected: i32, see src/kernels/ggml/codebooks/neighbours.ts. */
export function placesAt(): usize {
  return PLACES;
}

/** Where the lists are expected, with words in the place of indices: u16. */
export function listsAt(): usize {
  return LISTS;
}
