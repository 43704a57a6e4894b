/**
 * Where the codes of a block type stand: bits of the block that say nothing but which value of its grid a weight takes. Whoever chooses
 * codes by other means than ggml's encoder keeps the encoder's scales and writes codes of its own.
 *
 * What a code is worth is not told here: the type's decoder knows. A block whose codes are all c decodes to the value that c has at each
 * place, so two fillings give the grid of a type whose values are evenly spaced.
 *
 * Source: the data sheets of docs/encodings.md, "ggml block types"; tests write codes and let ggml's decoder read them.
 */

import { BLOCK_TYPES, type BlockType } from '../core/ggml-types.ts';

/** Some bits of a code: `bits` from bit `from` of the code on, at bit `shift` of byte `byte`. */
interface Piece {
  readonly byte: number;
  readonly shift: number;
  readonly from: number;
  readonly bits: number;
}

export interface CodeLayout {
  /** Codes are 0 … top. */
  readonly top: number;
  /** Consecutive values that share a scale. */
  readonly group: number;
  /** Relative values of the codes where they are not evenly spaced: value = level · scale. */
  readonly levels?: readonly number[] | undefined;
}

interface CodeFields extends CodeLayout {
  /** What a stored code differs by from one that counts from the smallest value. */
  readonly flipped?: number | undefined;
  pieces(i: number): readonly Piece[];
}

const whole = (byte: number, shift: number, bits: number): Piece => ({ byte, shift, from: 0, bits });
/** 32 nibbles in 16 bytes: value j low, value j + 16 high. */
const nibbleAt = (start: number, j: number): Piece => whole(start + (j & 15), 4 * (j >> 4), 4);
/** Two bits of 256 values: byte l of each half's 32 holds values l, l + 32, l + 64, l + 96. */
const pairAt = (start: number, i: number, from = 0): Piece => ({
  byte: start + (i >> 7) * 32 + (i & 31),
  shift: 2 * ((i >> 5) & 3),
  from,
  bits: 2,
});
const bitAt = (byte: number, shift: number, from: number): Piece => ({ byte, shift, from, bits: 1 });
/** Nibbles of 256 values: of 64 the first 32 are low. */
const halfAt = (start: number, i: number): Piece =>
  whole(start + (i >> 6) * 32 + (i & 31), 4 * ((i >> 5) & 1), 4);

/** Values of iq4_nl and iq4_xs. */
const UNEVEN: readonly number[] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/** Twice the values of E2M1. */
const FLOAT4: readonly number[] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

const FIELDS: Partial<Record<BlockType, CodeFields>> = {
  q4_0: { top: 15, group: 32, pieces: (j) => [nibbleAt(2, j)] },
  q4_1: { top: 15, group: 32, pieces: (j) => [nibbleAt(4, j)] },
  q5_0: { top: 31, group: 32, pieces: (j) => [nibbleAt(6, j), bitAt(2 + (j >> 3), j & 7, 4)] },
  q5_1: { top: 31, group: 32, pieces: (j) => [nibbleAt(8, j), bitAt(4 + (j >> 3), j & 7, 4)] },
  q8_0: { top: 255, group: 32, flipped: 0x80, pieces: (j) => [whole(2 + j, 0, 8)] },
  q2_K: { top: 3, group: 16, pieces: (i) => [pairAt(16, i)] },
  q3_K: { top: 7, group: 16, pieces: (i) => [pairAt(32, i), bitAt(i & 31, i >> 5, 2)] },
  q4_K: { top: 15, group: 32, pieces: (i) => [halfAt(16, i)] },
  q5_K: { top: 31, group: 32, pieces: (i) => [halfAt(48, i), bitAt(16 + (i & 31), i >> 5, 4)] },
  q6_K: {
    top: 63,
    group: 16,
    pieces: (i) => [whole((i >> 7) * 64 + (i & 63), 4 * ((i >> 6) & 1), 4), pairAt(128, i, 4)],
  },
  iq4_nl: { top: 15, group: 32, levels: UNEVEN, pieces: (j) => [nibbleAt(2, j)] },
  iq4_xs: { top: 15, group: 32, levels: UNEVEN, pieces: (i) => [nibbleAt(8 + 16 * (i >> 5), i & 31)] },
  mxfp4: { top: 15, group: 32, levels: FLOAT4, pieces: (j) => [nibbleAt(1, j)] },
  nvfp4: {
    top: 15,
    group: 16,
    levels: FLOAT4,
    pieces: (i) => [whole(4 + 8 * (i >> 4) + (i & 7), 4 * ((i >> 3) & 1), 4)],
  },
  q1_0: { top: 1, group: 128, pieces: (j) => [bitAt(2 + (j >> 3), j & 7, 0)] },
  q2_0: { top: 3, group: 64, pieces: (j) => [whole(2 + (j >> 2), 2 * (j & 3), 2)] },
};

/** undefined for types whose values have no codes of their own: points of a lattice, trits packed together. */
export function codeLayout(type: BlockType): CodeLayout | undefined {
  return FIELDS[type];
}

/**
 * Writes codes into blocks, one for each value in order; everything else of the blocks stays.
 * @param blocks - as the encoder left them, ⌈codes / size⌉ blocks of `type`
 */
export function replaceCodes(type: BlockType, blocks: Uint8Array, codes: Uint8Array): void {
  const fields = FIELDS[type];
  if (fields === undefined) throw new Error(`${type} has no codes of single values`);
  const { size, bytes } = BLOCK_TYPES[type];
  const { flipped = 0 } = fields;
  const places = Array.from({ length: size }, (_, i) => fields.pieces(i));
  for (let start = 0, at = 0; start < codes.length; start += size, at += bytes) {
    for (let i = 0; i < size; i++) {
      const code = codes[start + i]! ^ flipped;
      for (const { byte, shift, from, bits } of places[i]!) {
        const mask = ((1 << bits) - 1) << shift;
        blocks[at + byte] = (blocks[at + byte]! & ~mask) | (((code >> from) << shift) & mask);
      }
    }
  }
}
