/**
 * Blocks of this family to values (definitions: src/kernels/ggml/linear/). Codes become signed bytes first: nibbles less the
 * middle, with their fifth bits spread from a mask, or the book's values by a table look-up of 16 bytes.
 */

import { splatHalf } from '../../block-scales';

/** Values of the IQ4 types. */
// @ts-ignore: decorator
@inline
export function book(): v128 {
  return i8x16(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
}

/** 16 signed bytes times d, and m where `offset`. */
// @ts-ignore: decorator
@inline
function scaled(codes: v128, d: v128, m: v128, offset: bool, target: usize): void {
  const low = i16x8.extend_low_i8x16_s(codes);
  const high = i16x8.extend_high_i8x16_s(codes);
  let a = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low)), d);
  let b = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low)), d);
  let e = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high)), d);
  let f = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high)), d);
  if (offset) {
    a = f32x4.add(a, m);
    b = f32x4.add(b, m);
    e = f32x4.add(e, m);
    f = f32x4.add(f, m);
  }
  v128.store(target, a);
  v128.store(target, b, 16);
  v128.store(target, e, 32);
  v128.store(target, f, 48);
}

/** Bit j of 16 as 16 in byte j. */
// @ts-ignore: decorator
@inline
function spread(bits: i32): v128 {
  const pairs = i16x8.splat(<i16>bits);
  const bytes = v128.shuffle<i8>(pairs, pairs, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  const each = i8x16(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
  return v128.and(i8x16.eq(v128.and(bytes, each), each), i8x16.splat(16));
}

// @ts-ignore: decorator
@inline
function decodeUniform(source: usize, blocks: i32, levels: i32, offset: bool, target: usize): void {
  const bytes: usize = 18 + (offset ? 2 : 0) + (levels == 32 ? 4 : 0);
  const mask = i8x16.splat(15);
  const middle = i8x16.splat(offset ? 0 : <i8>(levels / 2));
  for (; blocks > 0; blocks--, source += bytes, target += 128) {
    const d = splatHalf(source);
    let m = d;
    let at = source + 2;
    if (offset) {
      m = splatHalf(at);
      at += 2;
    }
    let high: i32 = 0;
    if (levels == 32) {
      high = load<i32>(at);
      at += 4;
    }
    const packed = v128.load(at);
    let a = v128.and(packed, mask);
    let b = v128.and(i16x8.shr_u(packed, 4), mask);
    if (levels == 32) {
      a = v128.or(a, spread(high));
      b = v128.or(b, spread(high >>> 16));
    }
    if (!offset) {
      a = i8x16.sub(a, middle);
      b = i8x16.sub(b, middle);
    }
    scaled(a, d, m, offset, target);
    scaled(b, d, m, offset, target + 64);
  }
}

export function decodeQ4_0(source: usize, blocks: i32, target: usize): void {
  decodeUniform(source, blocks, 16, false, target);
}

export function decodeQ4_1(source: usize, blocks: i32, target: usize): void {
  decodeUniform(source, blocks, 16, true, target);
}

export function decodeQ5_0(source: usize, blocks: i32, target: usize): void {
  decodeUniform(source, blocks, 32, false, target);
}

export function decodeQ5_1(source: usize, blocks: i32, target: usize): void {
  decodeUniform(source, blocks, 32, true, target);
}

export function decodeQ8_0(source: usize, blocks: i32, target: usize): void {
  for (; blocks > 0; blocks--, source += 34, target += 128) {
    const d = splatHalf(source);
    scaled(v128.load(source, 2), d, d, false, target);
    scaled(v128.load(source, 18), d, d, false, target + 64);
  }
}

// @ts-ignore: decorator
@inline
function decodeIndices(at: usize, d: v128, target: usize): void {
  const packed = v128.load(at);
  const mask = i8x16.splat(15);
  scaled(i8x16.swizzle(book(), v128.and(packed, mask)), d, d, false, target);
  scaled(i8x16.swizzle(book(), v128.and(i16x8.shr_u(packed, 4), mask)), d, d, false, target + 64);
}

export function decodeIq4Nl(source: usize, blocks: i32, target: usize): void {
  for (; blocks > 0; blocks--, source += 18, target += 128) decodeIndices(source + 2, splatHalf(source), target);
}

export function decodeIq4Xs(source: usize, blocks: i32, target: usize): void {
  for (; blocks > 0; blocks--, source += 136) {
    const d = splatHalf(source);
    const high: i32 = load<u16>(source, 2);
    const low = load<i32>(source, 4);
    for (let i = 0; i < 8; i++, target += 128) {
      const s = ((low >>> (4 * i)) & 15) | (((high >>> (2 * i)) & 3) << 4);
      decodeIndices(source + 8 + 16 * <usize>i, f32x4.mul(d, f32x4.splat(<f32>(s - 32))), target);
    }
  }
}
