/**
 * A sub-block's weights, magnitudes and signs (search.ts of the definition), four values at a time.
 */

import { REACH, ROOT, SIGNS, W, WX, X } from './scratch';

/** Σ x² of a block of 256, strictly one after the other. */
export function squares(block: usize): f32 {
  let sum: f32 = 0;
  for (let p = block, end = block + 1024; p < end; p += 16) {
    const x = v128.load(p);
    const s = f32x4.mul(x, x);
    sum += f32x4.extract_lane(s, 0);
    sum += f32x4.extract_lane(s, 1);
    sum += f32x4.extract_lane(s, 2);
    sum += f32x4.extract_lane(s, 3);
  }
  return sum;
}

/**
 * Fills W, ROOT, X, WX and SIGNS; returns the largest value.
 * @param importance - address, 0 for none: weights are then x², plus a quarter of `spread` if `withSpread`
 */
export function prepare(
  values: usize,
  importance: usize,
  spread: f32,
  withSpread: bool,
  evenSigns: bool,
  bytes: usize,
): f32 {
  const s = f32x4.splat(spread);
  const quarter = f32x4.splat(f32(0.25) * spread);
  const zero = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 32) {
    let bits = 0;
    for (let j: usize = i, shift = 0; j < i + 32; j += 16, shift += 4) {
      const x = v128.load(values + j);
      const square = f32x4.mul(x, x);
      let w = square;
      if (importance != 0) w = f32x4.mul(v128.load(importance + j), f32x4.sqrt(f32x4.add(s, square)));
      else if (withSpread) w = f32x4.add(quarter, square);
      v128.store(W + j, w);
      v128.store(ROOT + j, f32x4.sqrt(w));
      const negative = f32x4.lt(x, zero);
      v128.store(X + j, v128.xor(x, v128.and(negative, i32x4.splat(0x80000000))));
      bits |= i32x4.bitmask(negative) << shift;
    }
    if (evenSigns) {
      if ((popcnt(bits) & 1) != 0) {
        const flipped = cheapest(values + i, W + i);
        const at = X + i + (<usize>flipped << 2);
        store<f32>(at, -load<f32>(at));
        bits ^= 1 << flipped;
      }
      bits &= 127;
    }
    store<u8>(SIGNS + (i >> 5), <u8>bits);
  }
  let max = v128.load(X);
  let reach = f32x4.abs(max);
  for (let i: usize = 0; i < bytes; i += 16) {
    const x = v128.load(X + i);
    v128.store(WX + i, f32x4.mul(v128.load(W + i), x));
    max = f32x4.pmax(max, x);
    reach = f32x4.pmax(reach, f32x4.abs(x));
  }
  store<f32>(REACH, largest(reach));
  return largest(max);
}

// @ts-ignore: decorator
@inline
function largest(max: v128): f32 {
  max = f32x4.pmax(max, v128.shuffle<i32>(max, max, 2, 3, 0, 1));
  max = f32x4.pmax(max, v128.shuffle<i32>(max, max, 1, 0, 3, 2));
  return f32x4.extract_lane(max, 0);
}

/** Of eight values the first with the least w·x². */
function cheapest(values: usize, weights: usize): i32 {
  let found = 0;
  let min: f32 = 0;
  for (let i = 0; i < 8; i++) {
    const x = load<f32>(values + (<usize>i << 2));
    const cost = load<f32>(weights + (<usize>i << 2)) * x * x;
    if (i == 0 || cost < min) {
      min = cost;
      found = i;
    }
  }
  return found;
}
