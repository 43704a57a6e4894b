/**
 * mxfp4 and nvfp4 (definition: src/kernels/ggml/narrow/float4.ts).
 *
 * Levels kv = 0 1 2 3 4 6 8 12 times d: adjacent ones are at most a factor of two apart (but for 0 and 1), so both errors of
 * a value between them are exact in f32, and the nearest level is found by comparing |x| with the midpoints 0.5 1.5 2.5 3.5
 * 5 7 10 times d, a tie going down. That holds while x is not so large that its differences to all levels round alike.
 *
 * mxfp4: ⌈2 |x| / d⌉ ≤ 32 is exact, for d is a power of two, and names the code through a table of bytes.
 */

import { bytesOf, largestOf, largestOf16, signedBytesOf } from './lanes';

/**
 * By the biased exponent of max|x|: from which mantissa on log2f rounds up to the next integer
 * (src/kernels/ggml/narrow/binary-logarithm.ts). 256 u32, filled by `prepareFloat4`.
 */
const CARRY = memory.data(1024, 16);
/** Half the value of each scale of nvfp4: 128 f32. */
const SCALES = memory.data(512, 16);

/** `below`: how many units below 2^k, k = exponent − 126, count as 2^k. */
export function setCarry(exponent: usize, below: i32): void {
  store<i32>(CARRY + 4 * exponent, 0x800000 - below);
}

export function setScale(code: usize, half: f32): void {
  store<f32>(SCALES + 4 * code, half);
}

/** Codes with their signs where they are not 0: low nibbles from 16 values' magnitudes and signs, high ones from 16 others. */
// @ts-ignore: decorator
@inline
function signedNibbles(low: v128, lowSigns: v128, high: v128, highSigns: v128): v128 {
  const top = i8x16.splat(<i8>0x80);
  const zero = i8x16.splat(0);
  const a = v128.and(v128.and(lowSigns, top), i8x16.gt_s(low, zero));
  const b = v128.and(v128.and(highSigns, top), i8x16.gt_s(high, zero));
  return v128.or(v128.or(low, i16x8.shr_u(a, 4)), v128.or(i16x8.shl(high, 4), b));
}

/** ⌈|x| s⌉ as integers. */
// @ts-ignore: decorator
@inline
function steps(x: v128, s: v128): v128 {
  const y = f32x4.ceil(f32x4.mul(f32x4.abs(x), s));
  return i32x4.sub(f32x4.add(y, f32x4.splat(8388608)), i32x4.splat(0x4b000000));
}

// @ts-ignore: decorator
@inline
function codesOfSteps(c: v128): v128 {
  const low = i8x16.swizzle(i8x16(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 6), c);
  const rest = i8x16.sub(i8x16.min_u(c, i8x16.splat(31)), i8x16.splat(16));
  return v128.or(low, i8x16.swizzle(i8x16(6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7), rest));
}

export function quantizeMxfp4(source: usize, blocks: usize, target: usize): void {
  for (const end = target + blocks * 17; target < end; source += 128, target += 17) {
    const bits = reinterpret<i32>(largestOf(source, 128));
    const exponent = bits >> 23;
    // Of subnormals and where 2/d, d or 8 d is no normal number: one by one.
    if (exponent < 5 || exponent > 253) {
      slowMxfp4(bits, source, target);
      continue;
    }
    const carry = (bits & 0x7fffff) >= load<i32>(CARRY + 4 * exponent) ? 1 : 0;
    const e = exponent + carry - 2;
    store<u8>(target, <u8>e);
    const s = i32x4.splat((256 - e) << 23);
    const x0 = v128.load(source);
    const x1 = v128.load(source, 16);
    const x2 = v128.load(source, 32);
    const x3 = v128.load(source, 48);
    const low = codesOfSteps(bytesOf(steps(x0, s), steps(x1, s), steps(x2, s), steps(x3, s)));
    const lowSigns = signedBytesOf(x0, x1, x2, x3);
    const x4 = v128.load(source, 64);
    const x5 = v128.load(source, 80);
    const x6 = v128.load(source, 96);
    const x7 = v128.load(source, 112);
    const high = codesOfSteps(bytesOf(steps(x4, s), steps(x5, s), steps(x6, s), steps(x7, s)));
    v128.store(target, signedNibbles(low, lowSigns, high, signedBytesOf(x4, x5, x6, x7)), 1);
  }
}

/** The first code with the least f32 error; levels may be Inf. */
function nearestCode(x: f32, d: f32): i32 {
  const magnitude = abs(x);
  let best = 0;
  let least = magnitude;
  // kv as four bits each.
  for (let code = 1, levels: u32 = 0xc864321; code < 8; code++, levels >>= 4) {
    const error = abs(<f32>(levels & 15) * d - magnitude);
    if (error < least) {
      least = error;
      best = code;
    }
  }
  return best > 0 && x < 0 ? best + 8 : best;
}

function slowMxfp4(bits: i32, source: usize, target: usize): void {
  let e = 0;
  if (bits > 0) {
    // The mantissa of a subnormal as a normal one, exponents going on below.
    const shift = bits < 0x800000 ? <i32>clz<u32>(bits) - 8 : 0;
    const exponent = bits < 0x800000 ? 1 - shift : bits >> 23;
    const mantissa = (bits << shift) & 0x7fffff;
    const below = exponent > 1 ? 0x800000 - load<i32>(CARRY + 4 * <usize>exponent) : subnormalBelow(exponent);
    e = (exponent + (mantissa >= 0x800000 - below ? 1 : 0) - 2) & 255;
  }
  store<u8>(target, <u8>e);
  const d = e < 2 ? reinterpret<f32>(0x200000 << e) : reinterpret<f32>((e - 1) << 23);
  for (let j: usize = 0; j < 16; j++) {
    const low = nearestCode(load<f32>(source + 4 * j), d);
    store<u8>(target + j, <u8>(low | (nearestCode(load<f32>(source + 4 * j, 64), d) << 4)), 1);
  }
}

