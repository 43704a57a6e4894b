/**
 * Where the lattice types keep their fields: blocks of 256 values that begin with a half, the scale. Sub-blocks of 16 or 32
 * values each have a 4-bit scale; points are named by 8 bits, and further ones elsewhere in the larger books; signs are bytes
 * (bit i for value i) or 7 bits. Offsets in bytes (docs/encodings.md).
 */

import type { LatticeType } from './forms.ts';

/** A sub-block's part of a block. Writing adds bits to a block of zeros. */
export interface LatticeLayout {
  readonly bytes: number;
  /** Its points' indices are `points` from `g` on, its signs `signs` from `e` on; `part`: how many sub-blocks were written before. */
  writePoints(
    block: Uint8Array,
    sub: number,
    part: number,
    points: Uint16Array,
    g: number,
    signs: Uint8Array,
    e: number,
  ): void;
  writeScale(block: Uint8Array, sub: number, level: number): void;
  /** Index of the block's point `group`. */
  readPoint(block: Uint8Array, group: number): number;
  /** Signs of the eight values from 8·`eight` on, without parity. */
  readSigns(block: Uint8Array, eight: number): number;
  readScale(block: Uint8Array, sub: number): number;
}

/** Nibble `sub` of the bytes from `start` on. */
function nibbles(start: number): Pick<LatticeLayout, 'writeScale' | 'readScale'> {
  return {
    writeScale: (block, sub, level) => {
      block[start + (sub >> 1)]! |= level << (4 * (sub & 1));
    },
    readScale: (block, sub) => (block[start + (sub >> 1)]! >> (4 * (sub & 1))) & 15,
  };
}

/** Seven sign bits for each of four eights and the scale above them, in words of `stride` bytes. */
function signWords(
  start: number,
  stride: number,
): Pick<LatticeLayout, 'writeScale' | 'readScale' | 'readSigns'> & {
  writeSigns(block: Uint8Array, sub: number, signs: Uint8Array, e: number): void;
} {
  const read = (block: Uint8Array, sub: number): number => {
    const at = start + stride * sub;
    return (block[at]! | (block[at + 1]! << 8) | (block[at + 2]! << 16) | (block[at + 3]! << 24)) >>> 0;
  };
  return {
    writeSigns: (block, sub, signs, e) => {
      const word = signs[e]! | (signs[e + 1]! << 7) | (signs[e + 2]! << 14) | (signs[e + 3]! << 21);
      for (let i = 0; i < 4; i++) block[start + stride * sub + i]! |= word >>> (8 * i);
    },
    writeScale: (block, sub, level) => {
      block[start + stride * sub + 3]! |= level << 4;
    },
    readSigns: (block, eight) => withParity((read(block, eight >> 2) >>> (7 * (eight & 3))) & 127),
    readScale: (block, sub) => read(block, sub) >>> 28,
  };
}

/** The eighth sign: an even number of them. */
function withParity(signs: number): number {
  let parity = signs ^ (signs >> 4);
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return signs | ((parity & 1) << 7);
}

const signs2 = signWords(6, 8);
const signs3 = signWords(66, 4);

export const LAYOUTS: Readonly<Record<LatticeType, LatticeLayout>> = {
  iq2_xxs: {
    ...signs2,
    bytes: 66,
    writePoints: (block, sub, _part, points, g, signs, e) => {
      for (let k = 0; k < 4; k++) block[2 + 8 * sub + k] = points[g + k]!;
      signs2.writeSigns(block, sub, signs, e);
    },
    readPoint: (block, group) => block[2 + 8 * (group >> 2) + (group & 3)]!,
  },
  iq2_xs: {
    ...nibbles(66),
    bytes: 74,
    writePoints: (block, sub, _part, points, g, signs, e) => {
      for (let k = 0; k < 2; k++) {
        block[2 + 4 * sub + 2 * k] = points[g + k]!;
        block[3 + 4 * sub + 2 * k] = (points[g + k]! >> 8) | (signs[e + k]! << 1);
      }
    },
    readPoint: (block, group) => block[2 + 2 * group]! | ((block[3 + 2 * group]! & 1) << 8),
    readSigns: (block, eight) => withParity(block[3 + 2 * eight]! >> 1),
  },
  iq2_s: {
    ...nibbles(74),
    bytes: 82,
    writePoints: (block, sub, _part, points, g, signs, e) => {
      for (let k = 0; k < 2; k++) {
        const group = 2 * sub + k;
        block[2 + group] = points[g + k]!;
        block[34 + group] = signs[e + k]!;
        block[66 + (group >> 2)]! |= (points[g + k]! >> 8) << (2 * (group & 3));
      }
    },
    readPoint: (block, group) =>
      block[2 + group]! | (((block[66 + (group >> 2)]! >> (2 * (group & 3))) & 3) << 8),
    readSigns: (block, eight) => block[34 + eight]!,
  },
  iq3_xxs: {
    ...signs3,
    bytes: 98,
    writePoints: (block, sub, _part, points, g, signs, e) => {
      for (let k = 0; k < 8; k++) block[2 + 8 * sub + k] = points[g + k]!;
      signs3.writeSigns(block, sub, signs, e);
    },
    readPoint: (block, group) => block[2 + group]!,
  },
  iq3_s: {
    ...nibbles(106),
    bytes: 110,
    // The encoder does not move on after a sub-block of zeros: what follows is written one place too early (but for the
    // ninth bits). Files contain it so.
    writePoints: (block, sub, part, points, g, signs, e) => {
      for (let k = 0; k < 8; k++) {
        block[2 + 8 * part + k] = points[g + k]!;
        block[66 + sub]! |= (points[g + k]! >> 8) << k;
      }
      for (let k = 0; k < 4; k++) block[74 + 4 * part + k] = signs[e + k]!;
    },
    readPoint: (block, group) => block[2 + group]! | (((block[66 + (group >> 3)]! >> (group & 7)) & 1) << 8),
    readSigns: (block, eight) => block[74 + eight]!,
  },
};
