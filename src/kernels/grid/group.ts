/**
 * Arithmetic of one group that every search of a grid shares: its range, the rounding of a scale, code and error at a grid.
 * These few lines decide the bits of every file that the algorithms write; kernels/grid holds the same in lanes.
 */

import { toHalf } from '../reference/rounding.ts';
import type { GridShape } from './grid.ts';

const f = Math.fround;

/** The smallest scale whose reciprocal is finite and exact enough: smallest normal f32. Smaller ones count as 0. */
const LEAST_SCALE = 2 ** -126;
const LARGEST_HALF = 65504;
/** 1.5 · 2^23: adding it rounds an f32 of magnitude below 2^22 to an integer, ties to even. */
const ROUND = 12582912;

/** A group's grid as it is stored, and what its codes are chosen with: round(clamp(w · inverse + shift)). */
export interface GroupGrid {
  readonly scale: number;
  readonly zero: number;
  readonly inverse: number;
  readonly shift: number;
}

/** Codes are chosen with the stored grid itself. */
export function plainGrid(scale: number, zero: number): GroupGrid {
  return { scale, zero, inverse: reciprocal(scale), shift: zero };
}

/** Equal values: code 0 stands for them exactly, with real zeros. */
export function constantGrid(value: number, shape: GridShape): GroupGrid {
  return { scale: storedScale(value, shape.half), zero: -1, inverse: 0, shift: 0 };
}

export interface GroupRange {
  /** min(0, values). */
  low: number;
  /** max(0, values). */
  high: number;
}

export function rangeWithZero(x: Float32Array): GroupRange {
  let low = 0;
  let high = 0;
  for (let i = 0; i < x.length; i++) {
    const value = x[i]!;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { low, high };
}

/** A scale as it will be stored; 0 where it is too small to divide by. */
export function storedScale(scale: number, half: boolean): number {
  let s = f(scale);
  if (half) s = toHalf(Math.max(-LARGEST_HALF, Math.min(LARGEST_HALF, s)));
  return Math.abs(s) >= LEAST_SCALE ? s : 0;
}

export function reciprocal(scale: number): number {
  return scale === 0 ? 0 : f(1 / scale);
}

/** Scale (before rounding to its type) and zero that cover a range. */
export function coveringGrid({ low, high }: GroupRange, shape: GridShape): { scale: number; zero: number } {
  const top = 2 ** shape.bits - 1;
  if (shape.symmetric) {
    const middle = 2 ** (shape.bits - 1);
    const extreme = high > -low ? high : low;
    return { scale: f(f(-extreme) / middle), zero: middle };
  }
  const scale = f(f(high - low) / top);
  return { scale, zero: Math.abs(scale) >= LEAST_SCALE ? nearest(clamp(f(-low / scale), top)) : 0 };
}

export function clamp(t: number, top: number): number {
  return Math.min(Math.max(t, 0), top);
}

export function nearest(t: number): number {
  return f(f(t + ROUND) - ROUND);
}

export function codeOf(x: number, inverse: number, zero: number, top: number): number {
  return nearest(clamp(f(f(x * inverse) + zero), top));
}

/** Σ a (w − (code − zero) · scale)². */
export function squaredError(
  x: Float32Array,
  a: Float32Array | undefined,
  scale: number,
  zero: number,
  top: number,
): number {
  const inverse = reciprocal(scale);
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    const u = f(codeOf(x[i]!, inverse, zero, top) - zero);
    const e = f(x[i]! - f(u * scale));
    const square = f(e * e);
    sum = f(sum + (a === undefined ? square : f(a[i]! * square)));
  }
  return sum;
}

export function encodeGroup(
  x: Float32Array,
  inverse: number,
  shift: number,
  top: number,
  codes: Uint8Array,
  at: number,
): void {
  for (let i = 0; i < x.length; i++) codes[at + i] = codeOf(x[i]!, inverse, shift, top);
}
