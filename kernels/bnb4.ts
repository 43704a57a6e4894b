/**
 * bitsandbytes 4-bit codes (reference: src/kernels/reference/bnb4.ts): one code a byte. The code counts the thresholds
 * strictly below x; every comparison yields −1, so subtracting the masks counts. FP4 counts on |x| and maps the count to
 * its code with a byte swizzle. Blocks with non-finite values or reciprocals are flagged for the reference.
 */

import { allFinite } from './vectors';

// @ts-ignore: decorator
@inline
function below(count: v128, x: v128, threshold: f32): v128 {
  return i32x4.sub(count, f32x4.gt(x, f32x4.splat(threshold)));
}

// @ts-ignore: decorator
@inline
function nf4(x: v128): v128 {
  let n = below(i32x4.splat(0), x, -0.8480964004993439);
  n = below(n, x, -0.6106329262256622);
  n = below(n, x, -0.4599952697753906);
  n = below(n, x, -0.33967943489551544);
  n = below(n, x, -0.23460740596055984);
  n = below(n, x, -0.13791173323988914);
  n = below(n, x, -0.045525018125772476);
  n = below(n, x, 0.03979014977812767);
  n = below(n, x, 0.1202552504837513);
  n = below(n, x, 0.2035212516784668);
  n = below(n, x, 0.2920137718319893);
  n = below(n, x, 0.3893125355243683);
  n = below(n, x, 0.5016634166240692);
  n = below(n, x, 0.6427869200706482);
  return below(n, x, 0.8614784181118011);
}

// @ts-ignore: decorator
@inline
function fp4(x: v128): v128 {
  const a = f32x4.abs(x);
  let n = below(i32x4.splat(0), a, 0.00260417);
  n = below(n, a, 0.0859375);
  n = below(n, a, 0.20833333);
  n = below(n, a, 0.29166667);
  n = below(n, a, 0.4166667);
  n = below(n, a, 0.583333);
  n = below(n, a, 0.8333333);
  return i32x4.add(n, v128.and(f32x4.lt(x, f32x4.splat(0)), i32x4.splat(8)));
}

// @ts-ignore: decorator
@inline
function encode(from: usize, to: usize, size: i32, r: v128, normal: bool): void {
  for (const end = from + (<usize>size << 2); from < end; from += 64, to += 16) {
    const x0 = f32x4.mul(v128.load(from), r);
    const x1 = f32x4.mul(v128.load(from, 16), r);
    const x2 = f32x4.mul(v128.load(from, 32), r);
    const x3 = f32x4.mul(v128.load(from, 48), r);
    if (normal) {
      const ab = i16x8.narrow_i32x4_u(nf4(x0), nf4(x1));
      v128.store(to, i8x16.narrow_i16x8_u(ab, i16x8.narrow_i32x4_u(nf4(x2), nf4(x3))));
    } else {
      const ab = i16x8.narrow_i32x4_u(fp4(x0), fp4(x1));
      const counts = i8x16.narrow_i16x8_u(ab, i16x8.narrow_i32x4_u(fp4(x2), fp4(x3)));
      v128.store(to, i8x16.swizzle(i8x16(0, 1, 6, 7, 4, 5, 2, 3, 8, 9, 14, 15, 12, 13, 10, 11), counts));
    }
  }
}

/** `blocks` whole blocks of `size` (a multiple of 16) values; one flag byte for each. Returns how many were flagged. */
export function bnb4(values: usize, blocks: i32, size: i32, normal: i32, codes: usize, absmax: usize, flags: usize): i32 {
  let flagged = 0;
  for (let block = 0; block < blocks; block++, codes += size, absmax += 4) {
    const from = values;
    const end = from + (<usize>size << 2);
    values = end;
    let m0 = f32x4.splat(0);
    let m1 = m0;
    let s0 = m0;
    let s1 = m0;
    for (let p = from; p < end; p += 32) {
      const a = f32x4.abs(v128.load(p));
      const b = f32x4.abs(v128.load(p, 16));
      m0 = f32x4.pmax(m0, a);
      m1 = f32x4.pmax(m1, b);
      s0 = f32x4.add(s0, a);
      s1 = f32x4.add(s1, b);
    }
    m0 = f32x4.pmax(m0, m1);
    m0 = f32x4.pmax(m0, v128.shuffle<i32>(m0, m0, 2, 3, 0, 1));
    const largest = max(f32x4.extract_lane(m0, 0), f32x4.extract_lane(m0, 1));
    const r: f32 = largest == 0 ? 0 : <f32>1 / largest;
    if (!allFinite(s0) || !allFinite(s1) || r - r != 0) {
      store<u8>(flags + block, 1);
      flagged++;
      continue;
    }
    store<f32>(absmax, largest);
    if (normal) encode(from, codes, size, f32x4.splat(r), true);
    else encode(from, codes, size, f32x4.splat(r), false);
  }
  return flagged;
}
