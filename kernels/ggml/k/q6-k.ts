/** Q6_K (layout: src/kernels/ggml/k/q6-k.ts): two frames of eight sub-blocks of 16 for each super-block. */

import { FRAME_BYTES, SCALE, symmetric, toLanes, W, X } from '../../searches';
import { CODES, foundInverse, keepFound } from './batches';
import { packHighPairs, packNibbles, recode, searchedCodes } from './codes';
import { nearestInteger, storeHalf } from '../../block-scales';

const FRAME: usize = memory.data(FRAME_BYTES, 16);
/** Sixteen scales. */
const RESULTS: usize = memory.data(64, 16);

function search(): void {
  symmetric(FRAME, 16, 32);
}

/** @param importance - 256 weights, or 0: x² */
export function q6(x: usize, importance: usize, out: usize): void {
  for (let first: usize = 0; first < 16; first += 8) {
    toLanes(x + (first << 6), 64, 16, FRAME + X);
    if (importance != 0) toLanes(importance + (first << 6), 64, 16, FRAME + W);
    else {
      for (let p = FRAME; p < FRAME + 512; p += 16) {
        const v = v128.load(p, X);
        v128.store(p, f32x4.mul(v, v), W);
      }
    }
    search();
    keepFound(FRAME, 0, <i32>first);
    memory.copy(RESULTS + (first << 2), FRAME + SCALE, 32);
  }
  let largest: f32 = 0;
  let extreme: f32 = 0;
  for (let j: usize = 0; j < 64; j += 4) {
    const scale = load<f32>(RESULTS + j);
    if (abs(scale) > largest) {
      largest = abs(scale);
      extreme = scale;
    }
  }
  if (largest < <f32>1e-15) {
    memory.fill(out, 0, 210);
    return;
  }
  const inverse = <f32>-128 / extreme;
  const d = storeHalf(out + 208, <f32>1 / inverse);
  for (let j = 0; j < 16; j++) {
    const code = <i8>min(127, nearestInteger(inverse * load<f32>(RESULTS + (<usize>j << 2))));
    store<i8>(out + 192 + j, code);
    const step = d * <f32>code;
    const from = x + (<usize>j << 6);
    const codes = CODES + (<usize>j << 4);
    if (step == 0) searchedCodes(from, 16, foundInverse(0, j), 0, 32, 63, codes);
    else recode(from, 16, step, 0, 32, 63, codes);
  }
  packNibbles(CODES, 64, out);
  packHighPairs(CODES, out + 128);
}
