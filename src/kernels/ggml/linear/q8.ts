/**
 * q8_0: half d; 32 i8. value = q · d (34 bytes). d = max|x| / 127, codes round half away from zero with 1 / d before d is
 * rounded to a half. Importance is ignored.
 */

import { loadHalf, storeHalf } from '../blocks.ts';
import type { BlockCodec } from '../codec.ts';
import { BLOCK } from './layout.ts';

const { fround } = Math;
const BYTES = 2 + BLOCK;

function encode(values: Float32Array, at: number, target: Uint8Array, to: number): void {
  let largest = 0;
  for (let j = 0; j < BLOCK; j++) largest = Math.max(largest, Math.abs(values[at + j]!));
  const d = fround(largest / 127);
  const id = d === 0 ? 0 : fround(1 / d);
  storeHalf(target, to, d);
  for (let j = 0; j < BLOCK; j++) {
    const y = fround(values[at + j]! * id);
    // ±Inf and NaN come from blocks of subnormals; x86 converts them to −2^31, whose low byte is 0. |y| + 0.5 is exact here.
    const magnitude = Math.abs(y) < 256 ? Math.floor(Math.abs(y) + 0.5) : 0;
    target[to + 2 + j] = y < 0 ? -magnitude : magnitude;
  }
}

export const q8_0: BlockCodec = {
  quantize(values, _rowLength, _importance, target) {
    for (let i = 0; i * BLOCK < values.length; i++) encode(values, i * BLOCK, target, i * BYTES);
  },
  dequantize(source, target) {
    for (let i = 0; i * BLOCK < target.length; i++) {
      const d = loadHalf(source, i * BYTES);
      for (let j = 0; j < BLOCK; j++) {
        target[i * BLOCK + j] = ((source[i * BYTES + 2 + j]! << 24) >> 24) * d;
      }
    }
  },
};
