/**
 * q4_0, q4_1, q5_0, q5_1 and q8_0 without importance (definitions: src/kernels/ggml/linear/uniform.ts, q8.ts).
 *
 * Four blocks at a time: their scans run side by side and are folded into one vector, so that four scales cost one division
 * and one conversion to halves; then each block is coded from the first cache and packed in registers.
 */

import { halfLanes } from '../../block-scales';
import { bytesOf, fifthBits, foldMax, foldMin, lane, nibbles } from './lanes';
import { roundAway } from '../../vectors';

const BLOCK: usize = 128;

/** Minima of four blocks, then maxima: four vectors each, to be folded. */
const SCAN: usize = memory.data(128, 16);

// @ts-ignore: decorator
@inline
function scan(p: usize, at: usize): void {
  const a = v128.load(p);
  const b = v128.load(p, 16);
  const c = v128.load(p, 32);
  const d = v128.load(p, 48);
  const e = v128.load(p, 64);
  const f = v128.load(p, 80);
  const g = v128.load(p, 96);
  const h = v128.load(p, 112);
  v128.store(at, f32x4.pmin(f32x4.pmin(f32x4.pmin(a, b), f32x4.pmin(c, d)), f32x4.pmin(f32x4.pmin(e, f), f32x4.pmin(g, h))));
  v128.store(at, f32x4.pmax(f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d)), f32x4.pmax(f32x4.pmax(e, f), f32x4.pmax(g, h))), 64);
}

/** Scans four blocks, `stride` bytes apart. */
// @ts-ignore: decorator
@inline
function scanAll(values: usize, stride: usize): void {
  scan(values, SCAN);
  scan(values + stride, SCAN + 16);
  scan(values + 2 * stride, SCAN + 32);
  scan(values + 3 * stride, SCAN + 48);
}

/** The minimum of each block, in its lane. */
// @ts-ignore: decorator
@inline
function minima(): v128 {
  return foldMin(v128.load(SCAN), v128.load(SCAN, 16), v128.load(SCAN, 32), v128.load(SCAN, 48));
}

// @ts-ignore: decorator
@inline
function maxima(): v128 {
  return foldMax(v128.load(SCAN, 64), v128.load(SCAN, 80), v128.load(SCAN, 96), v128.load(SCAN, 112));
}

/** The first value of a block whose magnitude is that of `extreme`. */
function firstOfMagnitude(p: usize, extreme: f32): f32 {
  const magnitude = abs(extreme);
  while (abs(load<f32>(p)) != magnitude) p += 4;
  return load<f32>(p);
}

/** In lanes where −min = max both occur: which came first is the extreme. */
function settleTies(p0: usize, stride: usize, extreme: v128, tied: i32): v128 {
  if (tied & 1) extreme = f32x4.replace_lane(extreme, 0, firstOfMagnitude(p0, f32x4.extract_lane(extreme, 0)));
  if (tied & 2) extreme = f32x4.replace_lane(extreme, 1, firstOfMagnitude(p0 + stride, f32x4.extract_lane(extreme, 1)));
  if (tied & 4) extreme = f32x4.replace_lane(extreme, 2, firstOfMagnitude(p0 + 2 * stride, f32x4.extract_lane(extreme, 2)));
  if (tied & 8) extreme = f32x4.replace_lane(extreme, 3, firstOfMagnitude(p0 + 3 * stride, f32x4.extract_lane(extreme, 3)));
  return extreme;
}

/** In lanes where the minimum is 0: its sign is that of the first zero. */
function settleZeros(p0: usize, stride: usize, min: v128, zero: i32): v128 {
  if (zero & 1) min = f32x4.replace_lane(min, 0, firstOfMagnitude(p0, 0));
  if (zero & 2) min = f32x4.replace_lane(min, 1, firstOfMagnitude(p0 + stride, 0));
  if (zero & 4) min = f32x4.replace_lane(min, 2, firstOfMagnitude(p0 + 2 * stride, 0));
  if (zero & 8) min = f32x4.replace_lane(min, 3, firstOfMagnitude(p0 + 3 * stride, 0));
  return min;
}

// @ts-ignore: decorator
@inline
function finite(x: v128): v128 {
  return f32x4.eq(f32x4.sub(x, x), f32x4.splat(0));
}

/** 1 / d, or 0 where d is 0. */
// @ts-ignore: decorator
@inline
function reciprocal(d: v128): v128 {
  return v128.andnot(f32x4.div(f32x4.splat(1), d), f32x4.eq(d, f32x4.splat(0)));
}

