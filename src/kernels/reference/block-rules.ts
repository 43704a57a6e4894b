/**
 * Scale, zero point and code of one block, for the three rules (docs/onnx.md 3.1, 3.2, 3.4).
 *
 * mid = 2^(bits−1), top = 2^bits − 1. Range: NaN is skipped, ±Inf is not; a block without any number has the range 0..0.
 *   symmetric   m = max if |max| > |min| else min; scale = −m / mid (its sign is kept, so that m gets the code 0)
 *   asymmetric  min and max include 0; scale = (max − min) / top; zero = clamp(round(−min / scale), 0, top)
 *   (scale in the zero point's formula: in f32, before rounding to f16; everything else uses the stored scale)
 *   nbits       code = clamp(roundHalfAway(w·r + zero), 0, top), zero = mid when symmetric, r = 1 / scale or 0
 *   qdq         code = clamp(roundHalfAway(w·r) + zero); symmetric: two's complement low bits, zero 0
 *   gather      code = clamp(roundHalfEven(w / scale + zero)); symmetric: clamp(roundHalfEven(w / scale)) + mid, zero mid;
 *               scale 0: code mid; scaleType f16: every step is rounded to f16
 * A code whose value before rounding is NaN (w is NaN; 0·Inf) is that of 0, i.e. the zero point.
 */

import type { BlockOptions } from '../kernels.ts';
import { clamp, roundHalfAway, roundHalfEven, toHalf } from './rounding.ts';

export interface BlockRange {
  min: number;
  max: number;
  nonFinite: number;
}

/** Range of `length` values from `first`, `step` apart; adds the count of non-finite values to `result.nonFinite`. */
export function scanBlock(
  values: Float32Array,
  first: number,
  length: number,
  step: number,
  result: BlockRange,
): void {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  let nonFinite = 0;
  for (let i = 0, at = first; i < length; i++, at += step) {
    const x = values[at]!;
    if (x < min) min = x;
    if (x > max) max = x;
    if (x - x !== 0) nonFinite++;
  }
  if (min > max) {
    min = 0;
    max = 0;
  }
  result.min = min;
  result.max = max;
  result.nonFinite += nonFinite;
}

/** What turns the values of a block into codes. */
export interface BlockParameters {
  scale: number;
  reciprocal: number;
  zero: number;
}

/** Fills `out` from the block's range. */
export function blockParameters(range: BlockRange, options: BlockOptions, out: BlockParameters): void {
  const { bits, symmetric, rule } = options;
  const half = options.scaleType === 'f16';
  const step = rule === 'gather' && half ? toHalf : Math.fround;
  const store = half ? toHalf : Math.fround;
  const mid = 2 ** (bits - 1);
  const top = 2 ** bits - 1;
  if (symmetric) {
    const extreme = Math.abs(range.max) > Math.abs(range.min) ? range.max : range.min;
    out.scale = store(-extreme / mid);
    out.zero = rule === 'qdq' ? 0 : mid;
  } else {
    const min = Math.min(range.min, 0);
    const max = Math.max(range.max, 0);
    const exact = step(step(max - min) / top);
    out.scale = store(exact);
    // From the scale before it is rounded to f16, as onnxruntime does; the codes use the stored one.
    const zero =
      rule === 'gather'
        ? roundHalfEven(out.scale === 0 ? mid : step(-min / out.scale))
        : roundHalfAway(exact === 0 ? min : 0 - Math.fround(min / exact));
    out.zero = Number.isNaN(zero) ? 0 : clamp(zero, 0, top);
  }
  out.reciprocal = out.scale === 0 ? 0 : Math.fround(1 / out.scale);
}

/** Code of one value, as stored (unsigned). */
export type BlockCoder = (value: number, parameters: BlockParameters) => number;

/** The coder of a rule; chosen once for each call, not for each value. */
export function blockCoder(options: BlockOptions): BlockCoder {
  const { bits, symmetric } = options;
  const mid = 2 ** (bits - 1);
  const top = 2 ** bits - 1;
  switch (options.rule) {
    case 'nbits':
      return (w, { reciprocal, zero }) => {
        const position = Math.fround(Math.fround(w * reciprocal) + zero);
        return !Number.isNaN(position) ? clamp(roundHalfAway(position), 0, top) : zero;
      };
    case 'qdq':
      return (w, { reciprocal, zero }) => {
        const position = Math.fround(w * reciprocal);
        const rounded = !Number.isNaN(position) ? roundHalfAway(position) : 0;
        return symmetric ? clamp(rounded, -mid, mid - 1) & top : clamp(rounded + zero, 0, top);
      };
    case 'gather': {
      const step = options.scaleType === 'f16' ? toHalf : Math.fround;
      return (w, { scale, zero }) => {
        if (scale === 0) return mid;
        const quotient = step(w / scale);
        if (Number.isNaN(quotient)) return zero;
        return symmetric
          ? clamp(roundHalfEven(quotient), -mid, mid - 1) + mid
          : clamp(roundHalfEven(step(quotient + zero)), 0, top);
      };
    }
    default:
      return options.rule satisfies never;
  }
}
