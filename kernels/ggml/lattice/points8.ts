/**
 * Groups of eight values with three levels as words, four candidate scales at a time: rounding, choosing among neighbours, sums
 * over a sub-block.
 *
 * A component's error takes one value for each level, so all 24 are computed first, and a neighbour's error is 8 loads and
 * 7 additions in the order of the components. Lanes
 * whose word is a point's are done; the others share a search wherever their words are equal, which neighbouring scales' mostly
 * are. Tables (src/kernels/ggml/lattice/tables.ts): `places` by word: the point's index, or −1 − the address of a list relative
 * to `lists`; a list is two counts, then offsets of records in `grid`: those that are enough where no value lies near the border
 * of two levels, then all (tables.ts says why); a record is the 8 levels times 16, a byte each, and at byte 8 the point's word.
 */

import { levelOf, rest, ROUNDING, scaled, term } from './levels';
import { INVERSE, LANES, ON_GRID, PRODUCT, REACH, REST, ROOT, SCALE, SQUARE, TERMS, W, WORDS, WX, X } from './scratch';

/** Words of the group at `x`; the farthest rest is left in REST. */
// @ts-ignore: decorator
@inline
function round(x: usize, inverse: v128): v128 {
  const rounding = f32x4.splat(ROUNDING);
  let most = f32x4.splat(0);
  let word = i32x4.splat(0);
  let y: v128;
  let sum: v128;
  y = scaled(v128.load32_splat(x), inverse);
  sum = f32x4.add(y, rounding);
  most = rest(most, y, sum);
  word = v128.or(word, levelOf(sum, 2));
  y = scaled(v128.load32_splat(x, 4), inverse);
  sum = f32x4.add(y, rounding);
  most = rest(most, y, sum);
  word = v128.or(word, i32x4.shl(levelOf(sum, 2), 2));
  y = scaled(v128.load32_splat(x, 8), inverse);
  sum = f32x4.add(y, rounding);
  most = rest(most, y, sum);
  word = v128.or(word, i32x4.shl(levelOf(sum, 2), 4));
  y = scaled(v128.load32_splat(x, 12), inverse);
  sum = f32x4.add(y, rounding);
  most = rest(most, y, sum);
  word = v128.or(word, i32x4.shl(levelOf(sum, 2), 6));
  y = scaled(v128.load32_splat(x, 16), inverse);
  sum = f32x4.add(y, rounding);
  most = rest(most, y, sum);
  word = v128.or(word, i32x4.shl(levelOf(sum, 2), 8));
  y = scaled(v128.load32_splat(x, 20), inverse);
  sum = f32x4.add(y, rounding);
  most = rest(most, y, sum);
  word = v128.or(word, i32x4.shl(levelOf(sum, 2), 10));
  y = scaled(v128.load32_splat(x, 24), inverse);
  sum = f32x4.add(y, rounding);
  most = rest(most, y, sum);
  word = v128.or(word, i32x4.shl(levelOf(sum, 2), 12));
  y = scaled(v128.load32_splat(x, 28), inverse);
  sum = f32x4.add(y, rounding);
  most = rest(most, y, sum);
  word = v128.or(word, i32x4.shl(levelOf(sum, 2), 14));
  v128.store(REST, most);
  return word;
}

// @ts-ignore: decorator
@inline
function terms(at: usize, scale: v128): void {
  const q1 = scale;
  const q3 = f32x4.mul(scale, f32x4.splat(3));
  const q5 = f32x4.mul(scale, f32x4.splat(5));
  for (let i: usize = 0, t = TERMS; i < 32; i += 4, t += 48) {
    const x = v128.load32_splat(X + at + i);
    const root = v128.load32_splat(ROOT + at + i);
    v128.store(t, term(root, x, q1));
    v128.store(t, term(root, x, q3), 16);
    v128.store(t, term(root, x, q5), 32);
  }
}

/** Offsets of the best records of a list, for four candidates. */
// @ts-ignore: decorator
@inline
function nearest(list: usize, grid: usize, few: bool): v128 {
  const middle = list + 4 + (<usize>load<u16>(list) << 1);
  const start = few ? list + 4 : middle;
  const end = few ? middle : middle + (<usize>load<u16>(list, 2) << 1);
  let best = i32x4.splat(load<u16>(start));
  let least = f32x4.splat(f32.MAX_VALUE);
  for (let p = start; p < end; p += 2) {
    const offset = <usize>load<u16>(p);
    const record = grid + offset;
    let error = v128.load(TERMS + <usize>load<u8>(record));
    error = f32x4.add(error, v128.load(TERMS + <usize>load<u8>(record, 1), 48));
    error = f32x4.add(error, v128.load(TERMS + <usize>load<u8>(record, 2), 96));
    error = f32x4.add(error, v128.load(TERMS + <usize>load<u8>(record, 3), 144));
    error = f32x4.add(error, v128.load(TERMS + <usize>load<u8>(record, 4), 192));
    error = f32x4.add(error, v128.load(TERMS + <usize>load<u8>(record, 5), 240));
    error = f32x4.add(error, v128.load(TERMS + <usize>load<u8>(record, 6), 288));
    error = f32x4.add(error, v128.load(TERMS + <usize>load<u8>(record, 7), 336));
    const less = f32x4.lt(error, least);
    best = v128.bitselect(i32x4.splat(<i32>offset), best, less);
    least = v128.bitselect(error, least, less);
  }
  return best;
}

