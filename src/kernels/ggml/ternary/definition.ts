/**
 * The definition of the ternary family of block types: weights of about one and a half bits, 8 of them a point of a code book
 * with components −1, 0, 1. iq1-s.ts and iq1-m.ts have the data sheets, grid.ts what they share.
 */

import type { Codecs } from '../codec.ts';
import { iq1_m } from './iq1-m.ts';
import { iq1_s } from './iq1-s.ts';

export const codecs: Codecs = { iq1_s, iq1_m };
