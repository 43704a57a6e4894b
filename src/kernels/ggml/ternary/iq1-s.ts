/**
 * iq1_s: half d; 32 B grid low; 8 × u16, one for each 32 values                   256 values, 50 bytes, 1.5625 bits per value
 *
 *   u16   bits 0–11   bits 8–10 of the four points' indices, 3 bits each
 *         bits 12–14  scale s
 *         bit 15      shift of the levels: 0 up, 1 down
 *
 * value = d · (2 s + 1) · (g ± 0.125) with g the component −1, 0, 1 of the point.
 *
 * Encoding 32 values: sorted ascending, every pair of cut points i1 ≤ i2 gives the codes 0 | 1 | 2 and, for both shifts, the
 * scale Σ w q x / Σ w q²; the best (Σ w q x)² / Σ w q² is kept, the first one of equals. Sums of a group are differences of
 * running sums in sorted order. Then groups of 8 go to their points (grid.ts), and if one was moved the scale is fitted again.
 * d = max scale / 15, s = round(½ (scale / d − 1)); the stored d is 1.125 d.
 *
 * Source: `quantize_row_iq1_s_impl` of ggml 0.25.1 (MIT), restated.
 */

import { loadHalf, storeHalf } from '../blocks.ts';
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
const BYTES = 50;
const GROUP = 32;

interface Split {
  first: number;
  second: number;
  down: boolean;
  scale: number;
}

/** Running sums of w x and w in sorted order, entry 0 is 0. */
const sumX = new Float32Array(GROUP + 1);
const sumW = new Float32Array(GROUP + 1);

/** Σ over the three parts of part · level (twice for `squared`), in f32 from the left. */
function total(sums: Float32Array, i1: number, i2: number, levels: Float32Array, squared: boolean): number {
  const part = (from: number, to: number, level: number): number => {
    const product = fround(fround(sums[to]! - sums[from]!) * level);
    return squared ? fround(product * level) : product;
  };
  const [a, b, c] = [part(0, i1, levels[0]!), part(i1, i2, levels[1]!), part(i2, GROUP, levels[2]!)];
  return fround(fround(a + b) + c);
}

/** The best cut of the 32 values from `at` on; undefined where no cut has a positive Σ w q² (all weights 0). */
function bestSplit(x: Float32Array, w: Float32Array, at: number, order: Uint8Array): Split | undefined {
  for (let j = 0; j < GROUP; j++) {
    const i = at + order[j]!;
    sumX[j + 1] = sumX[j]! + fround(w[i]! * x[i]!);
    sumW[j + 1] = sumW[j]! + w[i]!;
  }
  let best: Split | undefined;
  let score = -3.4028234663852886e38;
  for (let i1 = 0; i1 <= GROUP; i1++) {
    for (let i2 = i1; i2 <= GROUP; i2++) {
      for (const levels of [UP, DOWN]) {
        const qx = total(sumX, i1, i2, levels, false);
        const q2 = total(sumW, i1, i2, levels, true);
        if (q2 > 0 && fround(qx * qx) > fround(score * q2)) {
          const scale = fround(qx / q2);
          score = fround(scale * qx);
          best = { first: i1, second: i2, down: levels === DOWN, scale };
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
  const scales = new Float32Array(SIZE / GROUP);
  const downs = new Uint8Array(SIZE / GROUP);
  let largest = 0;
  for (let group = 0; group < SIZE / GROUP; group++) {
    const start = group * GROUP;
    if (largestOf(x, start, GROUP) < ZERO_BELOW.iq1_s) continue;
    ascending(x, start, order);
    const split = bestSplit(x, w, start, order);
    if (split === undefined) continue;
    const mirrored = split.scale < 0;
    for (let j = 0; j < GROUP; j++) {
      const code = j < split.first ? 0 : j < split.second ? 1 : 2;
      codes[start + order[j]!] = mirrored ? 2 - code : code;
    }
    const down = split.down !== mirrored;
    const levels = down ? DOWN : UP;
    let scale = Math.abs(split.scale);
    let exact = true;
    let high = 0;
    const sums = { qx: 0, q2: 0 };
    for (let k = 0; k < GROUP; k += 8) {
      const point = pointFor(codes, x, w, start + k, scale, levels);
      exact &&= point.exact;
      target[at + 2 + (start + k) / 8] = point.index & 255;
      high |= (point.index >> 8) << ((3 * k) / 8);
      addProducts(sums, point.index, x, w, start + k, levels, 1);
    }
    if (!exact && sums.qx > 0 && sums.q2 > 0) scale = fround(sums.qx / sums.q2);
    target[at + 34 + 2 * group] = high & 255;
    target[at + 35 + 2 * group] = high >> 8;
    // NaN: sums beyond f32's range, where ggml stops the process.
    scales[group] = Number.isNaN(scale) ? 0 : scale;
    downs[group] = down ? 1 : 0;
    largest = Math.max(largest, scales[group]!);
  }
  if (largest === 0) return;
  const d = fround(largest / 15);
  storeHalf(target, at, fround(d * 1.125));
  const id = fround(1 / d);
  for (let group = 0; group < SIZE / GROUP; group++) {
    const steps = nearestInteger(fround(0.5 * fround(fround(id * scales[group]!) - 1)));
    target[at + 35 + 2 * group]! |= (Math.max(0, Math.min(7, steps)) | (downs[group]! << 3)) << 4;
  }
}

export const iq1_s: BlockCodec = {
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
      const d = loadHalf(source, block);
      for (let k = 0; k < 32; k++) {
        const high = block + 34 + 2 * (k >> 2);
        const word = source[high]! | (source[high + 1]! << 8);
        const scale = fround(d * (2 * ((word >> 12) & 7) + 1));
        const shift = word & 0x8000 ? -SHIFT : SHIFT;
        const point = POINTS[source[block + 2 + k]! | (((word >> (3 * (k & 3))) & 7) << 8)]!;
        for (let j = 0; j < 8; j++) {
          target[i * SIZE + 8 * k + j] = scale * (((point >> (2 * j)) & 3) - 1 + shift);
        }
      }
    }
  },
};
