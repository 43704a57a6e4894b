/**
 * The last step of every K-quant: codes of 256 values once scales and minima are known, one byte each, then packed. Rounding works on
 * the bits of v + 1.5 · 2^23 as in ggml, so any v gives what it gives there; clamping to bytes is done by saturation.
 */

import { nearestInteger, nearestLanes } from '../../block-scales';

// @ts-ignore: decorator
@inline
function quotient(x: usize, d: v128, m: v128, shift: i32): v128 {
  return i32x4.add(nearestLanes(f32x4.div(f32x4.add(v128.load(x), m), d)), i32x4.splat(shift));
}

/** clamp(rint((x + m) / d) + shift, 0, top) of `n` (16 or 32) values. */
// @ts-ignore: decorator
@inline
export function recode(x: usize, n: i32, d: f32, m: f32, shift: i32, top: i32, codes: usize): void {
  const dd = f32x4.splat(d);
  const mm = f32x4.splat(m);
  for (let i = 0; i < n; i += 16, x += 64, codes += 16) {
    const low = i16x8.narrow_i32x4_s(quotient(x, dd, mm, shift), quotient(x + 16, dd, mm, shift));
    const high = i16x8.narrow_i32x4_s(quotient(x + 32, dd, mm, shift), quotient(x + 48, dd, mm, shift));
    v128.store(codes, i8x16.min_u(i8x16.narrow_i16x8_u(low, high), i8x16.splat(<i8>top)));
  }
}

/** Codes of the search itself: clamp(rint(inverse · (x − base)) + shift, 0, top), or 0 where `inverse` is 0. */
export function searchedCodes(
  x: usize,
  n: i32,
  inverse: f32,
  base: f32,
  shift: i32,
  top: i32,
  codes: usize,
): void {
  for (let i = 0; i < n; i++) {
    let code = 0;
    if (inverse != 0) {
      const v = inverse * (load<f32>(x + (<usize>i << 2)) - base);
      code = max(0, min(top, nearestInteger(v) + shift));
    }
    store<u8>(codes + i, code);
  }
}

/** Two-bit fields of byte m of a half: elements m, m + 32, m + 64, m + 96; bits above the two are dropped. */
export function packPairs(codes: usize, to: usize): void {
  const mask = i8x16.splat(3);
  for (let half = 0; half < 2; half++, codes += 128) {
    for (let m: usize = 0; m < 32; m += 16, to += 16) {
      const p = codes + m;
      const a = v128.and(v128.load(p), mask);
      const b = i16x8.shl(v128.and(v128.load(p, 32), mask), 2);
      const c = i16x8.shl(v128.and(v128.load(p, 64), mask), 4);
      const d = i16x8.shl(v128.and(v128.load(p, 96), mask), 6);
      v128.store(to, v128.or(v128.or(a, b), v128.or(c, d)));
    }
  }
}

/** Bit j of byte m is bit `bit` of the code of element 32·j + m. */
// @ts-ignore: decorator
@inline
export function packBit(codes: usize, bit: i32, to: usize): void {
  const mask = i8x16.splat(1);
  for (let m: usize = 0; m < 32; m += 16) {
    const p = codes + m;
    let v = v128.and(i16x8.shr_u(v128.load(p), bit), mask);
    v = v128.or(v, i16x8.shl(v128.and(i16x8.shr_u(v128.load(p, 32), bit), mask), 1));
    v = v128.or(v, i16x8.shl(v128.and(i16x8.shr_u(v128.load(p, 64), bit), mask), 2));
    v = v128.or(v, i16x8.shl(v128.and(i16x8.shr_u(v128.load(p, 96), bit), mask), 3));
    v = v128.or(v, i16x8.shl(v128.and(i16x8.shr_u(v128.load(p, 128), bit), mask), 4));
    v = v128.or(v, i16x8.shl(v128.and(i16x8.shr_u(v128.load(p, 160), bit), mask), 5));
    v = v128.or(v, i16x8.shl(v128.and(i16x8.shr_u(v128.load(p, 192), bit), mask), 6));
    v = v128.or(v, i16x8.shl(v128.and(i16x8.shr_u(v128.load(p, 224), bit), mask), 7));
    v128.store(to + m, v);
  }
}

/** Low nibbles of `span` (32 or 64) codes below those of the `span` that follow, over 256 codes. */
// @ts-ignore: decorator
@inline
export function packNibbles(codes: usize, span: usize, to: usize): void {
  const mask = i8x16.splat(15);
  const end = codes + 256;
  for (; codes < end; codes += 2 * span) {
    for (let m: usize = 0; m < span; m += 16, to += 16) {
      const low = v128.and(v128.load(codes + m), mask);
      const high = v128.and(v128.load(codes + m + span), mask);
      v128.store(to, v128.or(low, i16x8.shl(high, 4)));
    }
  }
}

/** High two bits of six-bit codes, as packPairs. */
export function packHighPairs(codes: usize, to: usize): void {
  const mask = i8x16.splat(3);
  for (let half = 0; half < 2; half++, codes += 128) {
    for (let m: usize = 0; m < 32; m += 16, to += 16) {
      const p = codes + m;
      const a = v128.and(i16x8.shr_u(v128.load(p), 4), mask);
      const b = i16x8.shl(v128.and(i16x8.shr_u(v128.load(p, 32), 4), mask), 2);
      const c = i16x8.shl(v128.and(i16x8.shr_u(v128.load(p, 64), 4), mask), 4);
      const d = i16x8.shl(v128.and(i16x8.shr_u(v128.load(p, 96), 4), mask), 6);
      v128.store(to, v128.or(v128.or(a, b), v128.or(c, d)));
    }
  }
}
