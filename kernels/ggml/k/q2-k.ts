/** Q2_K (layout: src/kernels/ggml/k/q2-k.ts): two frames of eight sub-blocks of 16 for each super-block. */

import { asymmetric, FRAME_BYTES, L, OFFSET, SCALE, toLanes, W, X } from '../../searches';
import {
  CODES,
  foundBase,
  foundInverse,
  keepFound,
  laneOf,
  toLane,
  VARIANCES,
  WEIGHTS,
} from './batches';
import { packPairs, recode, searchedCodes } from './codes';
import { nearestInteger, storeHalf } from '../../block-scales';
import { positive } from './positive';
import { importanceWeights, variances } from './weights';

const FRAME: usize = memory.data(FRAME_BYTES, 16);
const SCALES: usize = memory.data(FRAME_BYTES, 16);
const MINIMA: usize = memory.data(FRAME_BYTES, 16);
/** Results of a super-block: sixteen scales, then sixteen offsets. */
const RESULTS: usize = memory.data(128, 16);

function searchPlain(): i32 {
  return asymmetric(FRAME, 16, 3, -0.5, 0.1, 15, true);
}

function searchWeighted(): i32 {
  return asymmetric(FRAME, 16, 3, -0.9, 0.05, 36, false);
}

function magnitudes(): void {
  for (let p = FRAME; p < FRAME + 512; p += 16) v128.store(p, f32x4.abs(v128.load(p, X)), W);
}

function codesOf(x: usize, b: i32, j: i32, packed: i32, d: f32, dMin: f32): void {
  const scale = d * <f32>(packed & 15);
  const from = x + (<usize>j << 6);
  const codes = CODES + (<usize>j << 4);
  if (scale == 0) searchedCodes(from, 16, foundInverse(b, j), foundBase(b, j), 0, 3, codes);
  else recode(from, 16, scale, dMin * <f32>(packed >> 4), 0, 3, codes);
}

function largestOf(values: usize): f32 {
  let largest: f32 = 0;
  for (let j: usize = 0; j < 64; j += 4) {
    const value = load<f32>(values + j);
    if (value > largest) largest = value;
  }
  return largest;
}

/** @returns whether a sub-block is irregular */
export function q2Plain(x: usize, out: usize): bool {
  let irregular = 0;
  for (let first = 0; first < 16; first += 8) {
    toLanes(x + (<usize>first << 6), 64, 16, FRAME + X);
    magnitudes();
    irregular |= searchPlain();
    keepFound(FRAME, 0, first);
    memory.copy(RESULTS + (<usize>first << 2), FRAME + SCALE, 32);
    memory.copy(RESULTS + 64 + (<usize>first << 2), FRAME + OFFSET, 32);
  }
  const largest = largestOf(RESULTS);
  const deepest = largestOf(RESULTS + 64);
  const inverse: f32 = largest > 0 ? <f32>15 / largest : 0;
  const inverseMin: f32 = deepest > 0 ? <f32>15 / deepest : 0;
  const d = storeHalf(out + 80, largest / <f32>15);
  const dMin = storeHalf(out + 82, deepest / <f32>15);
  for (let j = 0; j < 16; j++) {
    const at = RESULTS + (<usize>j << 2);
    const scale = largest > 0 ? nearestInteger(inverse * load<f32>(at)) : 0;
    const minimum = deepest > 0 ? nearestInteger(inverseMin * load<f32>(at, 64)) : 0;
    const packed = (scale | (minimum << 4)) & 255;
    store<u8>(out + j, packed);
    codesOf(x, 0, j, packed, d, dMin);
  }
  packPairs(CODES, out + 16);
  return irregular != 0;
}

/** @returns bit b set: super-block b is irregular */
export function q2Weighted(x: usize, importance: usize, column: i32, perRow: i32, out: usize): i32 {
  let irregular = 0;
  variances(x, 1, VARIANCES);
  for (let b = 0; b < 8; b++) {
    const from = x + (<usize>b << 10);
    importanceWeights(from, importance + (<usize>column << 10), load<f32>(VARIANCES + (<usize>b << 2)), WEIGHTS);
    column = column + 1 == perRow ? 0 : column + 1;
    for (let first = 0; first < 16; first += 8) {
      toLanes(from + (<usize>first << 6), 64, 16, FRAME + X);
      toLanes(WEIGHTS + (<usize>first << 6), 64, 16, FRAME + W);
      irregular |= searchWeighted() == 0 ? 0 : 1 << b;
      keepFound(FRAME, b, first);
      toLane(FRAME + SCALE, SCALES + X, b, first);
      toLane(FRAME + OFFSET, MINIMA + X, b, first);
      totals(b, first);
    }
  }
  memory.copy(MINIMA + W, SCALES + W, 512);
  irregular |= searchScales(SCALES);
  irregular |= searchScales(MINIMA);
  for (let b = 0; b < 8; b++, out += 84) {
    const d = storeHalf(out + 80, load<f32>(SCALES + SCALE + (<usize>b << 2)));
    const dMin = storeHalf(out + 82, load<f32>(MINIMA + SCALE + (<usize>b << 2)));
    for (let j = 0; j < 16; j++) {
      const packed = <i32>laneOf(SCALES + L, b, j) | (<i32>laneOf(MINIMA + L, b, j) << 4);
      store<u8>(out + j, packed);
      codesOf(x + (<usize>b << 10), b, j, packed, d, dMin);
    }
    packPairs(CODES, out + 16);
  }
  return irregular;
}

function searchScales(frame: usize): i32 {
  return positive(frame, 16, 15);
}

/** Sums of the frame's weights, in order, as the weights of super-block b's scales. */
function totals(b: i32, first: i32): void {
  let low = f32x4.splat(0);
  let high = low;
  for (let p = FRAME; p < FRAME + 512; p += 32) {
    low = f32x4.add(low, v128.load(p, W));
    high = f32x4.add(high, v128.load(p, W + 16));
  }
  v128.store(FRAME, low, SCALE);
  v128.store(FRAME, high, SCALE + 16);
  toLane(FRAME + SCALE, SCALES + W, b, first);
}
