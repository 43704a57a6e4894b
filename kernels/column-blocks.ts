/**
 * Blocks that run down the columns of a row-major tile, packed for MatMulNBits (docs/onnx.md 3.1): rule nbits, whole blocks.
 *
 * Approach: a strip of 16 columns is one cache line of every row. Pass 1 finds the columns' ranges, four columns a
 * vector, and copies the strip to scratch, because rows that lie a power of two apart evict each other from the first
 * cache. Pass 2 takes four columns: codes are built as f32 integers, Horner's rule packs 16 bits of them exactly in a
 * f32, and adding 2^23 turns two such halves into a 32-bit word of each column. Four words are transposed so that every
 * column receives 16 bytes at once.
 * Where the bounds of a group show that no value leaves 0..top, the clamps are skipped (rounding is monotone).
 * A group with a non-finite value or reciprocal is flagged and left to the reference.
 */

import { asymmetricScale, extremeOf, reciprocalOf, symmetricScale, zeroPoint } from './rules';
import { allFinite, roundToHalf, roundUp } from './vectors';

// @ts-ignore: decorator
@inline
function code(p: usize, r: v128, z: v128, top: v128, clamps: i32): v128 {
  let v = f32x4.add(f32x4.mul(v128.load(p), r), z);
  if (clamps > 1) v = f32x4.pmax(f32x4.splat(0), v);
  if (clamps > 0) v = f32x4.pmin(top, v);
  return roundUp(v);
}

// @ts-ignore: decorator
@inline
function pair(p: usize, r: v128, z: v128, top: v128, clamps: i32, bits: i32): v128 {
  const weight: f32 = bits == 8 ? 256 : bits == 4 ? 16 : 4;
  const low = code(p, r, z, top, clamps);
  return f32x4.add(low, f32x4.mul(code(p + 16, r, z, top, clamps), f32x4.splat(weight)));
}

/** 16 bits of codes of each column, as a f32 integer. */
// @ts-ignore: decorator
@inline
function halfWord(p: usize, r: v128, z: v128, top: v128, clamps: i32, bits: i32): v128 {
  if (bits == 8) return pair(p, r, z, top, clamps, 8);
  if (bits == 4) {
    const low = pair(p, r, z, top, clamps, 4);
    return f32x4.add(low, f32x4.mul(pair(p + 32, r, z, top, clamps, 4), f32x4.splat(256)));
  }
  const a = pair(p, r, z, top, clamps, 2);
  const b = f32x4.add(a, f32x4.mul(pair(p + 32, r, z, top, clamps, 2), f32x4.splat(16)));
  const c = pair(p + 64, r, z, top, clamps, 2);
  const d = f32x4.add(c, f32x4.mul(pair(p + 96, r, z, top, clamps, 2), f32x4.splat(16)));
  return f32x4.add(b, f32x4.mul(d, f32x4.splat(256)));
}

/** 32 bits of codes of each column. */
// @ts-ignore: decorator
@inline
function word(p: usize, r: v128, z: v128, top: v128, clamps: i32, bits: i32): v128 {
  const magic = f32x4.splat(8388608);
  const low = f32x4.add(halfWord(p, r, z, top, clamps, bits), magic);
  const high = f32x4.add(halfWord(p + 16 * (16 / bits), r, z, top, clamps, bits), magic);
  return v128.or(v128.and(low, i32x4.splat(0xffff)), i32x4.shl(high, 16));
}

/** Codes of four columns' block; `words` 32-bit words for each column, the columns `stride` bytes apart. */
// @ts-ignore: decorator
@inline
function encode(
  from: usize,
  words: i32,
  r: v128,
  z: v128,
  top: v128,
  out: usize,
  stride: usize,
  clamps: i32,
  bits: i32,
): void {
  const step: usize = 16 * (32 / bits);
  const out2 = out + 2 * stride;
  let left = words;
  for (; left >= 4; left -= 4, from += 4 * step, out += 16) {
    const a = word(from, r, z, top, clamps, bits);
    const b = word(from + step, r, z, top, clamps, bits);
    const c = word(from + 2 * step, r, z, top, clamps, bits);
    const d = word(from + 3 * step, r, z, top, clamps, bits);
    const ab0 = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
    const cd0 = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
    const ab1 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
    const cd1 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
    v128.store(out, v128.shuffle<i64>(ab0, cd0, 0, 2));
    v128.store(out + stride, v128.shuffle<i64>(ab0, cd0, 1, 3));
    v128.store(out + 2 * stride, v128.shuffle<i64>(ab1, cd1, 0, 2));
    v128.store(out + 3 * stride, v128.shuffle<i64>(ab1, cd1, 1, 3));
  }
  for (; left > 0; left--, from += step, out += 4) {
    const a = word(from, r, z, top, clamps, bits);
    v128.store_lane<i32>(out, a, 0);
    v128.store_lane<i32>(out + stride, a, 1);
    v128.store_lane<i32>(out + 2 * stride, a, 2);
    v128.store_lane<i32>(out + 3 * stride, a, 3);
  }
}

