/** The definition of the linear family of block types. */

import type { Codecs } from '../codec.ts';

export const codecs: Codecs = {};