// @ts-ignore: decorator
@inline
function codeOf(x: v128, id: v128, base: v128, offset: bool, half: v128, top: v128): v128 {
  if (offset) x = f32x4.sub(x, base);
  const code = f32x4.trunc(f32x4.add(f32x4.mul(x, id), half));
  // (max − min) · id is at most levels − 1 and a few roundings: with an offset no code is above the last.
  return offset ? code : f32x4.pmin(code, top);
}

/** Two nibbles. */
// @ts-ignore: decorator
@inline
function pair(low: v128, high: v128): v128 {
  return f32x4.add(low, f32x4.mul(high, f32x4.splat(16)));
}

/** `id` and `base`: of this block, in all lanes. */
// @ts-ignore: decorator
@inline
function encodeUniform(p: usize, id: v128, base: v128, levels: i32, offset: bool, target: usize): void {
  const half = f32x4.splat(offset ? 0.5 : <f32>levels * 0.5 + 0.5);
  const top = f32x4.splat(<f32>(levels - 1));
  const c0 = codeOf(v128.load(p), id, base, offset, half, top);
  const c1 = codeOf(v128.load(p, 16), id, base, offset, half, top);
  const c2 = codeOf(v128.load(p, 32), id, base, offset, half, top);
  const c3 = codeOf(v128.load(p, 48), id, base, offset, half, top);
  const c4 = codeOf(v128.load(p, 64), id, base, offset, half, top);
  const c5 = codeOf(v128.load(p, 80), id, base, offset, half, top);
  const c6 = codeOf(v128.load(p, 96), id, base, offset, half, top);
  const c7 = codeOf(v128.load(p, 112), id, base, offset, half, top);
  if (levels == 16) {
    v128.store(target, bytesOf(pair(c0, c4), pair(c1, c5), pair(c2, c6), pair(c3, c7), 0));
  } else {
    const low = bytesOf(c0, c1, c2, c3, 0);
    const high = bytesOf(c4, c5, c6, c7, 0);
    store<i32>(target, fifthBits(low) | (fifthBits(high) << 16));
    const mask = i8x16.splat(15);
    v128.store(target, nibbles(v128.and(low, mask), v128.and(high, mask)), 4);
  }
}

function clear(target: usize, step: usize, bytes: usize, header: usize, lanes: i32): void {
  for (let k = 0; k < 4; k++) {
    if ((lanes >> k) & 1) memory.fill(target + <usize>k * step + header, 0, bytes - header);
  }
}

/** Four blocks, `stride` bytes apart; their results `step` bytes apart. */
// @ts-ignore: decorator
@inline
function uniformGroup(values: usize, stride: usize, levels: i32, offset: bool, target: usize, step: usize): void {
  const bytes: usize = 18 + (offset ? 2 : 0) + (levels == 32 ? 4 : 0);
  const header: usize = offset ? 4 : 2;
  scanAll(values, stride);
  const min = minima();
  const max = maxima();
  let base = min;
  let d: v128;
  if (offset) {
    const zero = i32x4.bitmask(f32x4.eq(min, f32x4.splat(0)));
    if (zero) base = settleZeros(values, stride, min, zero);
    // A difference of −0 comes from zeros of both signs, whose order the scans lost: it is 0 − 0 or −0 − −0.
    d = f32x4.div(f32x4.add(f32x4.sub(max, min), f32x4.splat(0)), f32x4.splat(<f32>(levels - 1)));
  } else {
    const below = f32x4.abs(min);
    const above = f32x4.abs(max);
    let extreme = v128.bitselect(min, max, f32x4.gt(below, above));
    const tied = i32x4.bitmask(v128.and(f32x4.eq(below, above), f32x4.ne(min, max)));
    if (tied) extreme = settleTies(values, stride, extreme, tied);
    // + 0: the extreme of a block of zeros is +0. Dividing by a power of two is multiplying.
    d = f32x4.mul(f32x4.add(extreme, f32x4.splat(0)), f32x4.splat(<f32>-2 / <f32>levels));
  }
  const id = reciprocal(d);
  const dh = halfLanes(d);
  if (offset) {
    const mh = halfLanes(base);
    const header4 = v128.or(dh, i32x4.shl(mh, 16));
    store<i32>(target, i32x4.extract_lane(header4, 0));
    store<i32>(target + step, i32x4.extract_lane(header4, 1));
    store<i32>(target + 2 * step, i32x4.extract_lane(header4, 2));
    store<i32>(target + 3 * step, i32x4.extract_lane(header4, 3));
  } else {
    store<u16>(target, i32x4.extract_lane(dh, 0));
    store<u16>(target + step, i32x4.extract_lane(dh, 1));
    store<u16>(target + 2 * step, i32x4.extract_lane(dh, 2));
    store<u16>(target + 3 * step, i32x4.extract_lane(dh, 3));
  }
  encodeUniform(values, lane(id, 0), lane(base, 0), levels, offset, target + header);
  encodeUniform(values + stride, lane(id, 1), lane(base, 1), levels, offset, target + step + header);
  encodeUniform(values + 2 * stride, lane(id, 2), lane(base, 2), levels, offset, target + 2 * step + header);
  encodeUniform(values + 3 * stride, lane(id, 3), lane(base, 3), levels, offset, target + 3 * step + header);
  // 1 / d of subnormals and the range of huge values overflow: products are then infinite or NaN, their codes 0.
  const sound = i32x4.bitmask(v128.and(finite(id), finite(d)));
  if (sound != 15) clear(target, step, bytes, header, ~sound);
}

