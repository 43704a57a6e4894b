/**
 * Q3_K: 256 values, 110 bytes, 3.4375 bits per weight; x = d · (scale − 32) · (q − 4), q = 0 … 7.
 *
 *   0    32 B   high bits: bit j of byte m is that of element 32·j + m
 *   32   64 B   low two bits (packPairs)
 *   96   12 B   sixteen 6-bit scales: low nibbles of scales j and j + 8 in byte j; high bits of scale j in byte 8 + j mod 4,
 *               at bit 2·⌊j / 4⌋
 *   108   2 B   half d
 *
 * Without importance the codes of a sub-block are refined one at a time, up to five sweeps. Source: ggml 0.25.1,
 * ggml-quants.c (MIT), restated.
 */

import { loadHalf, storeHalf } from '../blocks.ts';
import { GROUP_EPSILON, nearestInteger, searchSymmetric } from '../searches.ts';
import { extremeOf, importanceWeights, packPairs, pairOf, recode, type SuperBlock } from './super-block.ts';

const f = Math.fround;
const N = 16;
const CODES = 32;
const SCALES = 96;
const D = 108;

const codes = new Uint8Array(256);
const weights = new Float32Array(256);
const scales = new Float32Array(16);
const totals = new Float32Array(16);
const scaleCodes = new Uint8Array(16);
const refined = new Int8Array(16);

/** Codes + 4 of 16 values from `from` on by coordinate descent on Σ x²·(x − s·l)²; returns s. */
function refine(x: Float32Array, from: number): number {
  const group = x.subarray(from, from + N);
  const extreme = extremeOf(group);
  if (Math.abs(extreme) < GROUP_EPSILON) {
    codes.fill(0, from, from + N);
    return 0;
  }
  const inverse = f(-4 / extreme);
  const nearestCode = (v: number): number => Math.max(-4, Math.min(3, nearestInteger(v)));
  let sumXl = 0;
  let sumL2 = 0;
  for (let i = 0; i < N; i++) {
    const value = group[i]!;
    const l = nearestCode(f(inverse * value));
    const w = f(value * value);
    refined[i] = l;
    sumXl = f(sumXl + f(f(w * value) * l));
    sumL2 = f(sumL2 + f(f(w * l) * l));
  }
  for (let sweep = 0; sweep < 5; sweep++) {
    let changed = false;
    for (let i = 0; i < N; i++) {
      const value = group[i]!;
      const code = refined[i]!;
      const w = f(value * value);
      let xl = f(sumXl - f(f(w * value) * code));
      if (!(xl > 0)) continue;
      let l2 = f(sumL2 - f(f(w * code) * code));
      const l = nearestCode(f(f(value * l2) / xl));
      if (l === code) continue;
      xl = f(xl + f(f(w * value) * l));
      l2 = f(l2 + f(f(w * l) * l));
      if (l2 > 0 && f(f(xl * xl) * sumL2) > f(f(sumXl * sumXl) * l2)) {
        refined[i] = l;
        sumXl = xl;
        sumL2 = l2;
        changed = true;
      }
    }
    if (!changed) break;
  }
  for (let i = 0; i < N; i++) codes[from + i] = refined[i]! + 4;
  return sumL2 > 0 ? f(sumXl / sumL2) : 0;
}

/** Scale codes 0 … 63 by the scale of largest magnitude; returns what d stands for. */
function quantizeByExtreme(): number {
  const extreme = extremeOf(scales);
  if (extreme === 0) {
    // All bytes 0: the scales read as −32, and d is 0.
    scaleCodes.fill(0);
    return 0;
  }
  const inverse = f(-32 / extreme);
  for (let j = 0; j < 16; j++) {
    const wrapped = (nearestInteger(f(inverse * scales[j]!)) << 24) >> 24;
    scaleCodes[j] = Math.max(-32, Math.min(31, wrapped)) + 32;
  }
  return f(1 / inverse);
}

function scaleOf(block: Uint8Array, j: number): number {
  const low = j < 8 ? block[SCALES + j]! & 15 : block[SCALES + j - 8]! >> 4;
  return (low | (((block[SCALES + 8 + (j & 3)]! >> (2 * (j >> 2))) & 3) << 4)) - 32;
}

export const q3K: SuperBlock = {
  bytes: 110,
  encode(x, importance, block) {
    let d: number;
    if (importance === undefined) {
      for (let j = 0; j < 16; j++) scales[j] = refine(x, j * N);
      d = quantizeByExtreme();
    } else {
      importanceWeights(x, importance, N, 2, weights, totals);
      for (let j = 0; j < 16; j++) {
        scales[j] = searchSymmetric(x, j * N, N, 4, weights.subarray(j * N, (j + 1) * N), codes);
      }
      d = searchSymmetric(scales, 0, 16, 32, totals, scaleCodes);
    }
    block.fill(0);
    for (let j = 0; j < 16; j++) {
      const code = scaleCodes[j]!;
      block[SCALES + (j & 7)]! |= (code & 15) << (j < 8 ? 0 : 4);
      block[SCALES + 8 + (j & 3)]! |= (code >> 4) << (2 * (j >> 2));
    }
    const half = storeHalf(block, D, d);
    for (let j = 0; j < 16; j++) recode(x, j * N, N, f(half * scaleOf(block, j)), 0, -4, 3, codes);
    for (let i = 0; i < 256; i++) if (codes[i]! > 3) block[i & 31]! |= 1 << (i >> 5);
    packPairs(codes, block, CODES);
  },
  decode(block, y) {
    const d = loadHalf(block, D);
    for (let i = 0; i < 256; i++) {
      const high = (block[i & 31]! >> (i >> 5)) & 1;
      y[i] = f(f(d * scaleOf(block, i >> 4)) * (pairOf(block, CODES, i) - (high === 1 ? 0 : 4)));
    }
  },
};
