/**
 * tq1_0 and tq2_0 (definition: src/kernels/ggml/narrow/trits.ts): one pass for the largest magnitude, one from values to bytes.
 *
 * A vector of four bytes is made of the vectors of its trits by Horner's rule on −1, 0, 1; the offset of one for each trit is
 * added at the end. ⌈256 v / 243⌉ in f32: for 0 < v < 243 the quotient is at least 1/243 away from an integer.
 */

import { halfBits, loadHalf } from '../../block-scales';
import { bytesOf, largestOf, trit } from './lanes';

/** 1/d, and 0 where it is 0 or Inf: all trits of such a block are the middle one. */
// @ts-ignore: decorator
@inline
function inverse(d: f32): v128 {
  const id: f32 = d == 0 ? 0 : 1 / d;
  return f32x4.splat(id == Infinity ? 0 : id);
}

// @ts-ignore: decorator
@inline
function shiftIn(v: v128, t: v128): v128 {
  return i32x4.add(i32x4.add(v, i32x4.shl(v, 1)), t);
}

// @ts-ignore: decorator
@inline
function scaled(v: v128): v128 {
  const y = f32x4.ceil(f32x4.mul(f32x4.convert_i32x4_s(v), f32x4.splat(1.0534979423868314)));
  return i32x4.sub(f32x4.add(y, f32x4.splat(8388608)), i32x4.splat(0x4b000000));
}

/** Four bytes of five trits each that are `stride` bytes apart. */
// @ts-ignore: decorator
@inline
function fives(p: usize, stride: usize, id: v128): v128 {
  let v = trit(p, id);
  v = shiftIn(v, trit(p + stride, id));
  v = shiftIn(v, trit(p + 2 * stride, id));
  v = shiftIn(v, trit(p + 3 * stride, id));
  v = shiftIn(v, trit(p + 4 * stride, id));
  return scaled(i32x4.add(v, i32x4.splat(121)));
}

export function quantizeTq1(source: usize, blocks: usize, target: usize): void {
  for (const end = target + blocks * 54; target < end; source += 1024, target += 54) {
    const d = largestOf(source, 1024);
    const id = inverse(d);
    for (let j: usize = 0; j < 2; j++) {
      const p = source + 64 * j;
      v128.store(
        target + 16 * j,
        bytesOf(fives(p, 128, id), fives(p + 16, 128, id), fives(p + 32, 128, id), fives(p + 48, 128, id)),
      );
    }
    const p = source + 640;
    v128.store(
      target,
      bytesOf(fives(p, 64, id), fives(p + 16, 64, id), fives(p + 32, 64, id), fives(p + 48, 64, id)),
      32,
    );
    let v = trit(source + 960, id);
    v = shiftIn(v, trit(source + 976, id));
    v = shiftIn(v, trit(source + 992, id));
    v = shiftIn(v, trit(source + 1008, id));
    v = scaled(shiftIn(i32x4.add(v, i32x4.splat(40)), i32x4.splat(0)));
    v128.store32_lane(target, bytesOf(v, v, v, v), 0, 48);
    store<u16>(target, <u16>halfBits(d), 52);
  }
}

/** Four bytes of four 2-bit codes each. */
// @ts-ignore: decorator
@inline
function fours(p: usize, id: v128): v128 {
  let v = trit(p + 384, id);
  v = i32x4.add(i32x4.shl(v, 2), trit(p + 256, id));
  v = i32x4.add(i32x4.shl(v, 2), trit(p + 128, id));
  v = i32x4.add(i32x4.shl(v, 2), trit(p, id));
  return i32x4.add(v, i32x4.splat(0x55));
}

export function quantizeTq2(source: usize, blocks: usize, target: usize): void {
  for (const end = target + blocks * 66; target < end; target += 66) {
    const d = largestOf(source, 1024);
    const id = inverse(d);
    for (let j: usize = 0; j < 64; j += 32, source += 512) {
      const to = target + j;
      v128.store(to, bytesOf(fours(source, id), fours(source + 16, id), fours(source + 32, id), fours(source + 48, id)));
      const p = source + 64;
      v128.store(to, bytesOf(fours(p, id), fours(p + 16, id), fours(p + 32, id), fours(p + 48, id)), 16);
    }
    store<u16>(target, <u16>halfBits(d), 64);
  }
}

/** 8 small integers to values. */
// @ts-ignore: decorator
@inline
function storeProducts(codes: v128, d: v128, to: usize): void {
  v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(codes)), d));
  v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(codes)), d), 16);
}

export function dequantizeTq1(source: usize, blocks: usize, target: usize): void {
  const ones = i16x8.splat(1);
  const byte = i16x8.splat(0xff);
  for (const end = source + blocks * 54; source < end; source += 54, target += 1024) {
    const d = f32x4.splat(loadHalf(source + 52));
    for (let m: usize = 0; m < 48; m += 8) {
      let rest = v128.load64_zero(source + m);
      rest = i16x8.extend_low_i8x16_u(rest);
      const stride: usize = m < 32 ? 128 : 64;
      let to = target + (m < 32 ? m * 4 : 640 + (m - 32) * 4);
      for (let n = 0; n < 5; n++, to += stride) {
        const product = i16x8.add(rest, i16x8.shl(rest, 1));
        storeProducts(i16x8.sub(i16x8.shr_u(product, 8), ones), d, to);
        rest = v128.and(product, byte);
      }
    }
    let rest = i16x8.extend_low_i8x16_u(v128.load32_zero(source, 48));
    for (let n: usize = 0; n < 4; n++) {
      const product = i16x8.add(rest, i16x8.shl(rest, 1));
      const codes = i32x4.extend_low_i16x8_s(i16x8.sub(i16x8.shr_u(product, 8), ones));
      v128.store(target + 960 + 16 * n, f32x4.mul(f32x4.convert_i32x4_s(codes), d));
      rest = v128.and(product, byte);
    }
  }
}

export function dequantizeTq2(source: usize, blocks: usize, target: usize): void {
  const ones = i16x8.splat(1);
  for (const end = source + blocks * 66; source < end; source += 66) {
    const d = f32x4.splat(loadHalf(source + 64));
    for (let half: usize = 0; half < 64; half += 32, target += 512) {
      for (let m: usize = 0; m < 32; m += 8) {
        let rest = i16x8.extend_low_i8x16_u(v128.load64_zero(source + half + m));
        for (let n: usize = 0; n < 4; n++) {
          const codes = i16x8.sub(v128.and(rest, i16x8.splat(3)), ones);
          storeProducts(codes, d, target + n * 128 + m * 4);
          rest = i16x8.shr_u(rest, 2);
        }
      }
    }
  }
}
