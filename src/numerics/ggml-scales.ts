/**
 * Whether the scales of ggml blocks are numbers: a block whose scale is Inf or NaN has no values, and llama.cpp refuses
 * to load or write it. Looked at as bytes, one or two for each block, so that it costs next to nothing.
 *
 * A half is Inf or NaN where its five exponent bits are all ones: bits 2 to 6 of its upper byte. Places of the scales are
 * those of the block layouts (docs/encodings.md, "ggml block types").
 */

import { BLOCK_TYPES, type BlockType } from '../core/ggml-types.ts';

/** Offsets of the upper bytes of a block's half-precision scales. */
const SCALES: Readonly<Record<BlockType, readonly number[]>> = {
  q4_0: [1],
  q4_1: [1, 3],
  q5_0: [1],
  q5_1: [1, 3],
  q8_0: [1],
  q2_K: [81, 83],
  q3_K: [109],
  q4_K: [1, 3],
  q5_K: [1, 3],
  q6_K: [209],
  iq2_xxs: [1],
  iq2_xs: [1],
  iq3_xxs: [1],
  iq1_s: [1],
  iq4_nl: [1],
  iq3_s: [1],
  iq2_s: [1],
  iq4_xs: [1],
  // The half is spread over four 16-bit words, its upper byte over the last two: see `badIq1m`.
  iq1_m: [],
  tq1_0: [53],
  tq2_0: [65],
  // An exponent (E8M0): 255 stands for NaN.
  mxfp4: [],
  // Every byte is a scale.
  nvfp4: [],
  q1_0: [1],
  q2_0: [1],
};

const EXPONENT = 0x7c;

/** Index of the first block with a scale that is Inf or NaN, or -1. `blocks` is a whole number of blocks. */
export function firstBadBlock(type: BlockType, blocks: Uint8Array): number {
  const { bytes } = BLOCK_TYPES[type];
  if (type === 'mxfp4') {
    for (let at = 0; at < blocks.length; at += bytes) if (blocks[at] === 0xff) return at / bytes;
    return -1;
  }
  if (type === 'iq1_m') {
    for (let at = 0; at < blocks.length; at += bytes) if (badIq1m(blocks, at)) return at / bytes;
    return -1;
  }
  let first = -1;
  for (const offset of SCALES[type]) {
    for (let at = offset; at < blocks.length; at += bytes) {
      if ((blocks[at]! & EXPONENT) !== EXPONENT) continue;
      const block = (at - offset) / bytes;
      if (first === -1 || block < first) first = block;
      break;
    }
  }
  return first;
}

/** Upper four bits of the words at 48, 50, 52 and 54 are the half's nibbles, lowest first. */
function badIq1m(blocks: Uint8Array, at: number): boolean {
  const upper = (blocks[at + 55]! & 0xf0) | (blocks[at + 53]! >> 4);
  return (upper & EXPONENT) === EXPONENT;
}

/** Index of the first f16 or bf16 element that is Inf or NaN, or -1; little-endian pairs of bytes. */
export function firstBadHalf(type: 'f16' | 'bf16', bytes: Uint8Array): number {
  for (let at = 1; at < bytes.length; at += 2) {
    const upper = bytes[at]!;
    const bad =
      type === 'f16'
        ? (upper & EXPONENT) === EXPONENT
        : (upper & 0x7f) === 0x7f && (bytes[at - 1]! & 0x80) !== 0;
    if (bad) return (at - 1) / 2;
  }
  return -1;
}
