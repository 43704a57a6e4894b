/**
 * What both types do with four groups side by side: weights, transposition, order, and after the search for a split the words,
 * their points and the second fit of the scale (definition: src/kernels/ggml/ternary/).
 *
 * A value's place in sorted order is the number of values before it: smaller ones, and equal ones with a smaller index. So
 * the order needs no moves, it is counted for four groups at once.
 */

import { nearestInteger } from '../../block-scales';
import { storeTransposed } from '../../vectors';
import { BEST, CODES, PLACES, RANK, SIGMA, SORTED, W, WEIGHTS, X } from './memory';
import { nearestWord } from './search';

/** Four consecutive groups of `count` values to rows. */
// @ts-ignore: decorator
@inline
export function transpose(from: usize, count: usize, to: usize): void {
  for (let j: usize = 0; j < count; j += 4) {
    const p = from + 4 * j;
    storeTransposed(
      v128.load(p),
      v128.load(p + 4 * count),
      v128.load(p + 8 * count),
      v128.load(p + 12 * count),
      to + 16 * j,
    );
  }
}

/** 2 Σx² / 256 of up to four blocks, each sum in its order. */
export function prepareSigma(source: usize, blocks: usize): void {
  const b = source + (blocks > 1 ? 1024 : 0);
  const c = source + (blocks > 2 ? 2048 : 0);
  const d = source + (blocks > 3 ? 3072 : 0);
  let sum = f32x4.splat(0);
  for (let j: usize = 0; j < 1024; j += 16) {
    // CODES has room for four rows.
    storeTransposed(v128.load(source + j), v128.load(b + j), v128.load(c + j), v128.load(d + j), CODES);
    for (let row: usize = 0; row < 64; row += 16) {
      const x = v128.load(CODES + row);
      sum = f32x4.add(sum, f32x4.mul(x, x));
    }
  }
  v128.store(SIGMA, f32x4.div(f32x4.mul(f32x4.splat(2), sum), f32x4.splat(256)));
}

/** Weights of the block `index` of those that `prepareSigma` saw. Without importance they are the squares. */
// @ts-ignore: decorator
@inline
export function weigh(source: usize, importance: usize, index: usize): void {
  if (importance == 0) {
    for (let j: usize = 0; j < 1024; j += 16) {
      const x = v128.load(source + j);
      v128.store(WEIGHTS + j, f32x4.mul(x, x));
    }
    return;
  }
  const sigma = v128.load32_splat(SIGMA + 4 * index);
  for (let j: usize = 0; j < 1024; j += 16) {
    const x = v128.load(source + j);
    const root = f32x4.sqrt(f32x4.add(sigma, f32x4.mul(x, x)));
    v128.store(WEIGHTS + j, f32x4.mul(v128.load(importance + j), root));
  }
}

/** Mask of the groups whose largest magnitude is at least `least`. */
// @ts-ignore: decorator
@inline
export function present(count: usize, least: f32): v128 {
  let a = f32x4.splat(0);
  for (let i: usize = 0; i < 16 * count; i += 16) a = f32x4.pmax(a, f32x4.abs(v128.load(X + i)));
  return f32x4.ge(a, f32x4.splat(least));
}