// @ts-ignore: decorator
@inline
function signedBytes(p: usize, id: v128): v128 {
  const a = roundAway(f32x4.mul(v128.load(p), id));
  const b = roundAway(f32x4.mul(v128.load(p, 16), id));
  const c = roundAway(f32x4.mul(v128.load(p, 32), id));
  const d = roundAway(f32x4.mul(v128.load(p, 48), id));
  return v128.xor(bytesOf(a, b, c, d, 128), i8x16.splat(-128));
}

// @ts-ignore: decorator
@inline
function eightBitGroup(values: usize, stride: usize, target: usize, step: usize): void {
  scanAll(values, stride);
  const largest = f32x4.pmax(f32x4.abs(maxima()), f32x4.abs(minima()));
  const d = f32x4.div(largest, f32x4.splat(127));
  const id = reciprocal(d);
  const dh = halfLanes(d);
  store<u16>(target, i32x4.extract_lane(dh, 0));
  v128.store(target, signedBytes(values, lane(id, 0)), 2);
  v128.store(target, signedBytes(values + 64, lane(id, 0)), 18);
  store<u16>(target + step, i32x4.extract_lane(dh, 1));
  v128.store(target + step, signedBytes(values + stride, lane(id, 1)), 2);
  v128.store(target + step, signedBytes(values + stride + 64, lane(id, 1)), 18);
  store<u16>(target + 2 * step, i32x4.extract_lane(dh, 2));
  v128.store(target + 2 * step, signedBytes(values + 2 * stride, lane(id, 2)), 2);
  v128.store(target + 2 * step, signedBytes(values + 2 * stride + 64, lane(id, 2)), 18);
  store<u16>(target + 3 * step, i32x4.extract_lane(dh, 3));
  v128.store(target + 3 * step, signedBytes(values + 3 * stride, lane(id, 3)), 2);
  v128.store(target + 3 * step, signedBytes(values + 3 * stride + 64, lane(id, 3)), 18);
  const sound = i32x4.bitmask(finite(id));
  if (sound != 15) clear(target, step, 34, 2, ~sound);
}

/** `levels`: 16, 32, or 256 for q8_0. */
// @ts-ignore: decorator
@inline
function encode(values: usize, blocks: i32, levels: i32, offset: bool, target: usize): void {
  const bytes: usize = levels == 256 ? 34 : 18 + (offset ? 2 : 0) + (levels == 32 ? 4 : 0);
  let count = 4;
  let stride = BLOCK;
  let step = bytes;
  for (; blocks > 0; blocks -= count, values += <usize>count * BLOCK, target += <usize>count * bytes) {
    if (blocks < 4) {
      // One block in all four lanes.
      count = 1;
      stride = 0;
      step = 0;
    }
    if (levels == 256) eightBitGroup(values, stride, target, step);
    else uniformGroup(values, stride, levels, offset, target, step);
  }
}

export function encodeQ4_0(values: usize, blocks: i32, target: usize): void {
  encode(values, blocks, 16, false, target);
}

export function encodeQ4_1(values: usize, blocks: i32, target: usize): void {
  encode(values, blocks, 16, true, target);
}

export function encodeQ5_0(values: usize, blocks: i32, target: usize): void {
  encode(values, blocks, 32, false, target);
}

export function encodeQ5_1(values: usize, blocks: i32, target: usize): void {
  encode(values, blocks, 32, true, target);
}

export function encodeQ8_0(values: usize, blocks: i32, target: usize): void {
  encode(values, blocks, 256, false, target);
}
