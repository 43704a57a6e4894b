/**
 * The scale of the best unsigned quantizer of a sub-block (codes 0…4), with which IQ2_XXS begins: nine scales around
 * 4 / max by weighted squared error, then up to five rounds of coordinate descent on (Σ w·x·l)² / Σ w·l².
 *
 * Values may be negative here (a sign was flipped for parity). Codes are stored in bytes and only bounded above, so a
 * negative code wraps to a large one where it is read back: ggml computes so, and its bytes depend on it.
 */

import { nearestInt } from './rounding.ts';

const f = Math.fround;
const LAST = 4;
const TENTH = f(0.1);
const LEAST = f(1e-15);

const codes = new Uint8Array(32);

/**
 * @param x - 32 values
 * @param w - their weights
 * @returns the scale, 0 where there is none
 */
export function fittedScale(x: Float32Array, w: Float32Array): number {
  let max = 0;
  for (const value of x) if (!(max > value)) max = value;
  if (max < LEAST) return 0;
  let inverse = f(LAST / max);
  for (let i = 0; i < 32; i++) codes[i] = nearestInt(f(inverse * x[i]!));
  const scale = f(1 / inverse);
  let least = 0;
  for (let i = 0; i < 32; i++) {
    const d = f(x[i]! - f(scale * codes[i]!));
    least = f(least + f(f(w[i]! * d) * d));
  }
  for (let k = -4; k <= 4; k++) {
    if (k === 0) continue;
    const tried = f(f(f(TENTH * k) + LAST) / max);
    const triedScale = f(1 / tried);
    let error = 0;
    for (let i = 0; i < 32; i++) {
      const l = Math.min(LAST, nearestInt(f(tried * x[i]!)));
      const d = f(x[i]! - f(triedScale * l));
      error = f(error + f(f(w[i]! * d) * d));
    }
    if (error < least) {
      least = error;
      inverse = tried;
    }
  }
  let product = 0;
  let square = 0;
  for (let i = 0; i < 32; i++) {
    const l = Math.min(LAST, nearestInt(f(inverse * x[i]!)));
    codes[i] = l;
    product = f(product + f(f(w[i]! * x[i]!) * l));
    square = f(square + f(f(w[i]! * l) * l));
  }
  for (let round = 0; round < 5; round++) {
    let changed = false;
    for (let i = 0; i < 32; i++) {
      const l = codes[i]!;
      const wx = f(w[i]! * x[i]!);
      let p = f(product - f(wx * l));
      let s = f(square - f(f(w[i]! * l) * l));
      if (!(p > 0 && s > 0)) continue;
      const next = Math.min(LAST, nearestInt(f(f(x[i]! * s) / p)));
      if (next === l) continue;
      p = f(p + f(wx * next));
      s = f(s + f(f(w[i]! * next) * next));
      if (f(f(p * p) * square) > f(f(product * product) * s)) {
        codes[i] = next;
        product = p;
        square = s;
        changed = true;
      }
    }
    if (!changed) break;
  }
  return square > 0 ? f(product / square) : 0;
}
