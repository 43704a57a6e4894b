/**
 * Blocks of 4-bit floats (E2M1: sign, 2 exponent bits, 1 mantissa bit), codes 0–7 for 0 0.5 1 1.5 2 3 4 6, 8–15 negative.
 *
 *   mxfp4   u8 e, 16 B codes (byte j: value j low, value j + 16 high)        32 values, 17 bytes, 4.25 bits per value
 *   nvfp4   4 × u8 scale, 4 × 8 B codes (byte j: value j low, j + 8 high)    64 values, 36 bytes, 4.5 bits per value
 *
 * mxfp4: e = ⌊log2 max|x|⌋ + 125 modulo 256, 0 for a block of zeros; values are kv · 2^(e−128) with kv twice the float, an
 * integer. nvfp4: for each 16 values a scale of 4 exponent and 3 mantissa bits without sign (UE4M3), of max|x| / 6, its half
 * times kv. A code is the first of 0 … 15 with the least |kv · d − x| in f32, so the smaller magnitude wins ties, −0 is not used,
 * and a value so large that no code changes the f32 difference gets code 0.
 *
 * Source: OCP Microscaling Formats v1.0 (2023); NVIDIA's NVFP4 (2025); the encoders: docs/encodings.md, "ggml block types".
 */

import { floorLog2 } from '../../../core/floats.ts';
import { largestMagnitude } from '../blocks.ts';
import type { BlockCodec } from '../codec.ts';
import { floorOfRoundedLog2 } from './binary-logarithm.ts';

const { fround } = Math;

/** Twice the value of each code. */
const DOUBLED = Float32Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

/** Half of 2^(e − 127). */
function halfPower(e: number): number {
  return 2 ** (e - 128);
}

const NEAREST = new Float32Array(16);

/** Code of x with the scale d. */
function nearest(x: number, levels: Float32Array): number {
  let best = 0;
  let least = Math.abs(fround(levels[0]! - x));
  for (let code = 1; code < 16; code++) {
    const error = Math.abs(fround(levels[code]! - x));
    if (error < least) {
      best = code;
      least = error;
    }
  }
  return best;
}

/** `half` bytes: values at +j and +j + half. */
function encode(
  values: Float32Array,
  at: number,
  half: number,
  d: number,
  target: Uint8Array,
  to: number,
): void {
  for (let code = 0; code < 16; code++) NEAREST[code] = DOUBLED[code]! * d;
  for (let j = 0; j < half; j++) {
    const low = nearest(values[at + j]!, NEAREST);
    target[to + j] = low | (nearest(values[at + half + j]!, NEAREST) << 4);
  }
}

function decode(
  source: Uint8Array,
  from: number,
  half: number,
  d: number,
  target: Float32Array,
  at: number,
): void {
  for (let j = 0; j < half; j++) {
    const byte = source[from + j]!;
    target[at + j] = DOUBLED[byte & 15]! * d;
    target[at + half + j] = DOUBLED[byte >> 4]! * d;
  }
}

export const mxfp4: BlockCodec = {
  quantize(values, _rowLength, _importance, target) {
    for (let i = 0; i * 32 < values.length; i++) {
      const largest = largestMagnitude(values, i * 32, 32);
      const e = largest > 0 ? (floorOfRoundedLog2(largest) + 125) & 255 : 0;
      target[i * 17] = e;
      encode(values, i * 32, 16, halfPower(e), target, i * 17 + 1);
    }
  },
  dequantize(source, target) {
    for (let i = 0; i * 32 < target.length; i++) {
      decode(source, i * 17 + 1, 16, halfPower(source[i * 17]!), target, i * 32);
    }
  },
};

/** Scale code of x ≥ 0: mantissa rounded half up; from 248 on 448 (0x7e), whose neighbours below are not used. */
function encodeUnsigned(x: number): number {
  if (x >= 256) return 0x7e;
  // Below 2^-6 a code is a multiple of 2^-9, rounded in f32.
  if (x < 2 ** -6) return Math.min(7, Math.trunc(fround(fround(x * 512) + 0.5)));
  const exponent = floorLog2(x);
  const code = (exponent + 7) * 8 + Math.floor((x / 2 ** exponent - 1) * 8 + 0.5);
  return code >= 0x78 ? 0x7e : code;
}

/** Half of a scale's value: what kv is multiplied by. 0x7f is read as 0, the highest bit is not looked at but in 0x7f. */
export function halfOfUnsigned(code: number): number {
  if (code === 0x7f) return 0;
  const exponent = (code >> 3) & 15;
  const mantissa = code & 7;
  return exponent === 0 ? mantissa * 2 ** -10 : (8 + mantissa) * 2 ** (exponent - 11);
}

export const nvfp4: BlockCodec = {
  quantize(values, _rowLength, _importance, target) {
    for (let group = 0; group * 16 < values.length; group++) {
      const block = (group >> 2) * 36;
      const part = group & 3;
      const scale = encodeUnsigned(fround(largestMagnitude(values, group * 16, 16) / 6));
      target[block + part] = scale;
      encode(values, group * 16, 8, halfOfUnsigned(scale), target, block + 4 + 8 * part);
    }
  },
  dequantize(source, target) {
    for (let group = 0; group * 16 < target.length; group++) {
      const block = (group >> 2) * 36;
      const part = group & 3;
      decode(source, block + 4 + 8 * part, 8, halfOfUnsigned(source[block + part]!), target, group * 16);
    }
  },
};
