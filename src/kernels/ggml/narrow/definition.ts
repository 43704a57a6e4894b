/**
 * The definition of the narrow family of block types: those whose codes follow from one scale, the largest magnitude or the
 * mean one, without a search. They look at no importance matrix.
 *
 * Each file has its data sheets: trits.ts (tq1_0, tq2_0), float4.ts (mxfp4, nvfp4), signs.ts (q1_0, q2_0).
 */

import type { Codecs } from '../codec.ts';
import { mxfp4, nvfp4 } from './float4.ts';
import { q1_0, q2_0 } from './signs.ts';
import { tq1_0, tq2_0 } from './trits.ts';

export const codecs: Codecs = { tq1_0, tq2_0, mxfp4, nvfp4, q1_0, q2_0 };
