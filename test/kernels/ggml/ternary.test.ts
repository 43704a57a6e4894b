/**
 * iq1_s and iq1_m: definition and kernels against ggml's library (suite.ts). Where sums overflow f32 so that iq1_m finds no
 * scale, ggml ends the process and there are no bytes to compare with; definition and kernels still agree.
 */

import { describeFamily } from './suite.ts';

/** Form and input. */
const OVERFLOWS = new Set([
  'imatrix one huge outlier',
  'plain one huge outlier',
  'plain largest f32 among small values',
]);

describeFamily('ternary', {
  skip: (type, input, form) =>
    type === 'iq1_m' && OVERFLOWS.has(`${form} ${input}`)
      ? 'ggml ends the process where sums overflow'
      : undefined,
  runs: 20,
});