function encode8(from: usize, words: i32, r: v128, z: v128, out: usize, stride: usize, clamps: i32): void {
  const top = f32x4.splat(255);
  if (clamps == 0) encode(from, words, r, z, top, out, stride, 0, 8);
  else if (clamps == 1) encode(from, words, r, z, top, out, stride, 1, 8);
  else encode(from, words, r, z, top, out, stride, 2, 8);
}

function encode4(from: usize, words: i32, r: v128, z: v128, out: usize, stride: usize, clamps: i32): void {
  const top = f32x4.splat(15);
  if (clamps == 0) encode(from, words, r, z, top, out, stride, 0, 4);
  else if (clamps == 1) encode(from, words, r, z, top, out, stride, 1, 4);
  else encode(from, words, r, z, top, out, stride, 2, 4);
}

function encode2(from: usize, words: i32, r: v128, z: v128, out: usize, stride: usize, clamps: i32): void {
  encode(from, words, r, z, f32x4.splat(3), out, stride, 2, 2);
}

/** Parameters and codes of four columns' block; false where the reference has to do it. */
function group(
  from: usize,
  mn: v128,
  mx: v128,
  sum: v128,
  blockSize: i32,
  bits: i32,
  symmetric: i32,
  half: i32,
  packed: usize,
  packedStride: usize,
  scales: usize,
  scaleStride: usize,
  zeros: usize,
): bool {
  if (!allFinite(sum)) return false;
  const top = f32x4.splat(<f32>((1 << bits) - 1));
  let s: v128;
  let z: v128;
  if (symmetric) {
    z = f32x4.splat(<f32>(1 << (bits - 1)));
    s = symmetricScale(extremeOf(mn, mx), z, <bool>half);
  } else {
    mn = f32x4.pmin(f32x4.splat(0), mn);
    mx = f32x4.pmax(f32x4.splat(0), mx);
    s = asymmetricScale(mn, mx, top);
    z = zeroPoint(mn, s, top);
    if (half) s = roundToHalf(s);
  }
  const r = reciprocalOf(s);
  if (!allFinite(r)) return false;
  v128.store_lane<f32>(scales, s, 0);
  v128.store_lane<f32>(scales + scaleStride * 4, s, 1);
  v128.store_lane<f32>(scales + scaleStride * 8, s, 2);
  v128.store_lane<f32>(scales + scaleStride * 12, s, 3);
  if (zeros) {
    const codes = i32x4.trunc_sat_f32x4_s(z);
    store<u8>(zeros, i32x4.extract_lane(codes, 0));
    store<u8>(zeros + scaleStride, i32x4.extract_lane(codes, 1));
    store<u8>(zeros + scaleStride * 2, i32x4.extract_lane(codes, 2));
    store<u8>(zeros + scaleStride * 3, i32x4.extract_lane(codes, 3));
  }
  const a = f32x4.add(f32x4.mul(mn, r), z);
  const b = f32x4.add(f32x4.mul(mx, r), z);
  const low = f32x4.pmin(a, b);
  const high = f32x4.pmax(a, b);
  // Symmetric blocks often exceed the top (the opposite extreme maps to it): always clamping beats guessing.
  let clamps = symmetric;
  if (!symmetric && v128.any_true(f32x4.gt(roundUp(high), top))) clamps = 1;
  if (v128.any_true(f32x4.lt(low, f32x4.splat(-1.25)))) clamps = 2;
  const words = (blockSize * bits) >> 5;
  if (bits == 4) encode4(from, words, r, z, packed, packedStride, clamps);
  else if (bits == 8) encode8(from, words, r, z, packed, packedStride, clamps);
  else encode2(from, words, r, z, packed, packedStride, clamps);
  return true;
}

