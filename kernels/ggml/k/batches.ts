/**
 * With importance, eight super-blocks go together: their variances and the searches over their scales run one in each lane.
 * A batch keeps what the search of every sub-block found until the scales of all eight are known.
 */

import { BASE, INVERSE } from '../../searches';

/** Super-blocks of a batch. */
// @ts-ignore: decorator
@inline
export const BATCH = 8;

/** σ² of the batch. */
export const VARIANCES: usize = memory.data(32, 16);
/** Weights of one super-block. */
export const WEIGHTS: usize = memory.data(1024, 16);
/** Codes of one super-block. */
export const CODES: usize = memory.data(256, 16);
/** Of each super-block sixteen reciprocals, then sixteen bases: what gives the search's codes again. */
const FOUND: usize = memory.data(8 * 128, 16);

/** Keeps a frame's INVERSE and BASE as those of sub-blocks `first` … of super-block b. */
export function keepFound(frame: usize, b: i32, first: i32): void {
  const to = FOUND + (<usize>b << 7) + (<usize>first << 2);
  memory.copy(to, frame + INVERSE, 32);
  memory.copy(to + 64, frame + BASE, 32);
}

// @ts-ignore: decorator
@inline
export function foundInverse(b: i32, j: i32): f32 {
  return load<f32>(FOUND + (<usize>b << 7) + (<usize>j << 2));
}

// @ts-ignore: decorator
@inline
export function foundBase(b: i32, j: i32): f32 {
  return load<f32>(FOUND + (<usize>b << 7) + (<usize>j << 2), 64);
}

/** Eight f32 of a frame's results to lane b of elements `first` … of a plane. */
export function toLane(results: usize, plane: usize, b: i32, first: i32): void {
  const to = plane + (<usize>b << 2) + (<usize>first << 5);
  for (let j: usize = 0; j < 8; j++) store<f32>(to + (j << 5), load<f32>(results + (j << 2)));
}

/** Lane b of element j of a plane. */
// @ts-ignore: decorator
@inline
export function laneOf(plane: usize, b: i32, j: i32): f32 {
  return load<f32>(plane + (<usize>b << 2) + (<usize>j << 5));
}
