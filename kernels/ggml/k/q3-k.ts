/** Q3_K (layout: src/kernels/ggml/k/q3-k.ts): two frames of eight sub-blocks of 16 for each super-block. */

import { FRAME_BYTES, INVERSE, L, OFFSET, SCALE, symmetric, toLanes, W, X } from '../../searches';
import { CODES, foundInverse, keepFound, toLane, VARIANCES, WEIGHTS } from './batches';
import { packBit, packPairs, recode, searchedCodes } from './codes';
import { nearestInteger, storeHalf } from '../../block-scales';
import { refine, refinedCodes } from './sweeps';
import { importanceWeights, variances } from './weights';

const FRAME: usize = memory.data(FRAME_BYTES, 16);
const SCALES: usize = memory.data(FRAME_BYTES, 16);
/** Sixteen scales of a super-block, then their six-bit codes. */
const RESULTS: usize = memory.data(64, 16);
const SIX_BITS: usize = memory.data(16, 16);

function searchGroups(): void {
  symmetric(FRAME, 16, 4);
}

function searchScales(): void {
  symmetric(SCALES, 16, 32);
}

/** Scales, half and codes. `b`: place in the batch of what the search found, or −1 where the sweeps know it. */
function finish(x: usize, b: i32, value: f32, out: usize): void {
  for (let j: usize = 0; j < 8; j++) {
    store<u8>(out + 96 + j, (load<u8>(SIX_BITS + j) & 15) | ((load<u8>(SIX_BITS + j, 8) & 15) << 4));
  }
  for (let j: usize = 0; j < 4; j++) {
    const a = load<u8>(SIX_BITS + j) >> 4;
    const b = load<u8>(SIX_BITS + j, 4) >> 4;
    const c = load<u8>(SIX_BITS + j, 8) >> 4;
    const d = load<u8>(SIX_BITS + j, 12) >> 4;
    store<u8>(out + 104 + j, a | (b << 2) | (c << 4) | (d << 6));
  }
  const d = storeHalf(out + 108, value);
  for (let j = 0; j < 16; j++) {
    const step = d * <f32>(<i32>load<u8>(SIX_BITS + j) - 32);
    const from = x + (<usize>j << 6);
    const codes = CODES + (<usize>j << 4);
    if (step != 0) recode(from, 16, step, 0, 4, 7, codes);
    else if (b < 0) refinedCodes(j, codes);
    else searchedCodes(from, 16, foundInverse(b, j), 0, 4, 7, codes);
  }
  packBit(CODES, 2, out);
  packPairs(CODES, out + 32);
}

export function q3Plain(x: usize, out: usize): void {
  refine(x, RESULTS);
  let largest: f32 = 0;
  let extreme: f32 = 0;
  for (let j: usize = 0; j < 64; j += 4) {
    const scale = load<f32>(RESULTS + j);
    if (abs(scale) > largest) {
      largest = abs(scale);
      extreme = scale;
    }
  }
  if (extreme == 0) {
    memory.fill(SIX_BITS, 0, 16);
    finish(x, -1, 0, out);
    return;
  }
  const inverse = <f32>-32 / extreme;
  for (let j: usize = 0; j < 16; j++) {
    const wrapped = <i32>(<i8>nearestInteger(inverse * load<f32>(RESULTS + (j << 2))));
    store<u8>(SIX_BITS + j, max(-32, min(31, wrapped)) + 32);
  }
  finish(x, -1, <f32>1 / inverse, out);
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

/** @returns bit b set: super-block b is irregular (its scales are not finite) */
export function q3Weighted(x: usize, importance: usize, column: i32, perRow: i32, out: usize): i32 {
  variances(x, 2, VARIANCES);
  for (let b = 0; b < 8; b++) {
    const from = x + (<usize>b << 10);
    importanceWeights(from, importance + (<usize>column << 10), load<f32>(VARIANCES + (<usize>b << 2)), WEIGHTS);
    column = column + 1 == perRow ? 0 : column + 1;
    for (let first = 0; first < 16; first += 8) {
      toLanes(from + (<usize>first << 6), 64, 16, FRAME + X);
      toLanes(WEIGHTS + (<usize>first << 6), 64, 16, FRAME + W);
      searchGroups();
      keepFound(FRAME, b, first);
      toLane(FRAME + SCALE, SCALES + X, b, first);
      totals(b, first);
    }
  }
  searchScales();
  let irregular = 0;
  for (let b = 0; b < 8; b++, out += 110) {
    const lane = <usize>b << 2;
    // OFFSET is the scale of largest magnitude: it is finite when all are. A sum with NaN shows the rest.
    let sum: f32 = load<f32>(SCALES + OFFSET + lane);
    const inverse = load<f32>(SCALES + INVERSE + lane);
    for (let j = 0; j < 16; j++) {
      const scale = load<f32>(SCALES + lane + (<usize>j << 5), X);
      sum += scale - scale;
      const code = max(-32, min(31, nearestInteger(inverse * scale))) + 32;
      store<u8>(SIX_BITS + j, inverse == 0 ? 0 : code);
    }
    if (sum - sum != 0) irregular |= 1 << b;
    finish(x + (<usize>b << 10), b, load<f32>(SCALES + SCALE + lane), out);
  }
  return irregular;
}
