/**
 * Q2_K: 256 values, 84 bytes, 2.625 bits per weight; x = d · scale · q − dmin · minimum.
 *
 *   0   16 B   one byte per 16 values: scale (low nibble), minimum (high nibble)
 *   16  64 B   2-bit codes (packPairs)
 *   80   2 B   half d
 *   82   2 B   half dmin
 *
 * Source: ggml 0.25.1, ggml-quants.c (MIT), restated.
 */

import { loadHalf, storeHalf } from '../blocks.ts';
import { type AsymmetricSteps, nearestInteger, searchAsymmetric, searchPositive } from '../searches.ts';
import { importanceWeights, largestOf, packPairs, pairOf, recode, type SuperBlock } from './super-block.ts';

const f = Math.fround;
const N = 16;
const CODES = 16;
const D = 80;
const D_MIN = 82;
/** Scales and minima are 0 … 15. */
const TOP = 15;

const PLAIN: AsymmetricSteps = { first: -0.5, step: 0.1, count: 15, absolute: true };
const WEIGHTED: AsymmetricSteps = { first: -0.9, step: 0.05, count: 36, absolute: false };

const codes = new Uint8Array(256);
const weights = new Float32Array(256);
const scales = new Float32Array(16);
const minima = new Float32Array(16);
const totals = new Float32Array(16);
const scaleCodes = new Uint8Array(16);
const minimumCodes = new Uint8Array(16);

/** Codes of non-negative values beside their largest, and the half of its fifteenth; returns the half's value. */
function quantizeByLargest(values: Float32Array, target: Uint8Array, block: Uint8Array, at: number): number {
  const largest = largestOf(values);
  if (!(largest > 0)) {
    target.fill(0);
    return storeHalf(block, at, 0);
  }
  const inverse = f(TOP / largest);
  for (let j = 0; j < 16; j++) target[j] = nearestInteger(f(inverse * values[j]!));
  return storeHalf(block, at, f(largest / TOP));
}

export const q2K: SuperBlock = {
  bytes: 84,
  encode(x, importance, block) {
    if (importance === undefined) for (let i = 0; i < 256; i++) weights[i] = Math.abs(x[i]!);
    else importanceWeights(x, importance, N, 1, weights, totals);
    const steps = importance === undefined ? PLAIN : WEIGHTED;
    for (let j = 0; j < 16; j++) {
      const w = weights.subarray(j * N, (j + 1) * N);
      const { scale, offset } = searchAsymmetric(x, j * N, N, 3, w, steps, codes);
      scales[j] = scale;
      minima[j] = offset;
    }
    let d: number;
    let dMin: number;
    if (importance === undefined) {
      d = quantizeByLargest(scales, scaleCodes, block, D);
      dMin = quantizeByLargest(minima, minimumCodes, block, D_MIN);
    } else {
      d = storeHalf(block, D, searchPositive(scales, 16, TOP, totals, scaleCodes));
      dMin = storeHalf(block, D_MIN, searchPositive(minima, 16, TOP, totals, minimumCodes));
    }
    for (let j = 0; j < 16; j++) {
      const packed = (scaleCodes[j]! | (minimumCodes[j]! << 4)) & 255;
      block[j] = packed;
      recode(x, j * N, N, f(d * (packed & 15)), f(dMin * (packed >> 4)), 0, 3, codes);
    }
    packPairs(codes, block, CODES);
  },
  decode(block, y) {
    const d = loadHalf(block, D);
    const dMin = loadHalf(block, D_MIN);
    for (let i = 0; i < 256; i++) {
      const packed = block[i >> 4]!;
      y[i] = f(f(f(d * (packed & 15)) * pairOf(block, CODES, i)) - f(dMin * (packed >> 4)));
    }
  },
};
