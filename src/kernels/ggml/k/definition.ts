/** The definition of the k family of block types. */

import type { Codecs } from '../codec.ts';

export const codecs: Codecs = {};
