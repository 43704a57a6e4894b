/**
 * q4_0, q4_1, q5_0 and q5_1 with importance: the shared searches (kernels/searches.ts) over eight blocks at once, then codes from
 * the reciprocal and the minimum that won. After the last block its values stand in the spare lanes, which are not stored.
 */

import { asymmetric, BASE, INVERSE, OFFSET, SCALE, symmetric, toLanes, W, X } from '../../searches';
import { halfLanes } from '../../block-scales';
import { bytesOf, fifthBits, nibbles } from './lanes';
import { blockAt, weightsOf } from './weights';

const FRAME: usize = memory.data(3200, 16);
/** Eight blocks: values, and their weights. */
const ROOM: usize = memory.data(1024, 16);
const HEADERS: usize = memory.data(32, 16);

// @ts-ignore: decorator
@inline
function fill(values: usize, block: i32, blocks: i32, perRow: i32, importance: usize, sigmas: usize): void {
  let from = values + (<usize>block << 7);
  if (block + 8 > blocks) {
    for (let i = 0; i < 8; i++) memory.copy(ROOM + (<usize>i << 7), values + (blockAt(block + i, blocks) << 7), 128);
    from = ROOM;
  }
  toLanes(from, 128, 32, FRAME + X);
  for (let i = 0; i < 8; i++) {
    const at = blockAt(block + i, blocks);
    const sigma2 = f32x4.splat(load<f32>(sigmas + (<usize>(<u32>at / <u32>perRow) << 2)));
    const weights = importance + (<usize>(<u32>at % <u32>perRow) << 7);
    const x = values + (at << 7);
    const to = ROOM + (<usize>i << 7);
    for (let j: usize = 0; j < 128; j += 16) v128.store(to + j, weightsOf(x + j, weights + j, sigma2));
  }
  toLanes(ROOM, 128, 32, FRAME + W);
}

// @ts-ignore: decorator
@inline
function codeOf(x: v128, inverse: v128, base: v128, levels: i32, offset: bool): v128 {
  if (offset) {
    const v = f32x4.nearest(f32x4.mul(inverse, f32x4.sub(x, base)));
    return f32x4.pmin(f32x4.splat(<f32>(levels - 1)), f32x4.pmax(f32x4.splat(0), v));
  }
  const half = <f32>levels * 0.5;
  const v = f32x4.add(f32x4.nearest(f32x4.mul(inverse, x)), f32x4.splat(half));
  return f32x4.pmin(f32x4.splat(<f32>(levels - 1)), f32x4.pmax(f32x4.splat(0), v));
}

// @ts-ignore: decorator
@inline
function codesOf(p: usize, inverse: v128, base: v128, levels: i32, offset: bool): v128 {
  return bytesOf(
    codeOf(v128.load(p), inverse, base, levels, offset), codeOf(v128.load(p, 16), inverse, base, levels, offset),
    codeOf(v128.load(p, 32), inverse, base, levels, offset), codeOf(v128.load(p, 48), inverse, base, levels, offset), 0,
  );
}

// @ts-ignore: decorator
@inline
function search(values: usize, blocks: i32, perRow: i32, importance: usize, sigmas: usize, levels: i32, offset: bool, target: usize, list: usize): i32 {
  const bytes: usize = 18 + (offset ? 2 : 0) + (levels == 32 ? 4 : 0);
  let listed = 0;
  for (let block = 0; block < blocks; block += 8) {
    fill(values, block, blocks, perRow, importance, sigmas);
    let irregular = 0;
    if (offset) irregular = asymmetric(FRAME, 32, <f32>(levels - 1), -0.9, 0.05, 36, false);
    else symmetric(FRAME, 32, <f32>levels * 0.5);
    for (let half: usize = 0; half < 32; half += 16) {
      let header = halfLanes(v128.load(FRAME + half, SCALE));
      if (offset) header = v128.or(header, i32x4.shl(halfLanes(f32x4.neg(v128.load(FRAME + half, OFFSET))), 16));
      v128.store(HEADERS + half, header);
    }
    const count = min(8, blocks - block);
    for (let i = 0; i < count; i++) {
      const lane = <usize>i << 2;
      const p = values + (<usize>(block + i) << 7);
      let to = target + <usize>(block + i) * bytes;
      if ((irregular >> i) & 1) {
        store<i32>(list + (<usize>listed << 2), block + i);
        listed++;
        continue;
      }
      const inverse = v128.load32_splat(FRAME + lane, INVERSE);
      const base = v128.load32_splat(FRAME + lane, BASE);
      let a = codesOf(p, inverse, base, levels, offset);
      let b = codesOf(p + 64, inverse, base, levels, offset);
      if (!offset && load<f32>(FRAME + lane, INVERSE) == 0) {
        a = i32x4.splat(0);
        b = a;
      }
      if (offset) {
        store<i32>(to, load<i32>(HEADERS + lane));
        to += 4;
      } else {
        store<u16>(to, load<u16>(HEADERS + lane));
        to += 2;
      }
      if (levels == 32) {
        store<i32>(to, fifthBits(a) | (fifthBits(b) << 16));
        to += 4;
        const mask = i8x16.splat(15);
        a = v128.and(a, mask);
        b = v128.and(b, mask);
      }
      v128.store(to, nibbles(a, b));
    }
  }
  return listed;
}

export function searchQ4_0(values: usize, blocks: i32, perRow: i32, importance: usize, sigmas: usize, target: usize, list: usize): i32 {
  return search(values, blocks, perRow, importance, sigmas, 16, false, target, list);
}

export function searchQ4_1(values: usize, blocks: i32, perRow: i32, importance: usize, sigmas: usize, target: usize, list: usize): i32 {
  return search(values, blocks, perRow, importance, sigmas, 16, true, target, list);
}

export function searchQ5_0(values: usize, blocks: i32, perRow: i32, importance: usize, sigmas: usize, target: usize, list: usize): i32 {
  return search(values, blocks, perRow, importance, sigmas, 32, false, target, list);
}

export function searchQ5_1(values: usize, blocks: i32, perRow: i32, importance: usize, sigmas: usize, target: usize, list: usize): i32 {
  return search(values, blocks, perRow, importance, sigmas, 32, true, target, list);
}
