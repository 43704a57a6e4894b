/** The definition of the narrow family of block types. */

import type { Codecs } from '../codec.ts';

export const codecs: Codecs = {};
