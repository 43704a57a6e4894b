/**
 * iq1_m: 32 B grid low; 16 B high; 4 × u16 scales                                 256 values, 56 bytes, 1.75 bits per value
 *
 *   high    one byte for 16 values: bits 0–2 and 4–6 are bits 8–10 of the two points' indices, bits 3 and 7 shift their levels down
 *   u16     bits 0–11 four scales s of 3 bits, for 16 values each; bits 12–15 a quarter of the half d, lowest bits first
 *
 * value = d · (2 s + 1) · (g ± 0.125) with g the component −1, 0, 1 of the point.
 *
 * Encoding 16 values: as iq1_s (iq1-s.ts), but each half of 8 has a shift of its own, so that every pair of cut points has four
 * candidates. With running sums P of w x and w of each half and T its total, the sums of the three parts come down to
 *   Σ w q x = T l₂ − (P[i1] + P[i2])        Σ w q² = T l₂² + P[i1] (l₀² − l₁²) + P[i2] (l₁² − l₂²)
 * for l₀ l₁ l₂ are one apart. In the end d is fitted to all 256 values; the stored d is 1.1125 d.
 *
 * Source: `quantize_row_iq1_m_impl` of ggml 0.25.1 (MIT), restated.
 */

import { f16BitsToF32 } from '../../../core/floats.ts';
import { storeHalf } from '../blocks.ts';
import type { BlockCodec } from '../codec.ts';
import { nearestInteger } from '../searches.ts';
import {
  addProducts,
  ascending,
  blockWeights,
  DOWN,
  largestOf,
  POINTS,
  pointFor,
  SHIFT,
  UP,
  ZERO_BELOW,
} from './grid.ts';

const { fround } = Math;
const SIZE = 256;
const BYTES = 56;
const GROUP = 16;
const GROUPS = SIZE / GROUP;
/** Offsets of a block's parts. */
const HIGH = 32;
const SCALES = 48;

/** Shifts of the two halves, by candidate: bit 1 first half down, bit 0 second half down. */
const levelsOf = (candidate: number, half: number): Float32Array =>
  candidate & (half === 0 ? 2 : 1) ? DOWN : UP;

interface Split {
  first: number;
  second: number;
  candidate: number;
  scale: number;
}

/** Running sums in sorted order, of each half. */
const sumX = [new Float32Array(GROUP + 1), new Float32Array(GROUP + 1)] as const;
const sumW = [new Float32Array(GROUP + 1), new Float32Array(GROUP + 1)] as const;

/** [Σ w q x, Σ w q²] of a half, levels and cut. */
function sumsOf(half: 0 | 1, levels: Float32Array, i1: number, i2: number): readonly [number, number] {
  const [px, pw] = [sumX[half], sumW[half]];
  const [l0, l1, l2] = [levels[0]!, levels[1]!, levels[2]!];
  const qx = fround(fround(px[GROUP]! * l2) - fround(px[i1]! + px[i2]!));
  const all = fround(fround(pw[GROUP]! * l2) * l2);
  const first = fround(pw[i1]! * (l0 * l0 - l1 * l1));
  const second = fround(pw[i2]! * (l1 * l1 - l2 * l2));
  return [qx, fround(fround(all + first) + second)];
}

function bestSplit(x: Float32Array, w: Float32Array, at: number, order: Uint8Array): Split | undefined {
  for (let j = 0; j < GROUP; j++) {
    const i = at + order[j]!;
    for (const half of [0, 1] as const) {
      const own = order[j]! >> 3 === half;
      sumX[half][j + 1] = own ? sumX[half][j]! + fround(w[i]! * x[i]!) : sumX[half][j]!;
      sumW[half][j + 1] = own ? sumW[half][j]! + w[i]! : sumW[half][j]!;
    }
  }
  let best: Split | undefined;
  let score = -3.4028234663852886e38;
  for (let i1 = 0; i1 <= GROUP; i1++) {
    for (let i2 = i1; i2 <= GROUP; i2++) {
      const first = [sumsOf(0, UP, i1, i2), sumsOf(0, DOWN, i1, i2)] as const;
      const second = [sumsOf(1, UP, i1, i2), sumsOf(1, DOWN, i1, i2)] as const;
      for (let candidate = 0; candidate < 4; candidate++) {
        const [qx0, q20] = first[candidate < 2 ? 0 : 1];
        const [qx1, q21] = second[candidate % 2 === 0 ? 0 : 1];
        const qx = fround(qx0 + qx1);
        const q2 = fround(q20 + q21);
        if (q2 > 0 && fround(qx * qx) > fround(score * q2)) {
          const scale = fround(qx / q2);
          score = fround(scale * qx);
          best = { first: i1, second: i2, candidate, scale };
        }
      }
    }
  }
  return best;
}

