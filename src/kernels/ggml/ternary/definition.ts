/** The definition of the ternary family of block types. */

import type { Codecs } from '../codec.ts';

export const codecs: Codecs = {};
