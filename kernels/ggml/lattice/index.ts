/**
 * Exports of the lattice module: decoders (decode.ts), and the encoders' search of the lattice types (src/kernels/ggml/lattice): for each block of 256 values the sub-blocks' scales, points
 * and signs. Packing into blocks is left to TypeScript: it is a hundredth of the work.
 *
 * A result has 256 bytes: f32[16] scales (−1 for a sub-block stored as zeros), then at 64 u16[64] indices of points, at 192
 * u8[32] signs. One function per type, so that constants are known to the compiler.
 */

import { fittedScale } from './fitted';
import { choose4, sum4 } from './points4';
import { choose8, sum8 } from './points8';
import { prepare, squares } from './prepare';
import { BEST, INVERSE, ON_GRID, PRODUCT, SCALE, SIGNS, SQUARE, WORDS } from './scratch';

export { decode_iq2_s, decode_iq2_xs, decode_iq2_xxs, decode_iq3_s, decode_iq3_xxs } from './decode';

const RESULT: usize = 256;
const INDICES: usize = 64;
const SIGN_BYTES: usize = 192;

const ALWAYS = 0;
const ALL = 1;
const OFF_GRID = 2;

/** Sub-block's words chosen anew with the best scale; the scale that fits them. */
// @ts-ignore: decorator
@inline
function refine(
  dimensions: i32,
  groups: usize,
  which: i32,
  on: i32,
  scale: f32,
  places: usize,
  lists: usize,
  grid: usize,
): f32 {
  v128.store(INVERSE, f32x4.splat(f32(1) / scale));
  v128.store(SCALE, f32x4.splat(scale));
  for (let g: usize = 0; g < groups; g++) {
    if (which == OFF_GRID && ((on >> <i32>g) & 1) != 0) {
      v128.store(WORDS + (g << 4), i32x4.splat(load<i32>(BEST + (g << 2))));
      continue;
    }
    if (dimensions == 8) choose8(0, groups, g, g + 1, places, lists, grid);
    else choose4(0, groups, g, g + 1, places, lists, grid);
    store<i32>(BEST + (g << 2), load<i32>(WORDS + (g << 4)));
  }
  if (dimensions == 8) sum8(0, groups);
  else sum4(0, groups);
  const square = load<f32>(SQUARE);
  return square > 0 ? load<f32>(PRODUCT) / square : scale;
}

/** Encodes the sub-block that `prepare` left in the scratch; words to BEST. Returns its scale. */
// @ts-ignore: decorator
@inline
function search(
  dimensions: i32,
  groups: usize,
  steps: i32,
  step: f32,
  which: i32,
  reference: f32,
  guess: f32,
  places: usize,
  lists: usize,
  grid: usize,
): f32 {
  const count = 2 * steps + 1;
  const vectors = <usize>((count + 3) >> 2);
  const top: f32 = dimensions == 8 ? 5 : 15;
  let k = f32x4.add(f32x4.splat(<f32>-steps), f32x4(0, 1, 2, 3));
  for (let v: usize = 0; v < vectors; v++) {
    // Lanes beyond the last candidate repeat it.
    const own = f32x4.min(k, f32x4.splat(<f32>steps));
    const inverse = f32x4.div(
      f32x4.add(f32x4.splat(top), f32x4.mul(own, f32x4.splat(step))),
      f32x4.splat(reference),
    );
    v128.store(INVERSE, inverse);
    v128.store(SCALE, f32x4.div(f32x4.splat(1), inverse));
    if (dimensions == 8) {
      choose8(v, groups, 0, groups, places, lists, grid);
      sum8(v, groups);
    } else {
      choose4(v, groups, 0, groups, places, lists, grid);
      sum4(v, groups);
    }
    k = f32x4.add(k, f32x4.splat(4));
  }
  let scale = guess;
  let most: f32 = 0;
  let winner = -1;
  for (let c = 0; c < count; c++) {
    const product = load<f32>(PRODUCT + (<usize>c << 2));
    const square = load<f32>(SQUARE + (<usize>c << 2));
    if (square > 0 && product * product > most * square) {
      scale = product / square;
      most = scale * product;
      winner = c;
    }
  }
  const all = (1 << <i32>groups) - 1;
  let on = which == ALL ? 0 : all;
  if (winner < 0) {
    for (let g: usize = 0; g < groups; g++) store<i32>(BEST + (g << 2), 0);
  } else {
    on = 0;
    const row = <usize>(winner >> 2) * groups;
    const lane = winner & 3;
    for (let g: usize = 0; g < groups; g++) {
      store<i32>(BEST + (g << 2), load<i32>(WORDS + ((row + g) << 4) + (<usize>lane << 2)));
      on |= ((load<i32>(ON_GRID + ((row + g) << 2)) >> lane) & 1) << <i32>g;
    }
  }
  if ((which == ALWAYS || on != all) && scale > 0) {
    scale = refine(dimensions, groups, which, on, scale, places, lists, grid);
  }
  return scale;
}

