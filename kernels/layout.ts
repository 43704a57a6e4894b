/**
 * Packing of one-per-byte codes and matrix transposition (reference: src/kernels/reference/layout.ts).
 *
 * A transposition of L×L elements in vectors of L lanes is log2(L) rounds of interleaving: row i with row i + L/2 gives
 * rows 2i and 2i + 1. Rounds alternate between two areas of scratch; edges are moved one by one.
 */

/** Nibbles; `count` codes, a multiple of 32. `high`: the first of a pair in the high half. */
export function packNibbles(codes: usize, count: usize, high: i32, target: usize): void {
  const end = codes + count;
  for (; codes < end; codes += 32, target += 16) {
    v128.store(target, i8x16.narrow_i16x8_u(nibblePair(v128.load(codes), high), nibblePair(v128.load(codes, 16), high)));
  }
}

// @ts-ignore: decorator
@inline
function nibblePair(v: v128, high: i32): v128 {
  const even = v128.and(v, i16x8.splat(0x0f));
  const odd = v128.and(i16x8.shr_u(v, 8), i16x8.splat(0x0f));
  return high ? v128.or(i16x8.shl(even, 4), odd) : v128.or(even, i16x8.shl(odd, 4));
}

export function unpackNibbles(packed: usize, count: usize, high: i32, codes: usize): void {
  const end = codes + count;
  const mask = i8x16.splat(0x0f);
  for (; codes < end; codes += 32, packed += 16) {
    const v = v128.load(packed);
    const low = v128.and(v, mask);
    const top = i8x16.shr_u(v, 4);
    const a = high ? top : low;
    const b = high ? low : top;
    v128.store(codes, v128.shuffle<i8>(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
    v128.store(codes, v128.shuffle<i8>(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), 16);
  }
}

/** Two-bit codes, lowest first; `count` a multiple of 64. */
export function packCrumbs(codes: usize, count: usize, target: usize): void {
  const end = codes + count;
  for (; codes < end; codes += 64, target += 16) {
    const ab = i16x8.narrow_i32x4_u(crumbs(v128.load(codes)), crumbs(v128.load(codes, 16)));
    const cd = i16x8.narrow_i32x4_u(crumbs(v128.load(codes, 32)), crumbs(v128.load(codes, 48)));
    v128.store(target, i8x16.narrow_i16x8_u(ab, cd));
  }
}

// @ts-ignore: decorator
@inline
function crumbs(v: v128): v128 {
  const q = v128.and(v, i8x16.splat(3));
  const pairs = v128.and(v128.or(q, i32x4.shr_u(q, 6)), i32x4.splat(0x000f000f));
  return v128.and(v128.or(pairs, i32x4.shr_u(pairs, 12)), i32x4.splat(0xff));
}

export function unpackCrumbs(packed: usize, count: usize, codes: usize): void {
  const end = codes + count;
  const mask = i8x16.splat(3);
  for (; codes < end; codes += 64, packed += 16) {
    const v = v128.load(packed);
    const a = v128.and(v, mask);
    const b = v128.and(i8x16.shr_u(v, 2), mask);
    const c = v128.and(i8x16.shr_u(v, 4), mask);
    const d = i8x16.shr_u(v, 6);
    const ab0 = v128.shuffle<i8>(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const ab1 = v128.shuffle<i8>(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    const cd0 = v128.shuffle<i8>(c, d, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const cd1 = v128.shuffle<i8>(c, d, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    v128.store(codes, v128.shuffle<i16>(ab0, cd0, 0, 8, 1, 9, 2, 10, 3, 11));
    v128.store(codes, v128.shuffle<i16>(ab0, cd0, 4, 12, 5, 13, 6, 14, 7, 15), 16);
    v128.store(codes, v128.shuffle<i16>(ab1, cd1, 0, 8, 1, 9, 2, 10, 3, 11), 32);
    v128.store(codes, v128.shuffle<i16>(ab1, cd1, 4, 12, 5, 13, 6, 14, 7, 15), 48);
  }
}

// @ts-ignore: decorator
@inline
function interleaveLow(a: v128, b: v128, size: i32): v128 {
  if (size == 1) return v128.shuffle<i8>(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  if (size == 2) return v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  return v128.shuffle<i32>(a, b, 0, 4, 1, 5);
}

// @ts-ignore: decorator
@inline
function interleaveHigh(a: v128, b: v128, size: i32): v128 {
  if (size == 1) return v128.shuffle<i8>(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  if (size == 2) return v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
  return v128.shuffle<i32>(a, b, 2, 6, 3, 7);
}

/** One round over L rows that are `fromStride` bytes apart, to rows `toStride` apart. */
// @ts-ignore: decorator
@inline
function round(from: usize, fromStride: usize, to: usize, toStride: usize, size: i32): void {
  const half: usize = 8 / size;
  for (let i: usize = 0; i < half; i++) {
    const a = v128.load(from + i * fromStride);
    const b = v128.load(from + (i + half) * fromStride);
    v128.store(to + 2 * i * toStride, interleaveLow(a, b, size));
    v128.store(to + (2 * i + 1) * toStride, interleaveHigh(a, b, size));
  }
}

// @ts-ignore: decorator
@inline
function moveOne(from: usize, to: usize, size: i32): void {
  if (size == 1) store<u8>(to, load<u8>(from));
  else if (size == 2) store<u16>(to, load<u16>(from));
  else store<u32>(to, load<u32>(from));
}

// @ts-ignore: decorator
@inline
function transposeSized(source: usize, rows: i32, columns: i32, target: usize, scratch: usize, size: i32): void {
  const lanes = 16 / size;
  const rowBytes = <usize>columns * size;
  const columnBytes = <usize>rows * size;
  const other = scratch + 256;
  const bottom = rows - (rows % lanes);
  const right = columns - (columns % lanes);
  // Bands of 64 bytes of rows: every cache line of the target is filled before the next one is touched.
  for (let band = 0; band < bottom; band += 4 * lanes) {
    const end = min(band + 4 * lanes, bottom);
    for (let c = 0; c < right; c += lanes) for (let r = band; r < end; r += lanes) {
      const from = source + <usize>r * rowBytes + <usize>c * size;
      const to = target + <usize>c * columnBytes + <usize>r * size;
      if (size == 4) {
        round(from, rowBytes, scratch, 16, 4);
        round(scratch, 16, to, columnBytes, 4);
      } else if (size == 2) {
        round(from, rowBytes, scratch, 16, 2);
        round(scratch, 16, other, 16, 2);
        round(other, 16, to, columnBytes, 2);
      } else {
        round(from, rowBytes, scratch, 16, 1);
        round(scratch, 16, other, 16, 1);
        round(other, 16, scratch, 16, 1);
        round(scratch, 16, to, columnBytes, 1);
      }
    }
  }
  for (let r = 0; r < rows; r++) {
    for (let c = r < bottom ? right : 0; c < columns; c++) {
      const from = source + <usize>r * rowBytes + <usize>c * size;
      moveOne(from, target + <usize>c * columnBytes + <usize>r * size, size);
    }
  }
}

/** [rows, columns] → [columns, rows] of elements of 1, 2 or 4 bytes; `scratch`: 512 bytes. */
export function transpose(source: usize, rows: i32, columns: i32, size: i32, target: usize, scratch: usize): void {
  if (size == 4) transposeSized(source, rows, columns, target, scratch, 4);
  else if (size == 2) transposeSized(source, rows, columns, target, scratch, 2);
  else transposeSized(source, rows, columns, target, scratch, 1);
}
