/**
 * The plain-TypeScript kernels, which define every result; the WebAssembly kernels equal them bit for bit.
 * They run everywhere and need no build step. Families: reference/*.ts, each with its formulas and source.
 *
 * Lane order of all sums: element i adds to lane i mod 4; total = (lane 0 + lane 2) + (lane 1 + lane 3)
 * (reference/reductions.ts). Arguments are checked here (arguments.ts); the families trust them.
 */

import { bumpArena } from './arena.ts';
import { checkedKernels } from './arguments.ts';
import { preparedBlocks } from './ggml/families.ts';
import type { Kernels } from './kernels.ts';
import * as affine from './reference/affine.ts';
import * as blocks from './reference/blocks.ts';
import { quantizeBnb4 } from './reference/bnb4.ts';
import { mixWords } from './reference/checksum.ts';
import { convert, decodeHalves } from './reference/convert.ts';
import * as layout from './reference/layout.ts';
import * as reductions from './reference/reductions.ts';

/** The reference kernels, arguments checked. */
export const reference: Kernels = checkedKernels({
  backend: 'reference',
  arena: (byteLength) => bumpArena(new ArrayBuffer(byteLength), 0, byteLength),
  ...reductions,
  convert,
  decodeHalves,
  ...affine,
  ...blocks,
  quantizeBnb4,
  ...layout,
  mixWords,
  ...preparedBlocks(undefined),
});
