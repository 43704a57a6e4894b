/**
 * q1_0 and q2_0 (definition: src/kernels/ggml/narrow/signs.ts).
 *
 * q1_0's scale is a sum of 128 values in order: four blocks are summed side by side, transposed to a block in each lane.
 */

import { halfBits, loadHalf } from '../../block-scales';
import { largestOf, signedBytesOf, trit } from './lanes';

const BYTES: usize = 18;

// @ts-ignore: decorator
@inline
function notNegative(p: usize): v128 {
  return f32x4.ge(v128.load(p), f32x4.splat(0));
}

/** 16 sign bits, and with them 128 of them. */
// @ts-ignore: decorator
@inline
function storeSigns(p: usize, to: usize): void {
  for (let j: usize = 0; j < 16; j += 2, p += 64) {
    const bytes = signedBytesOf(notNegative(p), notNegative(p + 16), notNegative(p + 32), notNegative(p + 48));
    store<u16>(to + j, <u16>i8x16.bitmask(bytes));
  }
}

export function quantizeQ1(source: usize, blocks: usize, target: usize): void {
  let left = blocks;
  for (; left >= 4; left -= 4) {
    let sum = f32x4.splat(0);
    for (let p = source, end = source + 512; p < end; p += 16) {
      const a = f32x4.abs(v128.load(p));
      const b = f32x4.abs(v128.load(p, 512));
      const c = f32x4.abs(v128.load(p, 1024));
      const d = f32x4.abs(v128.load(p, 1536));
      const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
      const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
      sum = f32x4.add(sum, v128.shuffle<i64>(ab, cd, 0, 2));
      sum = f32x4.add(sum, v128.shuffle<i64>(ab, cd, 1, 3));
      const AB = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
      const CD = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
      sum = f32x4.add(sum, v128.shuffle<i64>(AB, CD, 0, 2));
      sum = f32x4.add(sum, v128.shuffle<i64>(AB, CD, 1, 3));
    }
    sum = f32x4.div(sum, f32x4.splat(128));
    store<u16>(target, <u16>halfBits(f32x4.extract_lane(sum, 0)));
    store<u16>(target, <u16>halfBits(f32x4.extract_lane(sum, 1)), 18);
    store<u16>(target, <u16>halfBits(f32x4.extract_lane(sum, 2)), 36);
    store<u16>(target, <u16>halfBits(f32x4.extract_lane(sum, 3)), 54);
    for (let i = 0; i < 4; i++, source += 512, target += BYTES) storeSigns(source, target + 2);
  }
  for (; left > 0; left--, source += 512, target += BYTES) {
    let sum: f32 = 0;
    for (let j: usize = 0; j < 512; j += 4) sum += abs(load<f32>(source + j));
    store<u16>(target, <u16>halfBits(sum / 128));
    storeSigns(source, target + 2);
  }
}

/** 16 trits as 4 bytes, in i32 lanes with rubbish above bit 7. */
// @ts-ignore: decorator
@inline
function crumbs(p: usize, id: v128): v128 {
  const t = signedBytesOf(trit(p, id), trit(p + 16, id), trit(p + 32, id), trit(p + 48, id));
  const codes = i8x16.add(t, i8x16.splat(1));
  const pairs = v128.or(codes, i16x8.shr_u(codes, 6));
  return v128.and(v128.or(pairs, i32x4.shr_u(pairs, 12)), i32x4.splat(0xff));
}

export function quantizeQ2(source: usize, blocks: usize, target: usize): void {
  for (const end = target + blocks * BYTES; target < end; source += 256, target += BYTES) {
    const d = largestOf(source, 256);
    const id: f32 = d == 0 ? 0 : 1 / d;
    store<u16>(target, <u16>halfBits(d));
    if (id == Infinity) {
      v128.store(target, i32x4.splat(0), 2);
      continue;
    }
    const s = f32x4.splat(id);
    const low = i16x8.narrow_i32x4_s(crumbs(source, s), crumbs(source + 64, s));
    const high = i16x8.narrow_i32x4_s(crumbs(source + 128, s), crumbs(source + 192, s));
    v128.store(target, i8x16.narrow_i16x8_u(low, high), 2);
  }
}

export function dequantizeQ1(source: usize, blocks: usize, target: usize): void {
  const bits = i32x4(1, 2, 4, 8);
  for (const end = source + blocks * BYTES; source < end; source += BYTES) {
    const d = f32x4.splat(loadHalf(source));
    const sign = i32x4.splat(0x80000000);
    for (let j: usize = 0; j < 16; j++, target += 32) {
      const byte = i32x4.splat(load<u8>(source + j, 2));
      const low = i32x4.eq(v128.and(byte, bits), i32x4.splat(0));
      const high = i32x4.eq(v128.and(i32x4.shr_u(byte, 4), bits), i32x4.splat(0));
      v128.store(target, v128.xor(d, v128.and(low, sign)));
      v128.store(target, v128.xor(d, v128.and(high, sign)), 16);
    }
  }
}

export function dequantizeQ2(source: usize, blocks: usize, target: usize): void {
  const three = i32x4.splat(3);
  const weights = i32x4(64, 16, 4, 1);
  for (const end = source + blocks * BYTES; source < end; source += BYTES) {
    const d = f32x4.splat(loadHalf(source));
    for (let j: usize = 0; j < 16; j++, target += 16) {
      const shifted = i32x4.mul(i32x4.splat(load<u8>(source + j, 2)), weights);
      const code = i32x4.sub(v128.and(i32x4.shr_u(shifted, 6), three), i32x4.splat(1));
      v128.store(target, f32x4.mul(f32x4.convert_i32x4_s(code), d));
    }
  }
}
