/**
 * The best split of four groups so far: BEST holds rows of score, scale, first and second cut point, candidate.
 *
 * A candidate with the sums qx = Σ w q x and q2 = Σ w q² takes the place where q2 > 0 and qx² > score · q2, in f32 and in order;
 * the score is then its qx² / q2. Few candidates need these very sums. Let M be the greatest score of all:
 *
 * - The first candidate above (1 − 10^-6) M is accepted whatever came before, and nothing from before counts after it. So
 *   the search may begin with any score a little below M, 0.99999 of the best of a few candidates, and what is clearly below
 *   M may be skipped.
 * - That is seen from sums with fewer operations (iq1-s.ts). Splitting by sign alone gives M ≥ (0.875 Σ|w x|)² / (1.27 Σ w),
 *   and no q² is below 1/64, so a candidate near M has |qx| > 0.09 Σ|w x| and q2 > 0.015 Σ w: against that the differences
 *   between two ways of adding are below 5 · 10^-5. A candidate whose simpler sums do not reach 0.9999 of the score is skipped.
 *
 * That needs products that neither overflow nor lose bits (`seed` looks), else every candidate is scored in order.
 */

import { BEST } from './memory';

// @ts-ignore: decorator
@inline
const SAFE_LOW: f32 = 1e-30;
// @ts-ignore: decorator
@inline
const SAFE_HIGH: f32 = 1e30;

// @ts-ignore: decorator
@inline
function safe(x: v128): v128 {
  return v128.and(f32x4.gt(x, f32x4.splat(SAFE_LOW)), f32x4.lt(x, f32x4.splat(SAFE_HIGH)));
}

/** The greater of `most` and a candidate's score, if that is safe to begin with. */
// @ts-ignore: decorator
@inline
export function seed(most: v128, qx: v128, q2: v128): v128 {
  const square = f32x4.mul(qx, qx);
  const score = f32x4.div(square, q2);
  const usable = v128.and(v128.and(safe(square), safe(q2)), safe(score));
  return f32x4.pmax(most, v128.and(score, usable));
}

/** Empties BEST; the score to begin with, from the greatest seed or 0. */
// @ts-ignore: decorator
@inline
export function begin(most: v128): v128 {
  const none = f32x4.le(most, f32x4.splat(0));
  const score = v128.bitselect(f32x4.splat(-3.4028234663852886e38), f32x4.mul(most, f32x4.splat(0.99999)), none);
  v128.store(BEST, score);
  v128.store(BEST, f32x4.splat(0), 16);
  v128.store(BEST, i32x4.splat(-1), 32);
  v128.store(BEST, i32x4.splat(-1), 48);
  v128.store(BEST, i32x4.splat(0), 64);
  return score;
}

/** What the simpler sums have to reach; nothing passes in lanes that have no head start. */
// @ts-ignore: decorator
@inline
export function limitOf(score: v128, ready: v128): v128 {
  return v128.bitselect(f32x4.mul(score, f32x4.splat(0.9999)), f32x4.splat(Infinity), ready);
}

/** Lanes where qx² > score · q2. */
// @ts-ignore: decorator
@inline
export function passes(score: v128, qx: v128, q2: v128): v128 {
  return f32x4.gt(f32x4.mul(qx, qx), f32x4.mul(score, q2));
}

/** Takes the candidate where it passes; the score then. */
// @ts-ignore: decorator
@inline
export function take(score: v128, qx: v128, q2: v128, i1: i32, i2: i32, candidate: i32): v128 {
  const taken = v128.and(f32x4.gt(q2, f32x4.splat(0)), passes(score, qx, q2));
  let next = score;
  if (v128.any_true(taken)) {
    const scale = f32x4.div(qx, q2);
    next = v128.bitselect(f32x4.mul(scale, qx), score, taken);
    v128.store(BEST, v128.bitselect(scale, v128.load(BEST, 16), taken), 16);
    v128.store(BEST, v128.bitselect(i32x4.splat(i1), v128.load(BEST, 32), taken), 32);
    v128.store(BEST, v128.bitselect(i32x4.splat(i2), v128.load(BEST, 48), taken), 48);
    v128.store(BEST, v128.bitselect(i32x4.splat(candidate), v128.load(BEST, 64), taken), 64);
  }
  return next;
}
