/**
 * The definition of the K-quants. One file each has the layout and the mathematics of a type; here are the rows that name them.
 * What they share stands in super-block.ts, the searches for scales in ../searches.ts.
 */

import type { Codecs } from '../codec.ts';
import { q2K } from './q2-k.ts';
import { q3K } from './q3-k.ts';
import { q4K, q5K } from './q4-q5-k.ts';
import { q6K } from './q6-k.ts';
import { type SuperBlock, superBlockCodec } from './super-block.ts';

/** The types that consist of super-blocks. */
export const SUPER_BLOCKS = {
  q2_K: q2K,
  q3_K: q3K,
  q4_K: q4K,
  q5_K: q5K,
  q6_K: q6K,
} as const satisfies Record<string, SuperBlock>;

export const codecs: Codecs = {
  q2_K: superBlockCodec(q2K),
  q3_K: superBlockCodec(q3K),
  q4_K: superBlockCodec(q4K),
  q5_K: superBlockCodec(q5K),
  q6_K: superBlockCodec(q6K),
};
