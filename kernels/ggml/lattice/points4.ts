/**
 * Groups of four values with eight levels as words, four candidate scales at a time: rounding, choosing among neighbours, sums over a sub-block.
 *
 * A component's error takes one value for each level, so all 32 are computed first, and a neighbour's error is 4 loads and
 * 3 additions in the order of the components. Lanes whose word is a point's are done; the others share a search wherever
 * their words are equal, which neighbouring scales' mostly are. Tables (src/kernels/ggml/lattice/tables.ts): `places` by
 * word: the point's index, or −1 − the address of a list relative to `lists`; a list is a count and the offsets of records
 * in `grid`; a record is the 4 levels times 16, a byte each, and at byte 8 the point's word.
 */

import { INVERSE, LANES, ON_GRID, PRODUCT, ROOT, SCALE, SQUARE, TERMS, W, WORDS, WX, X } from './scratch';

/** Level of one value at four scales. Adding 2^23·3 rounds value/2 to the nearest integer in the low bits of the sum. */
// @ts-ignore: decorator
@inline
function level(value: v128, inverse: v128): v128 {
  const bits = f32x4.add(f32x4.sub(f32x4.mul(inverse, value), f32x4.splat(1)), f32x4.splat(25165824));
  const l = i32x4.sub(v128.and(bits, i32x4.splat(0x7fffff)), i32x4.splat(0x400000));
  return i32x4.min_s(i32x4.max_s(l, i32x4.splat(0)), i32x4.splat(7));
}

/** Words of the group at `x`. */
function round(x: usize, inverse: v128): v128 {
  let word = level(v128.load32_splat(x, 0), inverse);
  word = v128.or(word, i32x4.shl(level(v128.load32_splat(x, 4), inverse), 3));
  word = v128.or(word, i32x4.shl(level(v128.load32_splat(x, 8), inverse), 6));
  word = v128.or(word, i32x4.shl(level(v128.load32_splat(x, 12), inverse), 9));
  return word;
}

// @ts-ignore: decorator
@inline
function term(root: v128, x: v128, q: v128): v128 {
  const d = f32x4.sub(q, x);
  return f32x4.mul(f32x4.mul(root, d), d);
}

// @ts-ignore: decorator
@inline
function terms(at: usize, scale: v128): void {
  const q1 = scale;
  const q3 = f32x4.mul(scale, f32x4.splat(3));
  const q5 = f32x4.mul(scale, f32x4.splat(5));
  const q7 = f32x4.mul(scale, f32x4.splat(7));
  const q9 = f32x4.mul(scale, f32x4.splat(9));
  const q11 = f32x4.mul(scale, f32x4.splat(11));
  const q13 = f32x4.mul(scale, f32x4.splat(13));
  const q15 = f32x4.mul(scale, f32x4.splat(15));
  for (let i: usize = 0, t = TERMS; i < 16; i += 4, t += 128) {
    const x = v128.load32_splat(X + at + i);
    const root = v128.load32_splat(ROOT + at + i);
    v128.store(t, term(root, x, q1));
    v128.store(t, term(root, x, q3), 16);
    v128.store(t, term(root, x, q5), 32);
    v128.store(t, term(root, x, q7), 48);
    v128.store(t, term(root, x, q9), 64);
    v128.store(t, term(root, x, q11), 80);
    v128.store(t, term(root, x, q13), 96);
    v128.store(t, term(root, x, q15), 112);
  }
}

/** Offsets of the best records of a list, for four candidates. */
// @ts-ignore: decorator
@inline
function nearest(list: usize, grid: usize): v128 {
  const end = list + 2 + (<usize>load<u16>(list) << 1);
  let best = i32x4.splat(load<u16>(list, 2));
  let least = f32x4.splat(f32.MAX_VALUE);
  for (let p = list + 2; p < end; p += 2) {
    const offset = <usize>load<u16>(p);
    const record = grid + offset;
    let error = v128.load(TERMS + <usize>load<u8>(record));
    error = f32x4.add(error, v128.load(TERMS + <usize>load<u8>(record, 1), 128));
    error = f32x4.add(error, v128.load(TERMS + <usize>load<u8>(record, 2), 256));
    error = f32x4.add(error, v128.load(TERMS + <usize>load<u8>(record, 3), 384));
    const less = f32x4.lt(error, least);
    best = v128.bitselect(i32x4.splat(<i32>offset), best, less);
    least = v128.bitselect(error, least, less);
  }
  return best;
}

