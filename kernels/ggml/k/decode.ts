/**
 * Blocks to values: x = (d · scale) · q − dmin · minimum, or (d · scale) · q, every product rounded in that order.
 * Sixteen codes at a time become bytes, then f32.
 */

import { loadHalf } from '../../block-scales';

/** y = step · (code + shift) − low for sixteen bytes. */
// @ts-ignore: decorator
@inline
function spread(codes: v128, shift: i32, step: v128, low: v128, subtract: bool, y: usize): void {
  const moved = shift == 0 ? codes : i8x16.add(codes, i8x16.splat(<i8>shift));
  const a = i16x8.extend_low_i8x16_s(moved);
  const b = i16x8.extend_high_i8x16_s(moved);
  let v0 = f32x4.mul(step, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(a)));
  let v1 = f32x4.mul(step, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(a)));
  let v2 = f32x4.mul(step, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(b)));
  let v3 = f32x4.mul(step, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(b)));
  if (subtract) {
    v0 = f32x4.sub(v0, low);
    v1 = f32x4.sub(v1, low);
    v2 = f32x4.sub(v2, low);
    v3 = f32x4.sub(v3, low);
  }
  v128.store(y, v0);
  v128.store(y, v1, 16);
  v128.store(y, v2, 32);
  v128.store(y, v3, 48);
}

/** Two bits at `shift` of every byte. */
// @ts-ignore: decorator
@inline
function pairs(from: usize, shift: i32): v128 {
  return v128.and(i16x8.shr_u(v128.load(from), shift), i8x16.splat(3));
}

// @ts-ignore: decorator
@inline
function nibbles(from: usize, high: i32): v128 {
  return v128.and(i16x8.shr_u(v128.load(from), high << 2), i8x16.splat(15));
}

export function decode2(block: usize, y: usize): void {
  const d = loadHalf(block + 80);
  const dMin = loadHalf(block + 82);
  const none = f32x4.splat(0);
  for (let j: usize = 0; j < 16; j++, y += 64) {
    const packed = <i32>load<u8>(block + j);
    const step = f32x4.splat(d * <f32>(packed & 15));
    const low = f32x4.splat(dMin * <f32>(packed >> 4));
    const from = block + 16 + ((j >> 3) << 5) + ((j & 1) << 4);
    spread(pairs(from, (<i32>j & 6)), 0, step, low, true, y);
  }
}

export function decode3(block: usize, y: usize): void {
  const d = loadHalf(block + 108);
  for (let j: usize = 0; j < 16; j++, y += 64) {
    const nibble = (<i32>load<u8>(block + 96 + (j & 7)) >> (j < 8 ? 0 : 4)) & 15;
    const top = (<i32>load<u8>(block + 104 + (j & 3)) >> (2 * (<i32>j >> 2))) & 3;
    const step = f32x4.splat(d * <f32>((nibble | (top << 4)) - 32));
    const low = pairs(block + 32 + ((j >> 3) << 5) + ((j & 1) << 4), <i32>j & 6);
    const bit = v128.and(i16x8.shr_u(v128.load(block + ((j & 1) << 4)), <i32>j >> 1), i8x16.splat(1));
    spread(v128.or(low, i16x8.shl(bit, 2)), -4, step, step, false, y);
  }
}

// @ts-ignore: decorator
@inline
function decode45(block: usize, y: usize, five: bool): void {
  const d = loadHalf(block);
  const dMin = loadHalf(block + 2);
  const scales = block + 4;
  for (let j: usize = 0; j < 8; j++, y += 128) {
    let scale: i32;
    let minimum: i32;
    if (j < 4) {
      scale = load<u8>(scales + j) & 63;
      minimum = load<u8>(scales + j, 4) & 63;
    } else {
      scale = (load<u8>(scales + j, 4) & 15) | ((load<u8>(scales + j - 4) >> 6) << 4);
      minimum = (load<u8>(scales + j, 4) >> 4) | ((load<u8>(scales + j) >> 6) << 4);
    }
    const step = f32x4.splat(d * <f32>scale);
    const low = f32x4.splat(dMin * <f32>minimum);
    const from = block + (five ? 48 : 16) + ((j >> 1) << 5);
    for (let half: usize = 0; half < 32; half += 16) {
      let codes = nibbles(from + half, <i32>j & 1);
      if (five) {
        const bit = v128.and(i16x8.shr_u(v128.load(block + half, 16), <i32>j), i8x16.splat(1));
        codes = v128.or(codes, i16x8.shl(bit, 4));
      }
      spread(codes, 0, step, low, true, y + (half << 2));
    }
  }
}

export function decode4(block: usize, y: usize): void {
  decode45(block, y, false);
}

export function decode5(block: usize, y: usize): void {
  decode45(block, y, true);
}

export function decode6(block: usize, y: usize): void {
  const d = loadHalf(block + 208);
  for (let j: usize = 0; j < 16; j++, y += 64) {
    const step = f32x4.splat(d * <f32>load<i8>(block + j, 192));
    const half = j >> 3;
    const low = nibbles(block + (half << 6) + ((j & 3) << 4), (<i32>j >> 2) & 1);
    const high = pairs(block + 128 + (half << 5) + ((j & 1) << 4), <i32>j & 6);
    spread(v128.or(low, i16x8.shl(high, 4)), -32, step, step, false, y);
  }
}
