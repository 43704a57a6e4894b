/**
 * IQ2_XXS' first guess: the scale of the best unsigned quantizer to codes 0…4 of 32 values (fitted-scale.ts of the definition).
 * The eight scales besides the first are tried in lanes; the coordinate descent is sequential by nature.
 */

import { nearestInteger, nearestLanes } from '../../block-scales';
import { CODES, LANES, W, WX, X } from './scratch';

/** Squared errors of four scales 4/max·(…), k from `first` on. */
// @ts-ignore: decorator
@inline
function tried(k: v128, max: f32): v128 {
  return f32x4.div(f32x4.add(f32x4.mul(f32x4.splat(0.1), k), f32x4.splat(4)), f32x4.splat(max));
}

// @ts-ignore: decorator
@inline
function errors(inverse: v128): v128 {
  const scale = f32x4.div(f32x4.splat(1), inverse);
  let error = f32x4.splat(0);
  for (let i: usize = 0; i < 128; i += 4) {
    const x = v128.load32_splat(X + i);
    const l = i32x4.min_s(nearestLanes(f32x4.mul(inverse, x)), i32x4.splat(4));
    const d = f32x4.sub(x, f32x4.mul(scale, f32x4.convert_i32x4_s(l)));
    error = f32x4.add(error, f32x4.mul(f32x4.mul(v128.load32_splat(W + i), d), d));
  }
  return error;
}

/** @param max - the largest value, if positive */
export function fittedScale(max: f32): f32 {
  if (max < f32(1e-15)) return 0;
  let inverse: f32 = f32(4) / max;
  const scale: f32 = f32(1) / inverse;
  let least: f32 = 0;
  for (let i: usize = 0; i < 32; i++) {
    const x = load<f32>(X + (i << 2));
    // Codes pass through bytes: negative ones wrap.
    const l = nearestInteger(inverse * x) & 255;
    const d = x - scale * <f32>l;
    least += load<f32>(W + (i << 2)) * d * d;
  }
  let k = f32x4(-4, -3, -2, -1);
  for (let half = 0; half < 2; half++) {
    const inverses = tried(k, max);
    v128.store(LANES, errors(inverses));
    for (let lane = 0; lane < 4; lane++) {
      const error = load<f32>(LANES + (<usize>lane << 2));
      if (error < least) {
        least = error;
        inverse = (f32(0.1) * <f32>(half * 5 - 4 + lane) + f32(4)) / max;
      }
    }
    k = f32x4(1, 2, 3, 4);
  }
  let product: f32 = 0;
  let square: f32 = 0;
  for (let i: usize = 0; i < 32; i++) {
    const l = min(4, nearestInteger(inverse * load<f32>(X + (i << 2))));
    store<u8>(CODES + i, <u8>l);
    product += load<f32>(WX + (i << 2)) * <f32>l;
    square += load<f32>(W + (i << 2)) * <f32>l * <f32>l;
  }
  for (let round = 0; round < 5; round++) {
    let changed = false;
    for (let i: usize = 0; i < 32; i++) {
      const l = <i32>load<u8>(CODES + i);
      const w = load<f32>(W + (i << 2));
      const wx = load<f32>(WX + (i << 2));
      const f = <f32>l;
      let p = product - wx * f;
      let s = square - w * f * f;
      if (!(p > 0 && s > 0)) continue;
      const next = min(4, nearestInteger((load<f32>(X + (i << 2)) * s) / p));
      if (next == l) continue;
      const g = <f32>next;
      p += wx * g;
      s += w * g * g;
      if (p * p * square > product * product * s) {
        store<u8>(CODES + i, <u8>next);
        product = p;
        square = s;
        changed = true;
      }
    }
    if (!changed) break;
  }
  return square > 0 ? product / square : 0;
}
