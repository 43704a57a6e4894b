/**
 * IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S: definition and kernels against ggml's library (suite.ts). Values whose squares
 * overflow f32 make the weights infinite and no neighbour better than another: ggml then ends the process, so there are no
 * bytes to compare with; definition and kernels still agree on them.
 */

import type { BlockType } from '../../../src/core/ggml-types.ts';
import { describeFamily } from './suite.ts';

const OVERFLOWS = new Set([
  'near 1e18',
  'near 1e30',
  'up to the largest f32',
  'largest f32 among small values',
  'one huge outlier',
]);
/** Inputs of those above that the type's encoder survives. */
const SURVIVED: Partial<Record<BlockType, readonly string[]>> = {
  iq2_xxs: ['near 1e30', 'up to the largest f32', 'largest f32 among small values', 'one huge outlier'],
  iq2_xs: ['one huge outlier'],
  iq2_s: ['one huge outlier'],
};

describeFamily('lattice', {
  skip: (type, input) =>
    OVERFLOWS.has(input) && SURVIVED[type]?.includes(input) !== true
      ? 'ggml ends the process where weights overflow'
      : undefined,
  runs: 15,
});