/** Places in sorted order. */
// @ts-ignore: decorator
@inline
export function rank(count: usize): void {
  for (let i: usize = 0; i < 16 * count; i += 64) {
    const x0 = v128.load(X + i);
    const x1 = v128.load(X + i, 16);
    const x2 = v128.load(X + i, 32);
    const x3 = v128.load(X + i, 48);
    let r0 = f32x4.lt(x1, x0);
    r0 = i32x4.add(r0, i32x4.add(f32x4.lt(x2, x0), f32x4.lt(x3, x0)));
    let r1 = i32x4.add(f32x4.le(x0, x1), i32x4.add(f32x4.lt(x2, x1), f32x4.lt(x3, x1)));
    let r2 = i32x4.add(f32x4.le(x0, x2), i32x4.add(f32x4.le(x1, x2), f32x4.lt(x3, x2)));
    let r3 = i32x4.add(f32x4.le(x0, x3), i32x4.add(f32x4.le(x1, x3), f32x4.le(x2, x3)));
    for (let j: usize = 0; j < i; j += 16) {
      const y = v128.load(X + j);
      r0 = i32x4.add(r0, f32x4.le(y, x0));
      r1 = i32x4.add(r1, f32x4.le(y, x1));
      r2 = i32x4.add(r2, f32x4.le(y, x2));
      r3 = i32x4.add(r3, f32x4.le(y, x3));
    }
    for (let j = i + 64; j < 16 * count; j += 16) {
      const y = v128.load(X + j);
      r0 = i32x4.add(r0, f32x4.lt(y, x0));
      r1 = i32x4.add(r1, f32x4.lt(y, x1));
      r2 = i32x4.add(r2, f32x4.lt(y, x2));
      r3 = i32x4.add(r3, f32x4.lt(y, x3));
    }
    v128.store(RANK + i, i32x4.neg(r0));
    v128.store(RANK + i, i32x4.neg(r1), 16);
    v128.store(RANK + i, i32x4.neg(r2), 32);
    v128.store(RANK + i, i32x4.neg(r3), 48);
  }
}

/** Weighted value and weight of each value to its place, 32 bytes apart. */
// @ts-ignore: decorator
@inline
export function sort(count: usize): void {
  for (let i: usize = 0; i < 16 * count; i += 4) {
    const to = SORTED + (<usize>load<i32>(RANK + i) << 5) + (i & 15);
    const w = load<f32>(W + i);
    store<f32>(to, w * load<f32>(X + i));
    store<f32>(to, w, 16);
  }
}

/** Row of the words of the values first … first + 7 by the split in BEST; `mirrored`: groups whose codes are exchanged. */
// @ts-ignore: decorator
@inline
export function words(first: usize, mirrored: v128): v128 {
  const i1 = v128.load(BEST, 32);
  const i2 = v128.load(BEST, 48);
  const offset = i32x4.add(i32x4.splat(2), mirrored);
  let word = i32x4.splat(0);
  for (let j: i32 = 0; j < 8; j++) {
    const r = v128.load(RANK + 16 * (first + j));
    const below = i32x4.add(i32x4.lt_s(r, i1), i32x4.lt_s(r, i2));
    word = v128.or(word, i32x4.shl(i32x4.add(v128.xor(below, mirrored), offset), 2 * j));
  }
  return word;
}

/** The word for 8 values: as it is where a point has it, else the best near it. */
// @ts-ignore: decorator
@inline
export function choose(word: i32, x: usize, w: usize, scale: f32, shift: f32): i32 {
  const place = load<i32>(PLACES + 4 * <usize>word);
  return place >= 0 ? word : nearestWord(place, x, w, scale, shift);
}

/** Row of f32 levels, component `i` of the words; `base` = shift − 1. */
// @ts-ignore: decorator
@inline
export function component(word: v128, i: i32, base: v128): v128 {
  const code = v128.and(i32x4.shr_u(word, 2 * i), i32x4.splat(3));
  return f32x4.add(f32x4.convert_i32x4_s(code), base);
}

/** rint(½ (id · scale − 1)) within 0 … 7, with the bits that ggml's rounding takes from beyond 2^22. */
// @ts-ignore: decorator
@inline
export function steps(id: f32, scale: f32): i32 {
  return max(0, min(7, nearestInteger(0.5 * (id * scale - 1))));
}

/** 8 values of a word. */
// @ts-ignore: decorator
@inline
export function storeValues(word: i32, scale: f32, shift: f32, to: usize): void {
  const places = i32x4(64, 16, 4, 1);
  const base = f32x4.splat(shift - 1);
  const s = f32x4.splat(scale);
  const low = i32x4.shr_u(i32x4.mul(i32x4.splat(word), places), 6);
  const high = i32x4.shr_u(i32x4.mul(i32x4.splat(word >> 8), places), 6);
  const a = f32x4.add(f32x4.convert_i32x4_s(v128.and(low, i32x4.splat(3))), base);
  const b = f32x4.add(f32x4.convert_i32x4_s(v128.and(high, i32x4.splat(3))), base);
  v128.store(to, f32x4.mul(s, a));
  v128.store(to, f32x4.mul(s, b), 16);
}
