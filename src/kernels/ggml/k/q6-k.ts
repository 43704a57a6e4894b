/**
 * Q6_K: 256 values, 210 bytes, 6.5625 bits per weight; x = d · scale · (q − 32), sub-blocks of 16.
 *
 *   0    128 B   low nibbles: of each half's 128 values, byte l holds elements l and l + 64, byte l + 32 elements l + 32 and l + 96
 *   128   64 B   high two bits (packPairs)
 *   192   16 B   signed scales
 *   208    2 B   half d
 *
 * Source: ggml 0.25.1, ggml-quants.c (MIT), restated.
 */

import { loadHalf, storeHalf } from '../blocks.ts';
import { GROUP_EPSILON, nearestInteger, searchSymmetric } from '../searches.ts';
import { extremeOf, packPairs, pairOf, recode, type SuperBlock } from './super-block.ts';

const f = Math.fround;
const N = 16;
const HIGH = 128;
const SCALES = 192;
const D = 208;

const codes = new Uint8Array(256);
const high = new Uint8Array(256);
const scales = new Float32Array(16);

/** A byte read as a signed one. */
function signed(byte: number): number {
  return (byte << 24) >> 24;
}

export const q6K: SuperBlock = {
  bytes: 210,
  encode(x, importance, block) {
    for (let j = 0; j < 16; j++) {
      const w = importance?.subarray(j * N, (j + 1) * N);
      scales[j] = searchSymmetric(x, j * N, N, 32, w, codes);
    }
    const extreme = extremeOf(scales);
    if (Math.abs(extreme) < GROUP_EPSILON) {
      block.fill(0);
      return;
    }
    const inverse = f(-128 / extreme);
    const d = storeHalf(block, D, f(1 / inverse));
    for (let j = 0; j < 16; j++) {
      block[SCALES + j] = Math.min(127, nearestInteger(f(inverse * scales[j]!)));
      recode(x, j * N, N, f(d * signed(block[SCALES + j]!)), 0, -32, 31, codes);
    }
    for (let i = 0; i < 128; i++) {
      const j = (i >> 6) * 128 + (i & 63);
      block[i] = (codes[j]! & 15) | ((codes[j + 64]! & 15) << 4);
    }
    for (let i = 0; i < 256; i++) high[i] = codes[i]! >> 4;
    packPairs(high, block, HIGH);
  },
  decode(block, y) {
    const d = loadHalf(block, D);
    for (let i = 0; i < 256; i++) {
      const packed = block[(i >> 7) * 64 + (i & 63)]!;
      const low = ((i >> 6) & 1) === 0 ? packed & 15 : packed >> 4;
      const code = low | (pairOf(block, HIGH, i) << 4);
      y[i] = f(f(d * signed(block[SCALES + (i >> 4)]!)) * (code - 32));
    }
  },
};