/** Copies 16 columns of a block to four groups of scratch; stores min, max and sum of each. Returns the next row. */
// @ts-ignore: decorator
@inline
function scanStrip(from: usize, rowBytes: usize, scratch: usize, groupBytes: usize, ends: usize): usize {
  let p = from;
  let n0 = f32x4.splat(Infinity);
  let n1 = n0;
  let n2 = n0;
  let n3 = n0;
  let x0 = f32x4.splat(-Infinity);
  let x1 = x0;
  let x2 = x0;
  let x3 = x0;
  let s0 = f32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  const end = scratch + groupBytes;
  const g1 = groupBytes;
  const g2 = groupBytes * 2;
  const g3 = groupBytes * 3;
  for (let q = scratch; q < end; q += 16, p += rowBytes) {
    const a = v128.load(p);
    const b = v128.load(p, 16);
    const c = v128.load(p, 32);
    const d = v128.load(p, 48);
    v128.store(q, a);
    v128.store(q + g1, b);
    v128.store(q + g2, c);
    v128.store(q + g3, d);
    n0 = f32x4.pmin(n0, a);
    n1 = f32x4.pmin(n1, b);
    n2 = f32x4.pmin(n2, c);
    n3 = f32x4.pmin(n3, d);
    x0 = f32x4.pmax(x0, a);
    x1 = f32x4.pmax(x1, b);
    x2 = f32x4.pmax(x2, c);
    x3 = f32x4.pmax(x3, d);
    s0 = f32x4.add(s0, a);
    s1 = f32x4.add(s1, b);
    s2 = f32x4.add(s2, c);
    s3 = f32x4.add(s3, d);
  }
  v128.store(ends, n0);
  v128.store(ends, x0, 16);
  v128.store(ends, s0, 32);
  v128.store(ends, n1, 48);
  v128.store(ends, x1, 64);
  v128.store(ends, s1, 80);
  v128.store(ends, n2, 96);
  v128.store(ends, x2, 112);
  v128.store(ends, s2, 128);
  v128.store(ends, n3, 144);
  v128.store(ends, x3, 160);
  v128.store(ends, s3, 176);
  return p;
}

/**
 * `blocks` whole blocks of blockSize rows (a multiple of 16) of a tile whose rows are `columns` ≥ 4 floats long.
 * `packed`, `scales` and `zeros` point to the first block of column 0; strides in elements. `zeros` may be 0 (none).
 * `scratch`: 64 · max(256, blockSize) + 3,072 bytes. `flags`: one byte for each [block][group of 4 columns], set to 1 where nothing was
 * written; the last group of a ragged row starts at columns − 4. Returns how many groups were flagged.
 */
export function nbitsColumnBlocks(
  tile: usize,
  columns: i32,
  blocks: i32,
  blockSize: i32,
  bits: i32,
  symmetric: i32,
  half: i32,
  packed: usize,
  packedStride: usize,
  scales: usize,
  scaleStride: usize,
  zeros: usize,
  scratch: usize,
  flags: usize,
): i32 {
  const rowBytes = <usize>columns << 2;
  const groups = (columns + 3) >> 2;
  const blockBytes: usize = (blockSize * bits) >> 3;
  const groupBytes: usize = blockSize << 4;
  let flagged = 0;
  let g = 0;
  const whole = columns >> 4 << 2;
  // Strips of 256 rows: 16 KiB of scratch, and whole cache lines of every column's output before the next column.
  const batch = max(1, 256 / blockSize);
  const blockSpan = groupBytes << 2;
  const ranges = scratch + <usize>batch * blockSpan;
  for (let start = 0; start < blocks; start += batch) {
    const count = min(batch, blocks - start);
    for (g = 0; g < whole; g += 4) {
      const column: usize = g << 2;
      let p = tile + <usize>(start * blockSize) * rowBytes + (column << 2);
      let from = scratch;
      let ends = ranges;
      for (let i = 0; i < count; i++, from += blockSpan, ends += 192) {
        p = scanStrip(p, rowBytes, from, groupBytes, ends);
      }
      for (let k = 0; k < 4; k++) {
        const first = column + (k << 2);
        let out = packed + first * packedStride + <usize>start * blockBytes;
        let at = first * scaleStride + start;
        from = scratch + <usize>k * groupBytes;
        ends = ranges + k * 48;
        for (let i = 0; i < count; i++, from += blockSpan, ends += 192, out += blockBytes, at++) {
          const n = v128.load(ends);
          const x = v128.load(ends, 16);
          const sum = v128.load(ends, 32);
          const zp = zeros ? zeros + at : 0;
          if (!group(from, n, x, sum, blockSize, bits, symmetric, half, out, packedStride, scales + (at << 2), scaleStride, zp)) {
            store<u8>(flags + (start + i) * groups + g + k, 1);
            flagged++;
          }
        }
      }
    }
  }
  for (g = whole; g < groups; g++) {
    const column: usize = min(g << 2, columns - 4);
    for (let block = 0; block < blocks; block++) {
      let p = tile + <usize>(block * blockSize) * rowBytes + (column << 2);
      let n = f32x4.splat(Infinity);
      let x = f32x4.splat(-Infinity);
      let s = f32x4.splat(0);
      const end = scratch + groupBytes;
      for (let q = scratch; q < end; q += 16, p += rowBytes) {
        const a = v128.load(p);
        v128.store(q, a);
        n = f32x4.pmin(n, a);
        x = f32x4.pmax(x, a);
        s = f32x4.add(s, a);
      }
      const out = packed + column * packedStride + <usize>block * blockBytes;
      const at = column * scaleStride + block;
      const zp = zeros ? zeros + at : 0;
      if (!group(scratch, n, x, s, blockSize, bits, symmetric, half, out, packedStride, scales + (at << 2), scaleStride, zp)) {
        store<u8>(flags + block * groups + g, 1);
        flagged++;
      }
    }
  }
  return flagged;
}
