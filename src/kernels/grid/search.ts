/**
 * The search over scales and zeros of one group, by error or by fit.
 *
 * By fit: with u = code − zero, the best scale of given codes minimises Σ a (w − s u)² + μ (Σ a w (w − s u))² / Σ a w², hence
 *
 *     s = (1 + μ) uw / (uu + μ uw² / ww),   gain = (1 + μ)² uw² / (uu + μ uw² / ww)
 *
 * with uw = Σ a u w, uu = Σ a u², ww = Σ a w²: candidates are compared without computing an error. μ counts the part of the error
 * along w itself: least squares alone always shrinks a group, all groups shrink together, and so does what the layer puts out.
 * With real zeros the same holds for values about their mean and codes about theirs, and the mean of a group is exact.
 */

import type { GridShape, SearchOptions } from './grid.ts';
import {
  codeOf,
  constantGrid,
  coveringGrid,
  type GroupGrid,
  plainGrid,
  rangeWithZero,
  reciprocal,
  squaredError,
  storedScale,
} from './group.ts';

const f = Math.fround;
const THIRD = f(1 / 3);

/** 0, −1, +1, −2, +2 … */
function offsetOf(step: number): number {
  return step % 2 === 1 ? -(step + 1) / 2 : step / 2;
}

interface Fit {
  readonly gain: number;
  /** Best scale of the codes, before rounding to its type. */
  readonly scale: number;
  /** Weighted mean of the codes (real zeros). */
  readonly mean: number;
}

/** @param uw - Σ a u w; @param uu - Σ a u², about the mean where zeros are real */
function fitOf(uw: number, uu: number, ww: number, coherence: number, mean: number): Fit {
  const above = f(f(1 + coherence) * uw);
  const below = f(uu + f(coherence * f(f(uw * uw) / ww)));
  if (!(below > 0) || uw === 0) return { gain: 0, scale: 0, mean };
  const scale = f(above / below);
  return { gain: f(above * scale), scale, mean };
}

function squares(x: Float32Array, a: Float32Array | undefined): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    const ax = a === undefined ? x[i]! : f(a[i]! * x[i]!);
    sum = f(sum + f(ax * x[i]!));
  }
  return sum;
}

function fitInteger(
  x: Float32Array,
  a: Float32Array | undefined,
  ww: number,
  inverse: number,
  zero: number,
  top: number,
  coherence: number,
): Fit {
  let uw = 0;
  let uu = 0;
  for (let i = 0; i < x.length; i++) {
    const u = f(codeOf(x[i]!, inverse, zero, top) - zero);
    const au = a === undefined ? u : f(a[i]! * u);
    uw = f(uw + f(au * x[i]!));
    uu = f(uu + f(au * u));
  }
  return fitOf(uw, uu, ww, coherence, 0);
}

function fitReal(
  x: Float32Array,
  a: Float32Array | undefined,
  weight: number,
  ww: number,
  inverse: number,
  zero: number,
  top: number,
  coherence: number,
): Fit {
  let uw = 0;
  let uu = 0;
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    const u = codeOf(x[i]!, inverse, zero, top);
    const au = a === undefined ? u : f(a[i]! * u);
    uw = f(uw + f(au * x[i]!));
    uu = f(uu + f(au * u));
    sum = f(sum + au);
  }
  const mean = f(sum / weight);
  return fitOf(uw, f(uu - f(mean * sum)), ww, coherence, mean);
}

function searchReal(
  values: Float32Array,
  a: Float32Array | undefined,
  shape: GridShape,
  options: SearchOptions,
): GroupGrid {
  const { factors, reach, refits, coherence } = options;
  const top = 2 ** shape.bits - 1;
  let low = values[0]!;
  let high = values[0]!;
  let weight = 0;
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value < low) low = value;
    if (value > high) high = value;
    weight = f(weight + (a === undefined ? 1 : a[i]!));
    sum = f(sum + (a === undefined ? value : f(a[i]! * value)));
  }
  const whole = f(f(high - low) / top);
  if (storedScale(whole, shape.half) === 0) return constantGrid(low, shape);
  const mean = weight > 0 ? f(sum / weight) : 0;
  const x = values.map((value) => f(value - mean));
  const ww = squares(x, a);
  const middle = f(f(f(low - mean) + f(high - mean)) * 0.5);
  // Of centred values: what gives the codes, and what they stand for.
  let scale = storedScale(whole, shape.half);
  let inverse = reciprocal(scale);
  let shift = f(top * 0.5 - f(middle * inverse));
  let zero = shift;
  let gain = 0;
  for (let step = 0; step <= 2 * reach; step++) {
    const offset = f(THIRD * offsetOf(step));
    for (let k = 0; k < factors.length; k++) {
      const candidate = reciprocal(storedScale(f(whole * factors[k]!), false));
      const start = f(f(top * 0.5 - f(middle * candidate)) + offset);
      const fit = fitReal(x, a, weight, ww, candidate, start, top, coherence);
      const stored = storedScale(fit.scale, shape.half);
      if (fit.gain > gain && stored !== 0) {
        ({ gain } = fit);
        inverse = candidate;
        shift = start;
        scale = stored;
        zero = fit.mean;
      }
    }
  }
  for (let round = 0; round < refits; round++) {
    const candidate = reciprocal(scale);
    const start = zero;
    const fit = fitReal(x, a, weight, ww, candidate, start, top, coherence);
    const stored = storedScale(fit.scale, shape.half);
    if (fit.gain > gain && stored !== 0) {
      ({ gain } = fit);
      inverse = candidate;
      shift = start;
      scale = stored;
      zero = fit.mean;
    }
  }
  return {
    scale,
    zero: f(zero - f(mean * reciprocal(scale))),
    inverse,
    shift: f(shift - f(mean * inverse)),
  };
}

/** The best grid of a group among the candidates of `options`. */
export function searchGroup(
  x: Float32Array,
  a: Float32Array | undefined,
  shape: GridShape,
  options: SearchOptions,
): GroupGrid {
  const { factors, refits, coherence } = options;
  if (options.realZeros && refits > 0 && !shape.symmetric) return searchReal(x, a, shape, options);
  const top = 2 ** shape.bits - 1;
  const reach = shape.symmetric ? 0 : options.reach;
  const whole = coveringGrid(rangeWithZero(x), shape);
  let best = plainGrid(storedScale(whole.scale, shape.half), whole.zero);
  let gain = refits > 0 ? 0 : Number.NEGATIVE_INFINITY;
  const ww = refits > 0 ? squares(x, a) : 0;
  for (let step = 0; step <= 2 * reach; step++) {
    const zero = Math.max(0, Math.min(top, whole.zero + offsetOf(step)));
    for (let k = 0; k < factors.length; k++) {
      const scale = storedScale(f(whole.scale * factors[k]!), shape.half);
      if (refits === 0) {
        const error = squaredError(x, a, scale, zero, top);
        if (-error > gain) {
          gain = -error;
          best = plainGrid(scale, zero);
        }
        continue;
      }
      const inverse = reciprocal(scale);
      best = betterFit(inverse, zero);
    }
  }
  for (let round = 0; round < refits; round++) best = betterFit(reciprocal(best.scale), best.zero);
  return best;

  /** The grid that fits these codes, where it gains more than the best so far. */
  function betterFit(inverse: number, zero: number): GroupGrid {
    const fit = fitInteger(x, a, ww, inverse, zero, top, coherence);
    const scale = storedScale(fit.scale, shape.half);
    if (!(fit.gain > gain) || scale === 0) return best;
    ({ gain } = fit);
    return { scale, zero, inverse, shift: zero };
  }
}
