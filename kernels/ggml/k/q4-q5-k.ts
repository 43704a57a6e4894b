/** Q4_K and Q5_K (layout: src/kernels/ggml/k/q4-q5-k.ts): the eight sub-blocks of a super-block are one frame. */

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
import { packBit, packNibbles, recode, searchedCodes } from './codes';
import { nearestInteger, storeHalf } from '../../block-scales';
import { positive } from './positive';
import { importanceWeights, variances } from './weights';

const FRAME: usize = memory.data(FRAME_BYTES, 16);
const SCALES: usize = memory.data(FRAME_BYTES, 16);
const MINIMA: usize = memory.data(FRAME_BYTES, 16);
/** Codes 0 … 63 of one super-block's scales, then of its minima. */
const SIX_BITS: usize = memory.data(16, 16);

function search4Plain(): i32 {
  return asymmetric(FRAME, 32, 15, -1, 0.1, 20, false);
}

function search5Plain(): i32 {
  return asymmetric(FRAME, 32, 31, -0.5, 0.1, 15, false);
}

function search4Weighted(): i32 {
  return asymmetric(FRAME, 32, 15, -0.9, 0.05, 36, false);
}

function search5Weighted(): i32 {
  return asymmetric(FRAME, 32, 31, -0.9, 0.05, 36, false);
}

function searchScales(frame: usize): i32 {
  return positive(frame, 8, 63);
}

/** w = sqrt(Σx² / 32) + |x|. */
function magnitudes(): void {
  let low = f32x4.splat(0);
  let high = low;
  for (let p = FRAME; p < FRAME + 1024; p += 32) {
    const a = v128.load(p, X);
    const b = v128.load(p, X + 16);
    low = f32x4.add(low, f32x4.mul(a, a));
    high = f32x4.add(high, f32x4.mul(b, b));
  }
  const n = f32x4.splat(32);
  low = f32x4.sqrt(f32x4.div(low, n));
  high = f32x4.sqrt(f32x4.div(high, n));
  for (let p = FRAME; p < FRAME + 1024; p += 32) {
    v128.store(p, f32x4.add(low, f32x4.abs(v128.load(p, X))), W);
    v128.store(p, f32x4.add(high, f32x4.abs(v128.load(p, X + 16))), W + 16);
  }
}

function largestOf(values: usize): f32 {
  let largest: f32 = 0;
  for (let j: usize = 0; j < 32; j += 4) {
    const value = load<f32>(values + j);
    if (value > largest) largest = value;
  }
  return largest;
}

/** Halves, scales and codes of one super-block whose six-bit codes are known. */
// @ts-ignore: decorator
@inline
function finish(x: usize, b: i32, scale: f32, minimum: f32, out: usize, five: bool): void {
  const d = storeHalf(out, scale);
  const dMin = storeHalf(out + 2, minimum);
  for (let j: usize = 0; j < 4; j++) {
    const low = load<u8>(SIX_BITS + j);
    const lowMin = load<u8>(SIX_BITS + 8 + j);
    const high = load<u8>(SIX_BITS + j, 4);
    const highMin = load<u8>(SIX_BITS + 8 + j, 4);
    store<u8>(out + 4 + j, low | ((high >> 4) << 6));
    store<u8>(out + 8 + j, lowMin | ((highMin >> 4) << 6));
    store<u8>(out + 12 + j, (high & 15) | ((highMin & 15) << 4));
  }
  for (let j = 0; j < 8; j++) {
    const step = d * <f32>load<u8>(SIX_BITS + j);
    const from = x + (<usize>j << 7);
    const codes = CODES + (<usize>j << 5);
    const top = five ? 31 : 15;
    if (step == 0) searchedCodes(from, 32, foundInverse(b, j), foundBase(b, j), 0, top, codes);
    else recode(from, 32, step, dMin * <f32>load<u8>(SIX_BITS + 8 + j), 0, top, codes);
  }
  if (five) packBit(CODES, 4, out + 16);
  packNibbles(CODES, 32, out + (five ? 48 : 16));
}

