/**
 * The plain-TypeScript kernels, which define every result; the WebAssembly kernels equal them bit for bit.
 * They run everywhere and need no build step. Families: reference/*.ts, each with its formulas and source.
 *
 * Lane order of all sums: element i adds to lane i mod 4; total = (lane 0 + lane 2) + (lane 1 + lane 3)
 * (reference/reductions.ts). Arguments are checked here (arguments.ts); the families trust them.
 */

import { WhittleError } from '../errors.ts';
import { checkedKernels } from './arguments.ts';
import { preparedBlocks } from './ggml/families.ts';
import type { Arena, Kernels } from './kernels.ts';
import * as affine from './reference/affine.ts';
import * as blocks from './reference/blocks.ts';
import { quantizeBnb4 } from './reference/bnb4.ts';
import { convert } from './reference/convert.ts';
import * as layout from './reference/layout.ts';
import * as reductions from './reference/reductions.ts';

/** A bump allocator over one buffer; `place` maps an aligned offset to an array. */
export function bumpArena(buffer: ArrayBuffer, base: number, byteLength: number): Arena {
  let used = 0;
  const take = (bytes: number): number => {
    const offset = used;
    if (!Number.isSafeInteger(bytes) || bytes < 0 || offset + bytes > byteLength) {
      throw new WhittleError('E_LIMIT', 'kernel arena is full', {
        expected: `at most ${byteLength - offset} bytes`,
        found: `${bytes} bytes`,
      });
    }
    used = Math.ceil((offset + bytes) / 16) * 16;
    return base + offset;
  };
  return {
    u8: (length) => new Uint8Array(buffer, take(length), length),
    u16: (length) => new Uint16Array(buffer, take(length * 2), length),
    f32: (length) => new Float32Array(buffer, take(length * 4), length),
    f64: (length) => new Float64Array(buffer, take(length * 8), length),
  };
}

/** The reference kernels, arguments checked. */
export const reference: Kernels = checkedKernels({
  backend: 'reference',
  arena: (byteLength) => bumpArena(new ArrayBuffer(byteLength), 0, byteLength),
  ...reductions,
  convert,
  ...affine,
  ...blocks,
  quantizeBnb4,
  ...layout,
  ...preparedBlocks(undefined),
});
