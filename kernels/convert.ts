/**
 * Float conversions on bit patterns, four lanes at once (definitions: src/core/floats.ts; NaN: the source's sign with the
 * target's quiet NaN).
 *
 * Encoding to a small float with m mantissa bits works on |x| as an integer: in the normal range add half a step (and the
 * odd bit, for ties to even) and shift; below it, adding a power of two lets the f32 adder round to the fixed spacing.
 */

// @ts-ignore: decorator
@inline
function encodeLanes(x: v128, shift: i32, rebias: v128, minNormal: v128, magic: v128, maxCode: v128, overflow: v128, nan: v128, sign: i32, keepZero: v128): v128 {
  const mag = v128.and(x, i32x4.splat(0x7fffffff));
  const half = i32x4.splat((1 << (shift - 1)) - 1);
  const odd = v128.and(i32x4.shr_u(mag, shift), i32x4.splat(1));
  const normal = i32x4.sub(i32x4.shr_u(i32x4.add(i32x4.add(mag, half), odd), shift), rebias);
  const tiny = i32x4.sub(f32x4.add(mag, magic), magic);
  let code = v128.bitselect(tiny, normal, i32x4.lt_s(mag, minNormal));
  code = v128.bitselect(overflow, code, i32x4.gt_s(code, maxCode));
  code = v128.bitselect(nan, code, i32x4.gt_s(mag, i32x4.splat(0x7f800000)));
  // Types without −0 keep the sign bit off a zero code; `keepZero` is all ones for the others.
  const signed = v128.or(keepZero, i32x4.ne(code, i32x4.splat(0)));
  return v128.or(code, v128.and(i32x4.shl(i32x4.shr_u(x, 31), sign), signed));
}

/**
 * f32 bits to codes of `elementBytes` bytes; `count` a multiple of 16. `minNormal`, `magic`: f32 bits of the smallest
 * normal value and of 2^(23 + exponent of the smallest positive value).
 */
export function encodeFloats(
  source: usize,
  count: usize,
  target: usize,
  elementBytes: i32,
  mantissaBits: i32,
  rebias: i32,
  minNormal: i32,
  magic: i32,
  maxCode: i32,
  overflow: i32,
  nan: i32,
  sign: i32,
  keepZero: i32,
): void {
  const shift = 23 - mantissaBits;
  const vb = i32x4.splat(rebias);
  const vm = i32x4.splat(minNormal);
  const vg = i32x4.splat(magic);
  const vc = i32x4.splat(maxCode);
  const vo = i32x4.splat(overflow);
  const vn = i32x4.splat(nan);
  const vk = i32x4.splat(keepZero);
  const end = source + (count << 2);
  for (let p = source; p < end; p += 64) {
    const a = encodeLanes(v128.load(p), shift, vb, vm, vg, vc, vo, vn, sign, vk);
    const b = encodeLanes(v128.load(p, 16), shift, vb, vm, vg, vc, vo, vn, sign, vk);
    const c = encodeLanes(v128.load(p, 32), shift, vb, vm, vg, vc, vo, vn, sign, vk);
    const d = encodeLanes(v128.load(p, 48), shift, vb, vm, vg, vc, vo, vn, sign, vk);
    const ab = i16x8.narrow_i32x4_u(a, b);
    const cd = i16x8.narrow_i32x4_u(c, d);
    if (elementBytes == 2) {
      v128.store(target, ab);
      v128.store(target, cd, 16);
      target += 32;
    } else {
      v128.store(target, i8x16.narrow_i16x8_u(ab, cd));
      target += 16;
    }
  }
}

/**
 * f16 codes to f32; `count` a multiple of 16. Returns how many are NaN or Inf.
 *
 * Almost all weights are normal numbers: sixteen of them at once are rebiased as 16-bit lanes, the upper and the lower halves
 * of the results apart, and interleaved.
 */
export function decodeHalf(source: usize, count: usize, target: usize): i32 {
  let nonFinite = 0;
  const end = source + (count << 1);
  for (let p = source; p < end; p += 32, target += 64) {
    const a = v128.load(p);
    const b = v128.load(p, 16);
    if (i16x8.all_true(i16x8.min_u(nextExponent(a), nextExponent(b)))) {
      normalHalves(a, target);
      normalHalves(b, target + 32);
    } else {
      nonFinite += specialHalves(a, target) + specialHalves(b, target + 32);
    }
  }
  return nonFinite;
}

/** 0 in lanes whose exponent is all zeros or all ones: one more is 0 or 1, modulo 32. */
// @ts-ignore: decorator
@inline
function nextExponent(h: v128): v128 {
  return v128.and(i16x8.add(h, i16x8.splat(0x400)), i16x8.splat(0x7800));
}

