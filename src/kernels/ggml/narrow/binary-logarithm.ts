/**
 * ⌊log2f(x)⌋ of positive finite f32, with log2f as the C library computes it: log2(x) rounded to f32. That is not the
 * exponent of x where x lies so closely below 2^k that the logarithm rounds to k itself.
 *
 * Proof of the rule. Let x = 2^k (1 − n/2^24), n ≥ 1 small: log2 x = k − n · 2^−24 / ln 2 (and less than n² 2^−48 more). f32
 * just below k > 0, or just beyond k < 0 in magnitude, has the spacing 2^(b−23), where 2^b is the largest power of two below k
 * (not above −k). So the result is k while n · 2^−24 / ln 2 ≤ 2^(b−24), which is n ≤ 2^b ln 2. The next number is never
 * closer to its tie than 0.09 units of n (b = 4), thousands of times the error of the library's polynomial: all C libraries
 * that are correct to 0.6 units in the last place agree. test/kernels/ggml/narrow.test.ts asks ggml's for every k.
 */

import { floorLog2 } from '../../../core/floats.ts';

/** How far below 2^k, in units of 2^(k−24), the rounded logarithm is still k. */
export function unitsBelow(k: number): number {
  if (k === 0) return 0;
  const b = 31 - Math.clz32(k > 0 ? k - 1 : -k);
  return Math.floor(2 ** b * Math.LN2);
}

/** @param x - a positive finite f32 */
export function floorOfRoundedLog2(x: number): number {
  const k = floorLog2(x) + 1;
  // Exact in f64, of subnormals too.
  const below = (1 - x * 2 ** -k) * 2 ** 24;
  return below <= unitsBelow(k) ? k : k - 1;
}
