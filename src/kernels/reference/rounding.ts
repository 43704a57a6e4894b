/**
 * Scalar rounding, written so that each step is exact or rounds once.
 *
 * Inputs are f32 values held in a JavaScript number (f64): adding one half to an f32 is exact in f64 below 2^29, and
 * every caller clamps to at most 16 bits, so larger magnitudes only need to stay large.
 */

import { f16BitsToF32, f32ToF16Bits } from '../../core/floats.ts';
import type { Rounding } from '../kernels.ts';

const EVEN_MAGIC = 1.5 * 2 ** 52;

/** C roundf: nearest integer, ties away from zero. */
export function roundHalfAway(value: number): number {
  return value < 0 ? Math.ceil(value - 0.5) : Math.floor(value + 0.5);
}

/** IEEE nearest integer, ties to even; exact below 2^51. */
export function roundHalfEven(value: number): number {
  return value + EVEN_MAGIC - EVEN_MAGIC;
}

/** The rounding function of a name. */
export function roundingOf(rounding: Rounding): (value: number) => number {
  switch (rounding) {
    case 'halfEven':
      return roundHalfEven;
    case 'halfAway':
      return roundHalfAway;
    case 'floor':
      return Math.floor;
    default:
      return rounding satisfies never;
  }
}

/** Rounds to f16 precision (ties to even), result as f32. */
export function toHalf(value: number): number {
  return f16BitsToF32(f32ToF16Bits(value));
}

/** Clamp of a number that is not NaN. */
export function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}