// @ts-ignore: decorator
@inline
function normalHalves(h: v128, target: usize): void {
  const upper = i16x8.add(v128.and(i16x8.shr_s(h, 3), i16x8.splat(<i16>0x8fff)), i16x8.splat(112 << 7));
  const lower = i16x8.shl(h, 13);
  v128.store(target, v128.shuffle<i16>(lower, upper, 0, 8, 1, 9, 2, 10, 3, 11));
  v128.store(target, v128.shuffle<i16>(lower, upper, 4, 12, 5, 13, 6, 14, 7, 15), 16);
}

function specialHalves(h: v128, target: usize): i32 {
  v128.store(target, halfLanes(i32x4.extend_low_i16x8_u(h)));
  v128.store(target, halfLanes(i32x4.extend_high_i16x8_u(h)), 16);
  const exponent = i16x8.splat(0x7c00);
  return popcnt(i16x8.bitmask(i16x8.eq(v128.and(h, exponent), exponent)));
}

// @ts-ignore: decorator
@inline
function halfLanes(h: v128): v128 {
  const sign = i32x4.shl(v128.and(h, i32x4.splat(0x8000)), 16);
  const mag = v128.and(h, i32x4.splat(0x7fff));
  let r = i32x4.add(i32x4.shl(mag, 13), i32x4.splat(112 << 23));
  // 0.5 has the spacing 2^-24, that of the subnormal halves.
  const tiny = f32x4.sub(v128.or(mag, f32x4.splat(0.5)), f32x4.splat(0.5));
  r = v128.bitselect(tiny, r, i32x4.lt_s(mag, i32x4.splat(0x400)));
  r = v128.bitselect(i32x4.splat(0x7f800000), r, i32x4.eq(mag, i32x4.splat(0x7c00)));
  r = v128.bitselect(i32x4.splat(0x7fc00000), r, i32x4.gt_s(mag, i32x4.splat(0x7c00)));
  return v128.or(r, sign);
}

// @ts-ignore: decorator
@inline
function canonical(x: v128): v128 {
  const sign = v128.and(x, i32x4.splat(0x80000000));
  const nan = i32x4.gt_s(v128.xor(x, sign), i32x4.splat(0x7f800000));
  return v128.bitselect(v128.or(sign, i32x4.splat(0x7fc00000)), x, nan);
}

/** bf16 codes to f32; `count` a multiple of 8. */
export function decodeBrain(source: usize, count: usize, target: usize): void {
  const end = source + (count << 1);
  for (let p = source; p < end; p += 16, target += 32) {
    const v = v128.load(p);
    v128.store(target, canonical(i32x4.shl(i32x4.extend_low_i16x8_u(v), 16)));
    v128.store(target, canonical(i32x4.shl(i32x4.extend_high_i16x8_u(v), 16)), 16);
  }
}

/** Codes of one byte to f32 through a table of 256 f32. */
export function decodeTable(source: usize, count: usize, target: usize, table: usize): void {
  for (let i: usize = 0; i < count; i++) {
    store<i32>(target + (i << 2), load<i32>(table + (<usize>load<u8>(source + i) << 2)));
  }
}

/** f64 to f32, ties to even; `count` a multiple of 4. */
export function narrowDouble(source: usize, count: usize, target: usize): void {
  for (const end = target + (count << 2); target < end; target += 16, source += 32) {
    const low = f32x4.demote_f64x2_zero(v128.load(source));
    const high = f32x4.demote_f64x2_zero(v128.load(source, 16));
    const x = v128.shuffle<i64>(low, high, 0, 2);
    // The sign of a NaN comes from the source, not from the instruction.
    const sign = v128.and(v128.shuffle<i32>(v128.load(source), v128.load(source, 16), 1, 3, 5, 7), i32x4.splat(0x80000000));
    const quiet = v128.or(sign, i32x4.splat(0x7fc00000));
    v128.store(target, v128.bitselect(x, quiet, f32x4.eq(x, x)));
  }
}

/** float16.py's clip of finite magnitudes to [low, high] (f32 bits); `count` a multiple of 4. In place allowed. */
export function clipMagnitudes(source: usize, count: usize, target: usize, low: i32, high: i32): void {
  const vl = i32x4.splat(low);
  const vh = i32x4.splat(high);
  for (const end = source + (count << 2); source < end; source += 16, target += 16) {
    const x = v128.load(source);
    const sign = v128.and(x, i32x4.splat(0x80000000));
    const mag = v128.xor(x, sign);
    const clipped = v128.or(sign, i32x4.min_s(vh, i32x4.max_s(vl, mag)));
    const kept = v128.or(i32x4.eq(mag, i32x4.splat(0)), i32x4.ge_s(mag, i32x4.splat(0x7f800000)));
    v128.store(target, v128.bitselect(x, clipped, kept));
  }
}