/**
 * Words of points for the words of the group whose values begin `at` bytes into X. `safe`: lanes for which few neighbours are
 * enough; `flags` takes which lanes' words were a point's.
 */
function snap(
  at: usize,
  word: v128,
  scale: v128,
  safe: i32,
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
    const lanes = i32x4.bitmask(same);
    pending &= ~lanes;
    const place = load<i32>(places + (<usize>first << 2));
    const best = nearest(lists + <usize>(-1 - place), grid, (lanes & ~safe) == 0);
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

/** Lanes whose levels are within what rounding by a sum can give, and whose scale is a normal number with room. */
// @ts-ignore: decorator
@inline
function usualScales(inverse: v128, scale: v128): v128 {
  const reach = f32x4.mul(f32x4.splat(load<f32>(REACH)), inverse);
  const normal = v128.and(f32x4.gt(scale, f32x4.splat(1e-30)), f32x4.lt(scale, f32x4.splat(1e30)));
  return v128.and(f32x4.lt(reach, f32x4.splat(1e6)), normal);
}

/** Rounds groups `first` to `end` − 1 at the four scales of SCALE and INVERSE; words to row `vector` of WORDS, flags to ON_GRID. */
export function choose8(
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
  const usual = usualScales(inverse, scale);
  for (let g = first; g < end; g++) {
    const at = g << 5;
    const row = vector * groups + g;
    const word = round(X + at, inverse);
    const safe = i32x4.bitmask(v128.and(usual, f32x4.lt(v128.load(REST), f32x4.splat(0.999))));
    v128.store(WORDS + (row << 4), snap(at, word, scale, safe, ON_GRID + (row << 2), places, lists, grid));
  }
}

/** Σ w·x·q and Σ w·q² of row `vector`, from the first value on. */
export function sum8(vector: usize, groups: usize): void {
  let product = f32x4.splat(0);
  let square = f32x4.splat(0);
  const one = i32x4.splat(1);
  const mask = i32x4.splat(6);
  for (let g: usize = 0; g < groups; g++) {
    const word = i32x4.shl(v128.load(WORDS + ((vector * groups + g) << 4)), 1);
    const at = g << 5;
    let q: v128;
    let w: v128;
    q = f32x4.convert_i32x4_s(v128.or(v128.and(word, mask), one));
    w = v128.load32_splat(W + at);
    product = f32x4.add(product, f32x4.mul(v128.load32_splat(WX + at), q));
    square = f32x4.add(square, f32x4.mul(f32x4.mul(w, q), q));
    q = f32x4.convert_i32x4_s(v128.or(v128.and(i32x4.shr_u(word, 2), mask), one));
    w = v128.load32_splat(W + at, 4);
    product = f32x4.add(product, f32x4.mul(v128.load32_splat(WX + at, 4), q));
    square = f32x4.add(square, f32x4.mul(f32x4.mul(w, q), q));
    q = f32x4.convert_i32x4_s(v128.or(v128.and(i32x4.shr_u(word, 4), mask), one));
    w = v128.load32_splat(W + at, 8);
    product = f32x4.add(product, f32x4.mul(v128.load32_splat(WX + at, 8), q));
    square = f32x4.add(square, f32x4.mul(f32x4.mul(w, q), q));
    q = f32x4.convert_i32x4_s(v128.or(v128.and(i32x4.shr_u(word, 6), mask), one));
    w = v128.load32_splat(W + at, 12);
    product = f32x4.add(product, f32x4.mul(v128.load32_splat(WX + at, 12), q));
    square = f32x4.add(square, f32x4.mul(f32x4.mul(w, q), q));
    q = f32x4.convert_i32x4_s(v128.or(v128.and(i32x4.shr_u(word, 8), mask), one));
    w = v128.load32_splat(W + at, 16);
    product = f32x4.add(product, f32x4.mul(v128.load32_splat(WX + at, 16), q));
    square = f32x4.add(square, f32x4.mul(f32x4.mul(w, q), q));
    q = f32x4.convert_i32x4_s(v128.or(v128.and(i32x4.shr_u(word, 10), mask), one));
    w = v128.load32_splat(W + at, 20);
    product = f32x4.add(product, f32x4.mul(v128.load32_splat(WX + at, 20), q));
    square = f32x4.add(square, f32x4.mul(f32x4.mul(w, q), q));
    q = f32x4.convert_i32x4_s(v128.or(v128.and(i32x4.shr_u(word, 12), mask), one));
    w = v128.load32_splat(W + at, 24);
    product = f32x4.add(product, f32x4.mul(v128.load32_splat(WX + at, 24), q));
    square = f32x4.add(square, f32x4.mul(f32x4.mul(w, q), q));
    q = f32x4.convert_i32x4_s(v128.or(v128.and(i32x4.shr_u(word, 14), mask), one));
    w = v128.load32_splat(W + at, 28);
    product = f32x4.add(product, f32x4.mul(v128.load32_splat(WX + at, 28), q));
    square = f32x4.add(square, f32x4.mul(f32x4.mul(w, q), q));
  }
  v128.store(PRODUCT + (vector << 4), product);
  v128.store(SQUARE + (vector << 4), square);
}