// @ts-ignore: decorator
@inline
function encode(
  dimensions: i32,
  subBlock: i32,
  steps: i32,
  step: f32,
  evenSigns: bool,
  doubled: bool,
  withSpread: bool,
  least: f32,
  fitted: bool,
  which: i32,
  values: usize,
  importance: usize,
  blocks: i32,
  results: usize,
  places: usize,
  lists: usize,
  grid: usize,
): void {
  const groups = <usize>(subBlock / dimensions);
  const bytes = <usize>subBlock << 2;
  const subBlocks = 256 / subBlock;
  const mask = evenSigns ? 127 : 255;
  for (; blocks > 0; blocks--) {
    let spread = squares(values);
    if (doubled) spread *= 2;
    spread /= 256;
    memory.fill(results, 0, RESULT);
    for (let sub = 0; sub < subBlocks; sub++) {
      const max = prepare(values, importance, spread, withSpread, evenSigns, bytes);
      values += bytes;
      if (importance != 0) importance += bytes;
      const at = results + (<usize>sub << 2);
      store<f32>(at, -1);
      if (max < least) continue;
      let reference = max;
      let guess: f32;
      if (fitted) {
        guess = fittedScale(max);
        reference = guess * 3;
        if (reference <= 0) continue;
      } else guess = max / <f32>(dimensions == 8 ? 5 : 15);
      let scale = search(dimensions, groups, steps, step, which, reference, guess, places, lists, grid);
      let flip = 0;
      if (scale < 0) {
        scale = -scale;
        flip = mask;
      }
      store<f32>(at, scale);
      for (let g: usize = 0; g < groups; g++) {
        const place = load<i32>(places + (<usize>load<i32>(BEST + (g << 2)) << 2));
        store<u16>(results + INDICES + ((<usize>sub * groups + g) << 1), <u16>place);
      }
      const eights = bytes >> 5;
      for (let e: usize = 0; e < eights; e++) {
        store<u8>(results + SIGN_BYTES + <usize>sub * eights + e, <u8>(load<u8>(SIGNS + e) ^ flip));
      }
    }
    results += RESULT;
  }
}

export function search_iq2_xxs(values: usize, importance: usize, blocks: i32, results: usize, places: usize, lists: usize, grid: usize): void {
  encode(8, 32, 6, 0.1, true, false, false, 1e-15, true, ALWAYS, values, importance, blocks, results, places, lists, grid);
}

export function search_iq2_xs(values: usize, importance: usize, blocks: i32, results: usize, places: usize, lists: usize, grid: usize): void {
  encode(8, 16, 9, 0.1, true, false, false, 1e-15, false, OFF_GRID, values, importance, blocks, results, places, lists, grid);
}

export function search_iq2_s(values: usize, importance: usize, blocks: i32, results: usize, places: usize, lists: usize, grid: usize): void {
  encode(8, 16, 9, 0.1, false, true, true, 1e-8, false, OFF_GRID, values, importance, blocks, results, places, lists, grid);
}

export function search_iq3_xxs(values: usize, importance: usize, blocks: i32, results: usize, places: usize, lists: usize, grid: usize): void {
  encode(4, 32, 15, 0.2, true, true, false, 1e-8, false, OFF_GRID, values, importance, blocks, results, places, lists, grid);
}

export function search_iq3_s(values: usize, importance: usize, blocks: i32, results: usize, places: usize, lists: usize, grid: usize): void {
  encode(4, 32, 9, 0.2, false, true, false, reinterpret<f32>(1), false, ALL, values, importance, blocks, results, places, lists, grid);
}