function encodeBlock(x: Float32Array, w: Float32Array, target: Uint8Array, at: number): void {
  target.fill(0, at, at + BYTES);
  const order = new Uint8Array(GROUP);
  const codes = new Uint8Array(SIZE);
  const indices = new Uint16Array(SIZE / 8);
  const scales = new Float32Array(GROUPS);
  const candidates = new Uint8Array(GROUPS);
  let largest = 0;
  for (let group = 0; group < GROUPS; group++) {
    const start = group * GROUP;
    if (largestOf(x, start, GROUP) < ZERO_BELOW.iq1_m) continue;
    ascending(x, start, order);
    const split = bestSplit(x, w, start, order);
    if (split === undefined) continue;
    const mirrored = split.scale < 0;
    for (let j = 0; j < GROUP; j++) {
      const code = j < split.first ? 0 : j < split.second ? 1 : 2;
      codes[start + order[j]!] = mirrored ? 2 - code : code;
    }
    const candidate = mirrored ? 3 - split.candidate : split.candidate;
    let scale = Math.abs(split.scale);
    let exact = true;
    const sums = { qx: 0, q2: 0 };
    for (let half = 0; half < 2; half++) {
      const levels = levelsOf(candidate, half);
      const first = start + 8 * half;
      const point = pointFor(codes, x, w, first, scale, levels);
      exact &&= point.exact;
      indices[2 * group + half] = point.index;
      addProducts(sums, point.index, x, w, first, levels, 1);
    }
    if (!exact && sums.qx > 0 && sums.q2 > 0) scale = fround(sums.qx / sums.q2);
    // NaN: sums beyond f32's range, where ggml stops the process.
    scales[group] = Number.isNaN(scale) ? 0 : scale;
    candidates[group] = candidate;
    largest = Math.max(largest, scales[group]!);
  }
  for (let k = 0; k < SIZE / 8; k++) {
    target[at + k] = indices[k]! & 255;
    target[at + HIGH + (k >> 1)]! |= (indices[k]! >> 8) << (4 * (k & 1));
  }
  if (largest === 0) return;
  let d = fround(largest / 15);
  const id = fround(1 / d);
  const sums = { qx: 0, q2: 0 };
  for (let group = 0; group < GROUPS; group++) {
    const rounded = nearestInteger(fround(0.5 * fround(fround(id * scales[group]!) - 1)));
    const steps = Math.max(0, Math.min(7, rounded));
    const candidate = candidates[group]!;
    const bit = 3 * (group & 3);
    const scaleAt = at + SCALES + 2 * (group >> 2);
    target[scaleAt]! |= (steps << bit) & 255;
    target[scaleAt + 1]! |= (steps << bit) >> 8;
    target[at + HIGH + group]! |= ((candidate & 2) << 2) | ((candidate & 1) << 7);
    for (let half = 0; half < 2; half++) {
      const index = indices[2 * group + half]!;
      addProducts(sums, index, x, w, group * GROUP + 8 * half, levelsOf(candidate, half), 2 * steps + 1);
    }
  }
  if (sums.q2 > 0) d = fround(sums.qx / sums.q2);
  const half = new Uint8Array(2);
  storeHalf(half, 0, fround(d * 1.1125));
  for (let part = 0; part < 4; part++) {
    const bits = (half[part >> 1]! >> (4 * (part & 1))) & 15;
    target[at + SCALES + 1 + 2 * part]! |= bits << 4;
  }
}

export const iq1_m: BlockCodec = {
  quantize(values, rowLength, importance, target) {
    const w = new Float32Array(SIZE);
    for (let i = 0; i * SIZE < values.length; i++) {
      const x = values.subarray(i * SIZE, (i + 1) * SIZE);
      blockWeights(x, importance, (i * SIZE) % rowLength, w);
      encodeBlock(x, w, target, i * BYTES);
    }
  },
  dequantize(source, target) {
    for (let i = 0; i * SIZE < target.length; i++) {
      const block = i * BYTES;
      const word = (part: number): number => {
        const from = block + SCALES + 2 * part;
        return source[from]! | (source[from + 1]! << 8);
      };
      const d = f16BitsToF32(
        (word(0) >> 12) | ((word(1) >> 8) & 0xf0) | ((word(2) >> 4) & 0xf00) | (word(3) & 0xf000),
      );
      for (let k = 0; k < SIZE / 8; k++) {
        const group = k >> 1;
        const scale = fround(d * (2 * ((word(group >> 2) >> (3 * (group & 3))) & 7) + 1));
        const high = source[block + HIGH + group]! >> (4 * (k & 1));
        const shift = high & 8 ? -SHIFT : SHIFT;
        const point = POINTS[source[block + k]! | ((high & 7) << 8)]!;
        for (let j = 0; j < 8; j++) {
          target[i * SIZE + 8 * k + j] = scale * (((point >> (2 * j)) & 3) - 1 + shift);
        }
      }
    }
  },
};