// @ts-ignore: decorator
@inline
function plain(x: usize, out: usize, five: bool): bool {
  toLanes(x, 128, 32, FRAME + X);
  magnitudes();
  const irregular = five ? search5Plain() : search4Plain();
  keepFound(FRAME, 0, 0);
  const largest = largestOf(FRAME + SCALE);
  const deepest = largestOf(FRAME + OFFSET);
  const inverse: f32 = largest > 0 ? <f32>63 / largest : 0;
  const inverseMin: f32 = deepest > 0 ? <f32>63 / deepest : 0;
  for (let j: usize = 0; j < 8; j++) {
    const at = FRAME + (j << 2);
    store<u8>(SIX_BITS + j, min(63, nearestInteger(inverse * load<f32>(at, SCALE)) & 255));
    store<u8>(SIX_BITS + 8 + j, min(63, nearestInteger(inverseMin * load<f32>(at, OFFSET)) & 255));
  }
  finish(x, 0, largest / <f32>63, deepest / <f32>63, out, five);
  return irregular != 0;
}

export function q4Plain(x: usize, out: usize): bool {
  return plain(x, out, false);
}

export function q5Plain(x: usize, out: usize): bool {
  return plain(x, out, true);
}

/** Sums of the frame's weights, in order, as the weights of super-block b's scales. */
function totals(b: i32): void {
  let low = f32x4.splat(0);
  let high = low;
  for (let p = FRAME; p < FRAME + 1024; p += 32) {
    low = f32x4.add(low, v128.load(p, W));
    high = f32x4.add(high, v128.load(p, W + 16));
  }
  v128.store(FRAME, low, SCALE);
  v128.store(FRAME, high, SCALE + 16);
  toLane(FRAME + SCALE, SCALES + W, b, 0);
}

// @ts-ignore: decorator
@inline
function weighted(x: usize, importance: usize, column: i32, perRow: i32, out: usize, five: bool): i32 {
  let irregular = 0;
  variances(x, 2, VARIANCES);
  for (let b = 0; b < 8; b++) {
    const from = x + (<usize>b << 10);
    importanceWeights(from, importance + (<usize>column << 10), load<f32>(VARIANCES + (<usize>b << 2)), WEIGHTS);
    column = column + 1 == perRow ? 0 : column + 1;
    toLanes(from, 128, 32, FRAME + X);
    toLanes(WEIGHTS, 128, 32, FRAME + W);
    irregular |= (five ? search5Weighted() : search4Weighted()) == 0 ? 0 : 1 << b;
    keepFound(FRAME, b, 0);
    toLane(FRAME + SCALE, SCALES + X, b, 0);
    toLane(FRAME + OFFSET, MINIMA + X, b, 0);
    totals(b);
  }
  memory.copy(MINIMA + W, SCALES + W, 256);
  irregular |= searchScales(SCALES);
  irregular |= searchScales(MINIMA);
  for (let b = 0; b < 8; b++, out += five ? 176 : 144) {
    for (let j = 0; j < 8; j++) {
      store<u8>(SIX_BITS + j, <i32>laneOf(SCALES + L, b, j));
      store<u8>(SIX_BITS + 8 + j, <i32>laneOf(MINIMA + L, b, j));
    }
    const lane = <usize>b << 2;
    finish(
      x + (<usize>b << 10),
      b,
      load<f32>(SCALES + SCALE + lane),
      load<f32>(MINIMA + SCALE + lane),
      out,
      five,
    );
  }
  return irregular;
}

/** @returns bit b set: super-block b is irregular */
export function q4Weighted(x: usize, importance: usize, column: i32, perRow: i32, out: usize): i32 {
  return weighted(x, importance, column, perRow, out, false);
}

export function q5Weighted(x: usize, importance: usize, column: i32, perRow: i32, out: usize): i32 {
  return weighted(x, importance, column, perRow, out, true);
}
