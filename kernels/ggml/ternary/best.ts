/**
 * The best split of four groups so far: BEST holds rows of score, scale, first and second cut point, candidate.
 *
 * A candidate with the sums qx = Σ w q x and q2 = Σ w q² takes the place where q2 > 0 and qx² > score · q2. Loops ask that of
 * several candidates at once with the score as it was, which can only grow, and come here in order when any lane may pass.
 *
 * The score may begin with a little less than that of any candidate: let M be the greatest score. The first candidate in order
 * whose score is above (1 − 10^-4) M is accepted whatever came before, and from there on everything is the same. So a few
 * candidates are scored first, and the search begins at 0.999 of their best, which spares it nearly all of the steps up.
 * That argument needs products that neither overflow nor lose bits, else the search begins at the least f32.
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
  const score = v128.bitselect(f32x4.splat(-3.4028234663852886e38), f32x4.mul(most, f32x4.splat(0.999)), none);
  v128.store(BEST, score);
  v128.store(BEST, f32x4.splat(0), 16);
  v128.store(BEST, i32x4.splat(-1), 32);
  v128.store(BEST, i32x4.splat(-1), 48);
  v128.store(BEST, i32x4.splat(0), 64);
  return score;
}

/** Whether a candidate could pass, but for the sign of q2. */
// @ts-ignore: decorator
@inline
export function passes(score: v128, qx: v128, q2: v128): v128 {
  return f32x4.gt(f32x4.mul(qx, qx), f32x4.mul(score, q2));
}

/** Takes the candidate where it passes; the score then. */
export function take(score: v128, qx: v128, q2: v128, i1: i32, i2: i32, candidate: i32): v128 {
  const taken = v128.and(f32x4.gt(q2, f32x4.splat(0)), passes(score, qx, q2));
  if (!v128.any_true(taken)) return score;
  const scale = f32x4.div(qx, q2);
  const next = v128.bitselect(f32x4.mul(scale, qx), score, taken);
  v128.store(BEST, v128.bitselect(scale, v128.load(BEST, 16), taken), 16);
  v128.store(BEST, v128.bitselect(i32x4.splat(i1), v128.load(BEST, 32), taken), 32);
  v128.store(BEST, v128.bitselect(i32x4.splat(i2), v128.load(BEST, 48), taken), 48);
  v128.store(BEST, v128.bitselect(i32x4.splat(candidate), v128.load(BEST, 64), taken), 64);
  return next;
}
