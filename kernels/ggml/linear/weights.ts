/**
 * What the searches read: values and weights of several blocks, one block in each lane, and the sums of squares behind them.
 *
 * With importance a weight is importance · sqrt(σ² + x²). After the last block its values stand in the spare lanes.
 */

import { storeTransposed } from '../../vectors';
import { lane } from './lanes';

/** Of four blocks, 32 vectors each. */
export const VALUES: usize = memory.data(512, 16);
export const WEIGHTS: usize = memory.data(512, 16);

// @ts-ignore: decorator
@inline
export function blockAt(block: i32, blocks: i32): usize {
  return <usize>(block < blocks ? block : blocks - 1);
}

/** Four weights of one block. */
// @ts-ignore: decorator
@inline
export function weightsOf(values: usize, importance: usize, sigma2: v128): v128 {
  const x = v128.load(values);
  return f32x4.mul(v128.load(importance), f32x4.sqrt(f32x4.add(sigma2, f32x4.mul(x, x))));
}

/** Weights of four blocks of 32; `sigma2`: one for each, in its lane. */
// @ts-ignore: decorator
@inline
export function weigh(a: usize, b: usize, c: usize, d: usize, ia: usize, ib: usize, ic: usize, id: usize, sigma2: v128): void {
  const sa = lane(sigma2, 0);
  const sb = lane(sigma2, 1);
  const sc = lane(sigma2, 2);
  const sd = lane(sigma2, 3);
  let target = WEIGHTS;
  for (let j: usize = 0; j < 128; j += 16, target += 64) {
    storeTransposed(weightsOf(a + j, ia + j, sa), weightsOf(b + j, ib + j, sb), weightsOf(c + j, ic + j, sc), weightsOf(d + j, id + j, sd), target);
  }
}

/** The first value of largest magnitude, in each lane; +0 where all are 0. */
// @ts-ignore: decorator
@inline
export function firstExtreme(): v128 {
  let largest = f32x4.splat(0);
  let extreme = largest;
  for (let p = VALUES, end = VALUES + 512; p < end; p += 16) {
    const x = v128.load(p);
    const magnitude = f32x4.abs(x);
    extreme = v128.bitselect(x, extreme, f32x4.gt(magnitude, largest));
    largest = f32x4.pmax(largest, magnitude);
  }
  return extreme;
}

/** Squares of four runs of `count` (a multiple of 4) values, each summed in order onto its lane of `sum`. */
// @ts-ignore: decorator
@inline
export function addSquares(a: usize, b: usize, c: usize, d: usize, count: i32, sum: v128): v128 {
  for (const end = a + (<usize>count << 2); a < end; a += 16, b += 16, c += 16, d += 16) {
    const p = v128.load(a);
    const q = v128.load(b);
    const r = v128.load(c);
    const s = v128.load(d);
    const pq = v128.shuffle<i32>(p, q, 0, 4, 1, 5);
    const rs = v128.shuffle<i32>(r, s, 0, 4, 1, 5);
    const PQ = v128.shuffle<i32>(p, q, 2, 6, 3, 7);
    const RS = v128.shuffle<i32>(r, s, 2, 6, 3, 7);
    let x = v128.shuffle<i64>(pq, rs, 0, 2);
    sum = f32x4.add(sum, f32x4.mul(x, x));
    x = v128.shuffle<i64>(pq, rs, 1, 3);
    sum = f32x4.add(sum, f32x4.mul(x, x));
    x = v128.shuffle<i64>(PQ, RS, 0, 2);
    sum = f32x4.add(sum, f32x4.mul(x, x));
    x = v128.shuffle<i64>(PQ, RS, 1, 3);
    sum = f32x4.add(sum, f32x4.mul(x, x));
  }
  return sum;
}

/** Adds the squares of each row of `count` values to its f32 in `sums`. */
export function squareSums(values: usize, rows: i32, count: i32, sums: usize): void {
  const bytes = <usize>count << 2;
  let row = 0;
  for (; row + 4 <= rows; row += 4, values += bytes << 2, sums += 16) {
    v128.store(sums, addSquares(values, values + bytes, values + 2 * bytes, values + 3 * bytes, count, v128.load(sums)));
  }
  for (; row < rows; row++, values += bytes, sums += 4) {
    const sum = addSquares(values, values, values, values, count, f32x4.splat(load<f32>(sums)));
    store<f32>(sums, f32x4.extract_lane(sum, 0));
  }
}
