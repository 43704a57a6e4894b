/**
 * Q4_K and Q5_K: 256 values, 144 and 176 bytes, 4.5 and 5.5 bits per weight; x = d · scale · q − dmin · minimum, sub-blocks of 32.
 *
 *            Q4_K   Q5_K
 *   d           0      0    2 B   half
 *   dmin        2      2    2 B   half
 *   scales      4      4   12 B   eight 6-bit scales and minima (packScales)
 *   high        –     16   32 B   fifth bits: bit j of byte m is that of element 32·j + m
 *   codes      16     48  128 B   nibbles: of 64 values the first 32 are low, the next 32 high
 *
 * Source: ggml 0.25.1, ggml-quants.c (MIT), restated.
 */

import { loadHalf, storeHalf } from '../blocks.ts';
import { type AsymmetricSteps, nearestInteger, searchAsymmetric, searchPositive } from '../searches.ts';
import { importanceWeights, largestOf, magnitudeWeights, recode, type SuperBlock } from './super-block.ts';

const f = Math.fround;
const N = 32;
const D = 0;
const D_MIN = 2;
const SCALES = 4;
const HIGH = 16;
/** Scales and minima are 0 … 63. */
const TOP = 63;

const WEIGHTED: AsymmetricSteps = { first: -0.9, step: 0.05, count: 36, absolute: false };

const codes = new Uint8Array(256);
const weights = new Float32Array(256);
const scales = new Float32Array(8);
const minima = new Float32Array(8);
const totals = new Float32Array(8);
const scaleCodes = new Uint8Array(8);
const minimumCodes = new Uint8Array(8);

/** Codes beside the largest value, as bytes that wrap; returns what one step stands for. */
function quantizeByLargest(values: Float32Array, target: Uint8Array): number {
  const largest = largestOf(values);
  const inverse = largest > 0 ? f(TOP / largest) : 0;
  for (let j = 0; j < 8; j++) target[j] = nearestInteger(f(inverse * values[j]!));
  return f(largest / TOP);
}

/** j < 4: scale in byte j, minimum in byte j + 4. j ≥ 4: low nibbles of both in byte j + 4, high bits above those of j − 4. */
function packScales(block: Uint8Array, limit: number): void {
  for (let j = 0; j < 8; j++) {
    const scale = Math.min(limit, scaleCodes[j]!);
    const minimum = Math.min(limit, minimumCodes[j]!);
    if (j < 4) {
      block[SCALES + j] = scale;
      block[SCALES + j + 4] = minimum;
    } else {
      block[SCALES + j + 4] = (scale & 15) | ((minimum & 15) << 4);
      block[SCALES + j - 4]! |= (scale >> 4) << 6;
      block[SCALES + j]! |= (minimum >> 4) << 6;
    }
  }
}

function scaleOf(block: Uint8Array, j: number): number {
  if (j < 4) return block[SCALES + j]! & 63;
  return (block[SCALES + j + 4]! & 15) | ((block[SCALES + j - 4]! >> 6) << 4);
}

function minimumOf(block: Uint8Array, j: number): number {
  if (j < 4) return block[SCALES + j + 4]! & 63;
  return (block[SCALES + j + 4]! >> 4) | ((block[SCALES + j]! >> 6) << 4);
}

function superBlock(levels: 15 | 31, plain: AsymmetricSteps): SuperBlock {
  const five = levels === 31;
  const at = five ? 48 : 16;
  return {
    bytes: five ? 176 : 144,
    encode(x, importance, block) {
      if (importance !== undefined) importanceWeights(x, importance, N, 2, weights, totals);
      const steps = importance === undefined ? plain : WEIGHTED;
      for (let j = 0; j < 8; j++) {
        const w = weights.subarray(j * N, (j + 1) * N);
        if (importance === undefined) magnitudeWeights(x, j * N, N, w);
        const { scale, offset } = searchAsymmetric(x, j * N, N, levels, w, steps, codes);
        scales[j] = scale;
        minima[j] = offset;
      }
      let d: number;
      let dMin: number;
      if (importance === undefined) {
        d = quantizeByLargest(scales, scaleCodes);
        dMin = quantizeByLargest(minima, minimumCodes);
      } else {
        d = searchPositive(scales, 8, TOP, totals, scaleCodes);
        dMin = searchPositive(minima, 8, TOP, totals, minimumCodes);
      }
      // Codes that wrapped (extremely uneven importance) are limited to six bits everywhere but in Q4_K with importance.
      packScales(block, five || importance === undefined ? TOP : 255);
      d = storeHalf(block, D, d);
      dMin = storeHalf(block, D_MIN, dMin);
      for (let j = 0; j < 8; j++) {
        recode(x, j * N, N, f(d * scaleOf(block, j)), f(dMin * minimumOf(block, j)), 0, levels, codes);
      }
      if (five) {
        block.fill(0, HIGH, at);
        for (let i = 0; i < 256; i++) block[HIGH + (i & 31)]! |= (codes[i]! >> 4) << (i >> 5);
      }
      for (let i = 0; i < 128; i++) {
        const j = (i >> 5) * 64 + (i & 31);
        block[at + i] = (codes[j]! & 15) | ((codes[j + 32]! & 15) << 4);
      }
    },
    decode(block, y) {
      const d = loadHalf(block, D);
      const dMin = loadHalf(block, D_MIN);
      for (let i = 0; i < 256; i++) {
        const j = i >> 5;
        const packed = block[at + (i >> 6) * 32 + (i & 31)]!;
        const low = (j & 1) === 0 ? packed & 15 : packed >> 4;
        const code = five ? low | (((block[HIGH + (i & 31)]! >> j) & 1) << 4) : low;
        y[i] = f(f(f(d * scaleOf(block, j)) * code) - f(dMin * minimumOf(block, j)));
      }
    },
  };
}

export const q4K: SuperBlock = superBlock(15, { first: -1, step: 0.1, count: 20, absolute: false });
export const q5K: SuperBlock = superBlock(31, { first: -0.5, step: 0.1, count: 15, absolute: false });