/**
 * Words of points for the words of the group whose values begin `at` bytes into X; `flags` takes which lanes had one.
 */
function snap(
  at: usize,
  word: v128,
  scale: v128,
  flags: usize,
  places: usize,
  lists: usize,
  grid: usize,
): v128 {
  v128.store(LANES, word);
  let pending =
    (load<u32>(places + (<usize>load<u32>(LANES) << 2)) >>> 31) |
    ((load<u32>(places + (<usize>load<u32>(LANES, 4) << 2)) >>> 31) << 1) |
    ((load<u32>(places + (<usize>load<u32>(LANES, 8) << 2)) >>> 31) << 2) |
    ((load<u32>(places + (<usize>load<u32>(LANES, 12) << 2)) >>> 31) << 3);
  store<i32>(flags, pending ^ 15);
  if (pending == 0) return word;
  terms(at, scale);
  let result = word;
  do {
    const first = load<u32>(LANES + (<usize>ctz(pending) << 2));
    const same = i32x4.eq(word, i32x4.splat(first));
    pending &= ~i32x4.bitmask(same);
    const place = load<i32>(places + (<usize>first << 2));
    const best = nearest(lists + <usize>(-1 - place), grid);
    const found = i32x4(
      load<u16>(grid + <usize>i32x4.extract_lane(best, 0), 8),
      load<u16>(grid + <usize>i32x4.extract_lane(best, 1), 8),
      load<u16>(grid + <usize>i32x4.extract_lane(best, 2), 8),
      load<u16>(grid + <usize>i32x4.extract_lane(best, 3), 8),
    );
    result = v128.bitselect(found, result, same);
  } while (pending != 0);
  return result;
}

/** Rounds groups `first` to `end` − 1 at the four scales of SCALE and INVERSE; words to row `vector` of WORDS, flags to ON_GRID. */
export function choose4(
  vector: usize,
  groups: usize,
  first: usize,
  end: usize,
  places: usize,
  lists: usize,
  grid: usize,
): void {
  const inverse = v128.load(INVERSE);
  const scale = v128.load(SCALE);
  for (let g = first; g < end; g++) {
    const at = g << 4;
    const row = vector * groups + g;
    const word = round(X + at, inverse);
    v128.store(WORDS + (row << 4), snap(at, word, scale, ON_GRID + (row << 2), places, lists, grid));
  }
}

/** Σ w·x·q and Σ w·q² of row `vector`, from the first value on. */
export function sum4(vector: usize, groups: usize): void {
  let product = f32x4.splat(0);
  let square = f32x4.splat(0);
  const one = i32x4.splat(1);
  const mask = i32x4.splat(14);
  for (let g: usize = 0; g < groups; g++) {
    const word = i32x4.shl(v128.load(WORDS + ((vector * groups + g) << 4)), 1);
    const at = g << 4;
    let q: v128;
    let w: v128;
    q = f32x4.convert_i32x4_s(v128.or(v128.and(word, mask), one));
    w = v128.load32_splat(W + at);
    product = f32x4.add(product, f32x4.mul(v128.load32_splat(WX + at), q));
    square = f32x4.add(square, f32x4.mul(f32x4.mul(w, q), q));
    q = f32x4.convert_i32x4_s(v128.or(v128.and(i32x4.shr_u(word, 3), mask), one));
    w = v128.load32_splat(W + at, 4);
    product = f32x4.add(product, f32x4.mul(v128.load32_splat(WX + at, 4), q));
    square = f32x4.add(square, f32x4.mul(f32x4.mul(w, q), q));
    q = f32x4.convert_i32x4_s(v128.or(v128.and(i32x4.shr_u(word, 6), mask), one));
    w = v128.load32_splat(W + at, 8);
    product = f32x4.add(product, f32x4.mul(v128.load32_splat(WX + at, 8), q));
    square = f32x4.add(square, f32x4.mul(f32x4.mul(w, q), q));
    q = f32x4.convert_i32x4_s(v128.or(v128.and(i32x4.shr_u(word, 9), mask), one));
    w = v128.load32_splat(W + at, 12);
    product = f32x4.add(product, f32x4.mul(v128.load32_splat(WX + at, 12), q));
    square = f32x4.add(square, f32x4.mul(f32x4.mul(w, q), q));
  }
  v128.store(PRODUCT + (vector << 4), product);
  v128.store(SQUARE + (vector << 4), square);
}
