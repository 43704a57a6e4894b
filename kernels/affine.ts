/**
 * Affine codes per tensor and per column, and back (reference: src/kernels/reference/affine.ts).
 *
 * Quotients are clamped to ±2^18 before rounding: bounds and zero points are 17-bit integers at most, so the result is the
 * same and every later step is exact. Adding 1.5 · 2^23 leaves the code in the low bits of the f32.
 */

import { roundAway } from './vectors';

// @ts-ignore: decorator
@inline
function codeOf(x: v128, scale: v128, zero: v128, low: v128, high: v128, rounding: i32): v128 {
  let v = f32x4.div(x, scale);
  v = v128.and(v, f32x4.eq(v, v));
  v = f32x4.pmin(f32x4.splat(262144), f32x4.pmax(f32x4.splat(-262144), v));
  if (rounding == 0) v = f32x4.nearest(v);
  else if (rounding == 1) v = roundAway(v);
  else v = f32x4.floor(v);
  v = f32x4.pmin(high, f32x4.pmax(low, f32x4.add(v, zero)));
  return f32x4.add(v, f32x4.splat(12582912));
}

// @ts-ignore: decorator
@inline
function run(values: usize, count: usize, s: v128, z: v128, low: v128, high: v128, bytes: i32, target: usize, rounding: i32): void {
  const mask = i32x4.splat(bytes == 1 ? 0xff : 0xffff);
  const whole = values + ((count << 2) & ~63);
  const end = values + (count << 2);
  for (; values < whole; values += 64) {
    const a = v128.and(mask, codeOf(v128.load(values), s, z, low, high, rounding));
    const b = v128.and(mask, codeOf(v128.load(values, 16), s, z, low, high, rounding));
    const c = v128.and(mask, codeOf(v128.load(values, 32), s, z, low, high, rounding));
    const d = v128.and(mask, codeOf(v128.load(values, 48), s, z, low, high, rounding));
    const ab = i16x8.narrow_i32x4_u(a, b);
    const cd = i16x8.narrow_i32x4_u(c, d);
    if (bytes == 1) {
      v128.store(target, i8x16.narrow_i16x8_u(ab, cd));
      target += 16;
    } else {
      v128.store(target, ab);
      v128.store(target, cd, 16);
      target += 32;
    }
  }
  for (; values < end; values += 4) {
    const code = i32x4.extract_lane(codeOf(v128.load32_splat(values), s, z, low, high, rounding), 0);
    if (bytes == 1) store<u8>(target, <u8>code);
    else store<u16>(target, <u16>code);
    target += bytes;
  }
}

/** rounding: 0 half even, 1 half away, 2 floor; codes of `bytes` 1 or 2. */
export function quantizeAffine(values: usize, count: usize, scale: f32, zero: f32, low: f32, high: f32, rounding: i32, bytes: i32, target: usize): void {
  const s = f32x4.splat(scale);
  const z = f32x4.splat(zero);
  const l = f32x4.splat(low);
  const h = f32x4.splat(high);
  if (rounding == 0) run(values, count, s, z, l, h, bytes, target, 0);
  else if (rounding == 1) run(values, count, s, z, l, h, bytes, target, 1);
  else run(values, count, s, z, l, h, bytes, target, 2);
}

// @ts-ignore: decorator
@inline
function runColumns(values: usize, rows: i32, columns: i32, scales: usize, zeros: usize, low: v128, high: v128, target: usize, rounding: i32): void {
  const whole = columns & ~15;
  const mask = i32x4.splat(0xff);
  for (let row = 0; row < rows; row++) {
    let s = scales;
    let z = zeros;
    let c = 0;
    for (; c < whole; c += 16, s += 64, z += 64, values += 64, target += 16) {
      const i = v128.and(mask, codeOf(v128.load(values), v128.load(s), f32x4.convert_i32x4_s(v128.load(z)), low, high, rounding));
      const j = v128.and(mask, codeOf(v128.load(values, 16), v128.load(s, 16), f32x4.convert_i32x4_s(v128.load(z, 16)), low, high, rounding));
      const k = v128.and(mask, codeOf(v128.load(values, 32), v128.load(s, 32), f32x4.convert_i32x4_s(v128.load(z, 32)), low, high, rounding));
      const l = v128.and(mask, codeOf(v128.load(values, 48), v128.load(s, 48), f32x4.convert_i32x4_s(v128.load(z, 48)), low, high, rounding));
      v128.store(target, i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_u(i, j), i16x8.narrow_i32x4_u(k, l)));
    }
    for (; c < columns; c++, s += 4, z += 4, values += 4, target++) {
      const zero = f32x4.convert_i32x4_s(v128.load32_splat(z));
      const code = codeOf(v128.load32_splat(values), v128.load32_splat(s), zero, low, high, rounding);
      store<u8>(target, <u8>i32x4.extract_lane(code, 0));
    }
  }
}