/** 2^(exponent − 126) is at most 2^-125: 44 units down to 2^-127, 88 beyond. */
// @ts-ignore: decorator
@inline
function subnormalBelow(exponent: i32): i32 {
  return exponent >= -1 ? 44 : 88;
}

// @ts-ignore: decorator
@inline
function scaleCode(x: f32): i32 {
  if (x >= 256) return 0x7e;
  if (x < 0.015625) return min(7, <i32>(x * 512 + 0.5));
  const code = (reinterpret<i32>(x) + 0x80000 - (120 << 23)) >> 20;
  return code >= 0x78 ? 0x7e : code;
}

/** Minus the number of midpoints below |x|. */
// @ts-ignore: decorator
@inline
function passed(p: usize, t0: v128, t1: v128, t2: v128, t3: v128, t4: v128, t5: v128, t6: v128): v128 {
  const x = f32x4.abs(v128.load(p));
  const a = i32x4.add(f32x4.gt(x, t0), f32x4.gt(x, t1));
  const b = i32x4.add(f32x4.gt(x, t2), f32x4.gt(x, t3));
  const c = i32x4.add(f32x4.gt(x, t4), f32x4.gt(x, t5));
  return i32x4.add(i32x4.add(a, b), i32x4.add(c, f32x4.gt(x, t6)));
}

export function quantizeNvfp4(source: usize, blocks: usize, target: usize): void {
  for (const end = target + blocks * 36; target < end; target += 36) {
    for (let part: usize = 0; part < 4; part++, source += 64) {
      const largest = largestOf16(source);
      const scale = scaleCode(largest / 6);
      store<u8>(target + part, <u8>scale);
      const to = target + 4 + 8 * part;
      const d = load<f32>(SCALES + 4 * <usize>scale);
      if (scale == 0) {
        store<u64>(to, 0);
      } else if (largest > 1048576) {
        for (let j: usize = 0; j < 8; j++) {
          const low = nearestCode(load<f32>(source + 4 * j), d);
          store<u8>(to + j, <u8>(low | (nearestCode(load<f32>(source + 4 * j, 32), d) << 4)));
        }
      } else {
        const t0 = f32x4.splat(d * 0.5);
        const t1 = f32x4.splat(d * 1.5);
        const t2 = f32x4.splat(d * 2.5);
        const t3 = f32x4.splat(d * 3.5);
        const t4 = f32x4.splat(d * 5);
        const t5 = f32x4.splat(d * 7);
        const t6 = f32x4.splat(d * 10);
        const minus = signedBytesOf(
          passed(source, t0, t1, t2, t3, t4, t5, t6),
          passed(source + 16, t0, t1, t2, t3, t4, t5, t6),
          passed(source + 32, t0, t1, t2, t3, t4, t5, t6),
          passed(source + 48, t0, t1, t2, t3, t4, t5, t6),
        );
        const codes = i8x16.neg(minus);
        const signs = signedBytesOf(
          v128.load(source),
          v128.load(source, 16),
          v128.load(source, 32),
          v128.load(source, 48),
        );
        const high = v128.shuffle<i64>(codes, codes, 1, 0);
        const highSigns = v128.shuffle<i64>(signs, signs, 1, 0);
        v128.store64_lane(to, signedNibbles(codes, signs, high, highSigns), 0);
      }
    }
  }
}

/** kv of 16 codes, as bytes. */
// @ts-ignore: decorator
@inline
function levelsOf(codes: v128): v128 {
  return i8x16.swizzle(i8x16(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12), codes);
}

/** 8 bytes' levels times d. */
// @ts-ignore: decorator
@inline
function storeEight(levels: v128, d: v128, to: usize): void {
  v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(levels)), d));
  v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(levels)), d), 16);
}

export function dequantizeMxfp4(source: usize, blocks: usize, target: usize): void {
  for (const end = source + blocks * 17; source < end; source += 17, target += 128) {
    const e = <i32>load<u8>(source);
    const d = i32x4.splat(e < 2 ? 0x200000 << e : (e - 1) << 23);
    const bytes = v128.load(source, 1);
    const low = levelsOf(v128.and(bytes, i8x16.splat(15)));
    const high = levelsOf(v128.and(i16x8.shr_u(bytes, 4), i8x16.splat(15)));
    storeEight(i16x8.extend_low_i8x16_s(low), d, target);
    storeEight(i16x8.extend_high_i8x16_s(low), d, target + 32);
    storeEight(i16x8.extend_low_i8x16_s(high), d, target + 64);
    storeEight(i16x8.extend_high_i8x16_s(high), d, target + 96);
  }
}

export function dequantizeNvfp4(source: usize, blocks: usize, target: usize): void {
  for (const end = source + blocks * 36; source < end; source += 36) {
    for (let part: usize = 0; part < 4; part++, target += 64) {
      const scale = <usize>load<u8>(source + part);
      // The highest bit is not looked at, but 0xff is no 0x7f.
      const d = f32x4.splat(scale == 0xff ? 240 : load<f32>(SCALES + 4 * (scale & 127)));
      const bytes = v128.load64_zero(source + 4 + 8 * part);
      const low = levelsOf(v128.and(bytes, i8x16.splat(15)));
      const high = levelsOf(v128.and(i16x8.shr_u(bytes, 4), i8x16.splat(15)));
      storeEight(i16x8.extend_low_i8x16_s(low), d, target);
      storeEight(i16x8.extend_low_i8x16_s(high), d, target + 32);
    }
  }
}
