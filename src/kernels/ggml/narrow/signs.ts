/**
 * The two smallest types whose scale is the only parameter.
 *
 *   q1_0   half d; 16 B, value j is bit j mod 8 of byte j div 8             128 values, 18 bytes, 1.125 bits per value
 *   q2_0   half d; 16 B, value j at bits 2 (j mod 4) of byte j div 4         64 values, 18 bytes, 2.25 bits per value
 *
 * q1_0: ±d with d = Σ|x| / 128, bit set for x ≥ 0 (also −0). q2_0: (q − 1) · d with d = max|x| and q = round(x/d) + 1, half
 * away from zero, by 1/d of the unrounded d; the code 3 (value 2 d) can be read, the encoder never reaches it.
 *
 * Source: docs/encodings.md, "ggml block types".
 */

import { largestMagnitude, loadHalf, storeHalf } from '../blocks.ts';
import type { BlockCodec } from '../codec.ts';

const { fround } = Math;
const BYTES = 18;

export const q1_0: BlockCodec = {
  quantize(values, _rowLength, _importance, target) {
    target.fill(0);
    for (let i = 0; i * 128 < values.length; i++) {
      let sum = 0;
      for (let j = 0; j < 128; j++) {
        const x = values[i * 128 + j]!;
        sum = fround(sum + Math.abs(x));
        if (x >= 0) target[i * BYTES + 2 + (j >> 3)]! |= 1 << (j & 7);
      }
      storeHalf(target, i * BYTES, fround(sum / 128));
    }
  },
  dequantize(source, target) {
    for (let at = 0; at < target.length; at++) {
      const block = (at >> 7) * BYTES;
      const d = loadHalf(source, block);
      const j = at & 127;
      target[at] = (source[block + 2 + (j >> 3)]! >> (j & 7)) & 1 ? d : -d;
    }
  },
};

export const q2_0: BlockCodec = {
  quantize(values, _rowLength, _importance, target) {
    target.fill(0);
    for (let i = 0; i * 64 < values.length; i++) {
      const d = largestMagnitude(values, i * 64, 64);
      const id = d === 0 ? 0 : fround(1 / d);
      storeHalf(target, i * BYTES, d);
      for (let j = 0; j < 64; j++) {
        const y = fround(values[i * 64 + j]! * id);
        // ±Inf and NaN (1/d of a subnormal d) become x86's smallest integer, which is clamped to 0.
        const q = !Number.isFinite(y) || y <= -0.5 ? 0 : y >= 0.5 ? 2 : 1;
        target[i * BYTES + 2 + (j >> 2)]! |= q << (2 * (j & 3));
      }
    }
  },
  dequantize(source, target) {
    for (let at = 0; at < target.length; at++) {
      const block = (at >> 6) * BYTES;
      const j = at & 63;
      const q = (source[block + 2 + (j >> 2)]! >> (2 * (j & 3))) & 3;
      target[at] = (q - 1) * loadHalf(source, block);
    }
  },
};
