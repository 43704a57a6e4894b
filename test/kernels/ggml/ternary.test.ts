/**
 * iq1_s and iq1_m: definition and kernels against ggml's library (suite.ts). Values whose squares or cubes overflow f32 leave the
 * encoder without a scale or a neighbour: ggml then reads beyond the block or ends the process, so there are no bytes to
 * compare with; definition and kernels still agree on them.
 */

import { describeFamily } from './suite.ts';

const OVERFLOWS = new Set([
  'near 1e18',
  'near 1e30',
  'up to the largest f32',
  'largest f32 among small values',
  'one huge outlier',
]);

describeFamily('ternary', {
  skip: (_type, input) => (OVERFLOWS.has(input) ? 'ggml ends the process where sums overflow' : undefined),
  runs: 20,
});
