/**
 * q4_0 to q8_0 and the IQ4 types: definition against ggml, kernels against the definition.
 * See suite.ts for what is held.
 */

import { describeFamily } from './suite.ts';

describeFamily('linear');
