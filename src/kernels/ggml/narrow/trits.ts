/**
 * Blocks of 256 values −d, 0 or d, for weights that were trained to be ternary (BitNet b1.58, TriLM).
 *
 *   tq1_0   48 B + 4 B trits, half d                54 bytes, 1.6875 bits per value
 *   tq2_0   64 B of four 2-bit codes, half d        66 bytes, 2.0625 bits per value
 *
 * d = max|x|, trit = round(x/d) + 1 half away from zero, by 1/d of the unrounded d.
 *
 * tq1_0 takes its values in three runs: 160 as 32 bytes, 80 as 16 bytes, 16 as 4 bytes. Byte m of a run with w bytes holds
 * the values m, m + w, m + 2w …, the first one in the highest of five trits (the last run has four and a zero). The number
 * v < 243 that they form is stored as ⌈256 v / 243⌉: a reader multiplies by 3 and finds the next trit above bit 8.
 * tq2_0: byte m of 32 holds the values m, m + 32, m + 64, m + 96 of its 128, lowest bits first.
 *
 * Source: docs/encodings.md, "ggml block types"; Ma et al. 2024, "The Era of 1-bit LLMs" for the weights.
 */

import { largestMagnitude, loadHalf, storeHalf } from '../blocks.ts';
import type { BlockCodec } from '../codec.ts';

const { fround } = Math;
const SIZE = 256;

/** The runs of tq1_0: first value, first byte, bytes, trits of a byte. */
const RUNS = [
  { value: 0, byte: 0, width: 32, trits: 5 },
  { value: 160, byte: 32, width: 16, trits: 5 },
  { value: 240, byte: 48, width: 4, trits: 4 },
] as const;

/** Trits of the block at `at`; stores its d. */
function encodeTrits(values: Float32Array, at: number, trits: Uint8Array): number {
  const d = largestMagnitude(values, at, SIZE);
  const id = d === 0 ? 0 : fround(1 / d);
  for (let j = 0; j < SIZE; j++) {
    const y = fround(values[at + j]! * id);
    // 1/d of a subnormal d may be Inf: ±Inf and NaN become x86's "indefinite" number, whose trit is 1.
    trits[j] = Number.isFinite(y) ? (y >= 0.5 ? 2 : y <= -0.5 ? 0 : 1) : 1;
  }
  return d;
}

function packFives(trits: Uint8Array, target: Uint8Array, at: number): void {
  for (const { value, byte, width, trits: count } of RUNS) {
    for (let m = 0; m < width; m++) {
      let v = 0;
      for (let n = 0; n < 5; n++) v = 3 * v + (n < count ? trits[value + n * width + m]! : 0);
      target[at + byte + m] = Math.ceil((256 * v) / 243);
    }
  }
}

export const tq1_0: BlockCodec = {
  quantize(values, _rowLength, _importance, target) {
    const trits = new Uint8Array(SIZE);
    for (let i = 0; i * SIZE < values.length; i++) {
      storeHalf(target, i * 54 + 52, encodeTrits(values, i * SIZE, trits));
      packFives(trits, target, i * 54);
    }
  },
  dequantize(source, target) {
    for (let i = 0; i * SIZE < target.length; i++) {
      const d = loadHalf(source, i * 54 + 52);
      for (const { value, byte, width, trits } of RUNS) {
        for (let m = 0; m < width; m++) {
          let rest = source[i * 54 + byte + m]!;
          for (let n = 0; n < trits; n++) {
            target[i * SIZE + value + n * width + m] = (((3 * rest) >> 8) - 1) * d;
            rest = (3 * rest) & 255;
          }
        }
      }
    }
  },
};

export const tq2_0: BlockCodec = {
  quantize(values, _rowLength, _importance, target) {
    const trits = new Uint8Array(SIZE);
    for (let i = 0; i * SIZE < values.length; i++) {
      storeHalf(target, i * 66 + 64, encodeTrits(values, i * SIZE, trits));
      for (let m = 0; m < 64; m++) {
        const first = (m >> 5) * 128 + (m & 31);
        target[i * 66 + m] =
          trits[first]! | (trits[first + 32]! << 2) | (trits[first + 64]! << 4) | (trits[first + 96]! << 6);
      }
    }
  },
  dequantize(source, target) {
    for (let i = 0; i * SIZE < target.length; i++) {
      const d = loadHalf(source, i * 66 + 64);
      for (let m = 0; m < 64; m++) {
        const first = i * SIZE + (m >> 5) * 128 + (m & 31);
        for (let n = 0; n < 4; n++) {
          target[first + 32 * n] = (((source[i * 66 + m]! >> (2 * n)) & 3) - 1) * d;
        }
      }
    }
  },
};
