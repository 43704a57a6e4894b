/**
 * The point for 8 values whose codes are none: the one of the list with the least Σ w (scale · level − x)², the first one of
 * equals (definition: src/kernels/ggml/ternary/grid.ts).
 *
 * A value has three possible terms, so the first four have 81 sums in their order of addition (by the low byte of a word, pad
 * entries in between), and so have the last four. The sum of two of these differs from the sequential sum by less than 10^-6
 * of it, for no term is negative: one pass finds the least such sum, and only words within 2 · 10^-6 of it, if there are
 * several, are summed in order.
 */

import { ERRORS, HIGH, LISTS, LOW, TERMS } from './memory';

// @ts-ignore: decorator
@inline
function term(levels: v128, x: usize, w: usize, i: usize): v128 {
  const difference = f32x4.sub(levels, v128.load32_splat(x + 4 * i));
  const t = f32x4.mul(f32x4.mul(v128.load32_splat(w + 4 * i), difference), difference);
  v128.store(TERMS + 16 * i, t);
  return t;
}

// @ts-ignore: decorator
@inline
function lane(x: v128, k: i32): v128 {
  if (k == 0) return v128.shuffle<i32>(x, x, 0, 0, 0, 0);
  if (k == 1) return v128.shuffle<i32>(x, x, 1, 1, 1, 1);
  return v128.shuffle<i32>(x, x, 2, 2, 2, 2);
}

// @ts-ignore: decorator
@inline
function storeSums(three: v128, t: v128, to: usize): void {
  v128.store(to, f32x4.add(three, lane(t, 0)));
  v128.store(to + 256, f32x4.add(three, lane(t, 1)));
  v128.store(to + 512, f32x4.add(three, lane(t, 2)));
}

/** Sums of four terms in order, at 4 bytes times a byte of codes. */
// @ts-ignore: decorator
@inline
function sumsOfFour(a: v128, b: v128, c: v128, d: v128, to: usize): void {
  const c0 = lane(c, 0);
  const c1 = lane(c, 1);
  const c2 = lane(c, 2);
  let two = f32x4.add(a, lane(b, 0));
  storeSums(f32x4.add(two, c0), d, to);
  storeSums(f32x4.add(two, c1), d, to + 64);
  storeSums(f32x4.add(two, c2), d, to + 128);
  two = f32x4.add(a, lane(b, 1));
  storeSums(f32x4.add(two, c0), d, to + 16);
  storeSums(f32x4.add(two, c1), d, to + 80);
  storeSums(f32x4.add(two, c2), d, to + 144);
  two = f32x4.add(a, lane(b, 2));
  storeSums(f32x4.add(two, c0), d, to + 32);
  storeSums(f32x4.add(two, c1), d, to + 96);
  storeSums(f32x4.add(two, c2), d, to + 160);
}

/** The sequential sum for a word. */
// @ts-ignore: decorator
@inline
function errorOf(word: usize): f32 {
  let sum = load<f32>(LOW + 4 * (word & 255));
  sum += load<f32>(TERMS + 4 * ((word >> 8) & 3), 64);
  sum += load<f32>(TERMS + 4 * ((word >> 10) & 3), 80);
  sum += load<f32>(TERMS + 4 * ((word >> 12) & 3), 96);
  return sum + load<f32>(TERMS + 4 * (word >> 14), 112);
}

/** @returns the best word of the list at `place` */
export function nearestWord(place: i32, x: usize, w: usize, scale: f32, shift: f32): i32 {
  const levels = f32x4.add(f32x4(-1, 0, 1, 0), f32x4.splat(shift));
  const scaled = f32x4.mul(f32x4.splat(scale), levels);
  const a = term(scaled, x, w, 0);
  const b = term(scaled, x, w, 1);
  const c = term(scaled, x, w, 2);
  sumsOfFour(a, b, c, term(scaled, x, w, 3), LOW);
  const e = term(scaled, x, w, 4);
  const f = term(scaled, x, w, 5);
  const g = term(scaled, x, w, 6);
  sumsOfFour(e, f, g, term(scaled, x, w, 7), HIGH);

  // As integers, sums that are not negative have the same order.
  const list = LISTS + 2 * <usize>(-1 - place);
  const count = <usize>load<u16>(list);
  const words = list + 2;
  let least = i32.MAX_VALUE;
  for (let j: usize = 0; j < count; j++) {
    const low = load<f32>(LOW + 4 * <usize>load<u8>(words + 2 * j));
    const error = low + load<f32>(HIGH + 4 * <usize>load<u8>(words + 2 * j, 1));
    store<f32>(ERRORS + 4 * j, error);
    const bits = reinterpret<i32>(error);
    least = select(bits, least, bits < least);
  }
  if (least < 0 || least > 0x7f000000) return firstOf(words, count);
  v128.store(ERRORS + 4 * count, i32x4.splat(0x7fc00000));

  const limit = f32x4.splat(reinterpret<f32>(least) * 1.000002);
  let word = -1;
  let error: f32 = -1;
  for (let j: usize = 0; j < count; j += 4) {
    let hits = i32x4.bitmask(f32x4.le(v128.load(ERRORS + 4 * j), limit));
    for (; hits != 0; hits &= hits - 1) {
      const other = <i32>load<u16>(words + 2 * (j + <usize>ctz(hits)));
      if (word < 0) {
        word = other;
        continue;
      }
      if (error < 0) error = errorOf(word);
      const otherError = errorOf(other);
      if (otherError < error) {
        word = other;
        error = otherError;
      }
    }
  }
  return word;
}

/** The same where sums may leave f32's range: all in order; the first word where no sum is finite. */
function firstOf(words: usize, count: usize): i32 {
  let word = <i32>load<u16>(words);
  let least: f32 = Infinity;
  for (let j: usize = 0; j < count; j++) {
    const other = <i32>load<u16>(words + 2 * j);
    const error = errorOf(other);
    if (error < least) {
      word = other;
      least = error;
    }
  }
  return word;
}