/** Scales f32 and zero points i32 of `columns` length; one-byte codes. */
export function quantizeAffineColumns(values: usize, rows: i32, columns: i32, scales: usize, zeros: usize, low: f32, high: f32, rounding: i32, target: usize): void {
  const l = f32x4.splat(low);
  const h = f32x4.splat(high);
  if (rounding == 0) runColumns(values, rows, columns, scales, zeros, l, h, target, 0);
  else if (rounding == 1) runColumns(values, rows, columns, scales, zeros, l, h, target, 1);
  else runColumns(values, rows, columns, scales, zeros, l, h, target, 2);
}

// @ts-ignore: decorator
@inline
function widen(codes: usize, kind: i32): v128 {
  if (kind == 0) return i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(codes)));
  if (kind == 1) return i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(codes)));
  if (kind == 2) return i32x4.extend_low_i16x8_u(v128.load64_zero(codes));
  return i32x4.extend_low_i16x8_s(v128.load64_zero(codes));
}

// @ts-ignore: decorator
@inline
function runBack(codes: usize, count: usize, s: v128, z: v128, target: usize, kind: i32): void {
  const step: usize = kind < 2 ? 4 : 8;
  for (const end = target + (count << 2); target < end; target += 16, codes += step) {
    v128.store(target, f32x4.mul(f32x4.sub(f32x4.convert_i32x4_s(widen(codes, kind)), z), s));
  }
}

/** kind: 0 u8, 1 i8, 2 u16, 3 i16; `count` a multiple of 4. */
export function dequantizeAffine(codes: usize, count: usize, kind: i32, scale: f32, zero: f32, target: usize): void {
  const s = f32x4.splat(scale);
  const z = f32x4.splat(zero);
  if (kind == 0) runBack(codes, count, s, z, target, 0);
  else if (kind == 1) runBack(codes, count, s, z, target, 1);
  else if (kind == 2) runBack(codes, count, s, z, target, 2);
  else runBack(codes, count, s, z, target, 3);
}

/** Blocks along rows; `shift` = 32 − bits; `zeros` 0: the zero point is `zero` everywhere. */
export function dequantizeRowBlocks(
  codes: usize,
  signed: i32,
  shift: i32,
  rows: i32,
  rowLength: i32,
  size: i32,
  scales: usize,
  zeros: usize,
  zero: f32,
  target: usize,
): void {
  for (let row = 0; row < rows; row++) {
    for (let start = 0; start < rowLength; start += size, scales += 4) {
      const length = min(size, rowLength - start);
      const scale = load<f32>(scales);
      let offset = zero;
      if (zeros) {
        const code = <i32>load<u8>(zeros++) << shift;
        offset = <f32>(signed ? code >> shift : <i32>(<u32>code >> shift));
      }
      const s = f32x4.splat(scale);
      const z = f32x4.splat(offset);
      const whole = length & ~3;
      let i = 0;
      for (; i < whole; i += 4, codes += 4, target += 16) {
        let q = i32x4.shl(i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(codes))), shift);
        q = signed ? i32x4.shr_s(q, shift) : i32x4.shr_u(q, shift);
        v128.store(target, f32x4.mul(f32x4.sub(f32x4.convert_i32x4_s(q), z), s));
      }
      for (; i < length; i++, codes++, target += 4) {
        const code = <i32>load<u8>(codes) << shift;
        store<f32>(target, (<f32>(signed ? code >> shift : <i32>(<u32>code >> shift)) - offset) * scale);
      }
    }
  }
}
