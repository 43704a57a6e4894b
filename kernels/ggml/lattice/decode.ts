/**
 * Decoders of the lattice types: eight values at a time, as (block scale · sub-block scale) · component with its sign. `grid`
 * holds the points' components as f32. Layouts: src/kernels/ggml/lattice/layouts.ts.
 */

import { loadHalf } from '../../block-scales';

/** Seven signs and the one that makes their number even. */
// @ts-ignore: decorator
@inline
function even(signs: u32): u32 {
  return signs | ((popcnt(signs) & 1) << 7);
}

// @ts-ignore: decorator
@inline
function four(target: usize, offset: usize, point: usize, scale: v128, signs: v128, lanes: v128): void {
  const negative = i32x4.ne(v128.and(signs, lanes), i32x4.splat(0));
  const value = f32x4.mul(scale, v128.load(point));
  v128.store(target + offset, v128.xor(value, v128.and(negative, i32x4.splat(0x80000000))));
}

/** Eight values of two quadruples of components. */
// @ts-ignore: decorator
@inline
function eight(target: usize, low: usize, high: usize, scale: f32, signs: u32): void {
  const s = f32x4.splat(scale);
  const b = i32x4.splat(signs);
  four(target, 0, low, s, b, i32x4(1, 2, 4, 8));
  four(target, 16, high, s, b, i32x4(16, 32, 64, 128));
}

// @ts-ignore: decorator
@inline
function quarter(d: f32, level: u32): f32 {
  return d * (f32(0.5) + <f32>level) * f32(0.25);
}

export function decode_iq2_xxs(source: usize, blocks: i32, target: usize, grid: usize): void {
  for (; blocks > 0; blocks--, source += 66) {
    const d = loadHalf(source);
    for (let sub: usize = 0; sub < 8; sub++) {
      const points = source + 2 + (sub << 3);
      const word = load<u32>(points, 4);
      const scale = quarter(d, word >>> 28);
      for (let k: usize = 0; k < 4; k++, target += 32) {
        const point = grid + (<usize>load<u8>(points + k) << 5);
        eight(target, point, point + 16, scale, even((word >>> (7 * <u32>k)) & 127));
      }
    }
  }
}

export function decode_iq2_xs(source: usize, blocks: i32, target: usize, grid: usize): void {
  for (; blocks > 0; blocks--, source += 74) {
    const d = loadHalf(source);
    for (let e: usize = 0; e < 32; e++, target += 32) {
      const level = (<u32>load<u8>(source + 66 + (e >> 2)) >>> (<u32>(e & 2) << 1)) & 15;
      const word = <u32>load<u16>(source + 2 + (e << 1));
      const point = grid + (<usize>(word & 511) << 5);
      eight(target, point, point + 16, quarter(d, level), even(word >>> 9));
    }
  }
}

export function decode_iq2_s(source: usize, blocks: i32, target: usize, grid: usize): void {
  for (; blocks > 0; blocks--, source += 82) {
    const d = loadHalf(source);
    for (let e: usize = 0; e < 32; e++, target += 32) {
      const level = (<u32>load<u8>(source + 74 + (e >> 2)) >>> (<u32>(e & 2) << 1)) & 15;
      const high = (<u32>load<u8>(source + 66 + (e >> 2)) >>> (<u32>(e & 3) << 1)) & 3;
      const point = grid + (<usize>(<u32>load<u8>(source + 2 + e) | (high << 8)) << 5);
      eight(target, point, point + 16, quarter(d, level), load<u8>(source + 34 + e));
    }
  }
}

export function decode_iq3_xxs(source: usize, blocks: i32, target: usize, grid: usize): void {
  for (; blocks > 0; blocks--, source += 98) {
    const d = loadHalf(source);
    for (let sub: usize = 0; sub < 8; sub++) {
      const word = load<u32>(source + 66 + (sub << 2));
      const scale = d * (f32(0.5) + <f32>(word >>> 28)) * f32(0.5);
      for (let k: usize = 0; k < 4; k++, target += 32) {
        const points = source + 2 + (sub << 3) + (k << 1);
        const low = grid + (<usize>load<u8>(points) << 4);
        const high = grid + (<usize>load<u8>(points, 1) << 4);
        eight(target, low, high, scale, even((word >>> (7 * <u32>k)) & 127));
      }
    }
  }
}

export function decode_iq3_s(source: usize, blocks: i32, target: usize, grid: usize): void {
  for (; blocks > 0; blocks--, source += 110) {
    const d = loadHalf(source);
    for (let e: usize = 0; e < 32; e++, target += 32) {
      const level = (<u32>load<u8>(source + 106 + (e >> 3)) >>> (<u32>(e & 4))) & 15;
      const high = <u32>load<u8>(source + 66 + (e >> 2)) >>> (<u32>(e & 3) << 1);
      const points = source + 2 + (e << 1);
      const low = grid + (<usize>(<u32>load<u8>(points) | ((high & 1) << 8)) << 4);
      const upper = grid + (<usize>(<u32>load<u8>(points, 1) | ((high & 2) << 7)) << 4);
      eight(target, low, upper, d * <f32>((level << 1) + 1), load<u8>(source + 74 + e));
    }
  }
}
