/** The definition of the lattice family of block types. */

import type { Codecs } from '../codec.ts';

export const codecs: Codecs = {};
