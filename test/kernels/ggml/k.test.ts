/**
 * The K-quants: Q2_K to Q6_K, definition against ggml, kernels against the definition.
 * See suite.ts for what is held.
 */

import { describeFamily } from './suite.ts';

describeFamily('k');
