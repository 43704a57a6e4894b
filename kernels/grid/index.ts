/**
 * Exports of the module for grids (src/kernels/grid): each call takes one group of columns of up to eight rows, brings it into
 * lanes, finds the grid of each and writes codes, scales and zeros. Rows lie `stride` values apart, scales and zeros `groups`.
 */

import { gather, INVERSE, reciprocal, SCALE, scatterCodes, SHIFT, ZERO } from './group';
import { halfQuadraticFrame, searchRealFrame } from './real';
import { searchFrame } from './search';

const GRID: usize = memory.data(160, 16);
const SCRATCH: usize = memory.data(32, 16);

function write(frame: usize, count: i32, rows: i32, stride: usize, bits: i32, codes: usize, scales: usize, zeros: usize, groups: usize): void {
  for (let r: usize = 0; r < <usize>rows; r++) {
    store<f32>(scales + ((r * groups) << 2), load<f32>(GRID + (r << 2), SCALE));
    store<f32>(zeros + ((r * groups) << 2), load<f32>(GRID + (r << 2), ZERO));
  }
  scatterCodes(frame, count, GRID, bits, codes, stride, rows, SCRATCH);
}

/** @param importance - of the columns, or 0; @param frame - room for 32 bytes a column */
export function search(
  values: usize,
  stride: usize,
  rows: i32,
  count: i32,
  bits: i32,
  symmetric: i32,
  half: i32,
  importance: usize,
  factors: usize,
  points: i32,
  reach: i32,
  refits: i32,
  mu: f32,
  real: i32,
  codes: usize,
  scales: usize,
  zeros: usize,
  groups: usize,
  frame: usize,
): void {
  gather(values, stride << 2, rows, count, frame);
  if (real != 0) {
    searchRealFrame(frame, count, importance, bits, half != 0, factors, points, reach, refits, mu, GRID);
    gather(values, stride << 2, rows, count, frame);
  } else {
    searchFrame(frame, count, importance, bits, symmetric != 0, half != 0, factors, points, reach, refits, mu, GRID);
  }
  write(frame, count, rows, stride, bits, codes, scales, zeros, groups);
}

/** @returns 1 where the groups are left to the definition */
export function halfQuadratic(
  values: usize,
  stride: usize,
  rows: i32,
  count: i32,
  bits: i32,
  half: i32,
  iterations: i32,
  roundStart: i32,
  limit: f32,
  codes: usize,
  scales: usize,
  zeros: usize,
  groups: usize,
  frame: usize,
): i32 {
  gather(values, stride << 2, rows, count, frame);
  if (halfQuadraticFrame(frame, count, bits, half != 0, iterations, roundStart != 0, limit, GRID)) return 1;
  write(frame, count, rows, stride, bits, codes, scales, zeros, groups);
  return 0;
}

/** Codes of the scales and zeros that are there. */
export function encode(values: usize, stride: usize, rows: i32, count: i32, bits: i32, codes: usize, scales: usize, zeros: usize, groups: usize, frame: usize): void {
  gather(values, stride << 2, rows, count, frame);
  for (let r: usize = 0; r < 8; r++) {
    const row = min<usize>(r, <usize>(rows - 1)) * groups;
    store<f32>(GRID + (r << 2), load<f32>(scales + (row << 2)), SCALE);
    store<f32>(GRID + (r << 2), load<f32>(zeros + (row << 2)), ZERO);
  }
  for (let at: usize = 0; at < 32; at += 16) {
    v128.store(GRID + at, reciprocal(v128.load(GRID + at, SCALE)), INVERSE);
    v128.store(GRID + at, v128.load(GRID + at, ZERO), SHIFT);
  }
  write(frame, count, rows, stride, bits, codes, scales, zeros, groups);
}
