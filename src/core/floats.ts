/**
 * Narrow floating-point types, one value at a time: the definition that kernels, converters and encodings follow.
 *
 * Input is rounded to f32 first, then once to the target, nearest with ties to even (IEEE 754 §4.3.1). Out of range:
 * `saturate` false follows ml_dtypes (Inf where the type has one, else NaN); true gives the largest finite value for
 * finite and infinite input (ONNX Cast with saturate = 1). f4_e2m1 has neither Inf nor NaN: it always saturates and
 * stores NaN as −0. NaN keeps its sign where the type has two NaNs. The fnuz types have no −0 (their code 0x80 is NaN).
 * f8_e8m0 is a power of two without sign or zero: ties (1.5 · 2^e) go up, positive values below 2^−127 give 2^−127,
 * ±0, negative values and Inf give NaN (ml_dtypes).
 *
 * Layouts: IEEE 754-2019; OCP 8-bit Floating Point Specification 1.0 (2023); Noune et al. 2022 (fnuz);
 * OCP Microscaling Formats 1.0 (2023) §5.3 (e2m1, e8m0).
 */

import type { DType } from './dtype.ts';

export type NarrowFloat =
  | 'f16'
  | 'bf16'
  | 'f8_e4m3fn'
  | 'f8_e4m3fnuz'
  | 'f8_e5m2'
  | 'f8_e5m2fnuz'
  | 'f4_e2m1'
  | 'f8_e8m0';

export interface FloatFormat {
  readonly bits: number;
  readonly exponentBits: number;
  readonly mantissaBits: number;
  readonly bias: number;
  readonly signed: boolean;
  readonly maxFinite: number;
  /** Code of `maxFinite`. */
  readonly maxFiniteCode: number;
  /** Smallest positive normal value. */
  readonly minNormal: number;
  /** Smallest positive value. */
  readonly minPositive: number;
  /** Code of +Inf, where the type has one. */
  readonly infinity: number | undefined;
  /** Code of the positive (or only) NaN, where the type has one. */
  readonly nan: number | undefined;
  /** One unsigned zero: the code of −0 means NaN. */
  readonly unsignedZero: boolean;
}

/** One row per type; the codes above `maxFinite` that are neither Inf nor NaN do not exist. */
export const FLOAT_FORMATS: Readonly<Record<NarrowFloat, FloatFormat>> = {
  f16: row(5, 10, 15, { maxFinite: 65504, maxFiniteCode: 0x7bff, infinity: 0x7c00, nan: 0x7e00 }),
  bf16: row(8, 7, 127, {
    maxFinite: 2 ** 127 * (2 - 2 ** -7),
    maxFiniteCode: 0x7f7f,
    infinity: 0x7f80,
    nan: 0x7fc0,
  }),
  f8_e4m3fn: row(4, 3, 7, { maxFinite: 448, maxFiniteCode: 0x7e, nan: 0x7f }),
  f8_e4m3fnuz: row(4, 3, 8, { maxFinite: 240, maxFiniteCode: 0x7f, nan: 0x80, unsignedZero: true }),
  f8_e5m2: row(5, 2, 15, { maxFinite: 57344, maxFiniteCode: 0x7b, infinity: 0x7c, nan: 0x7e }),
  f8_e5m2fnuz: row(5, 2, 16, { maxFinite: 57344, maxFiniteCode: 0x7f, nan: 0x80, unsignedZero: true }),
  f4_e2m1: row(2, 1, 1, { maxFinite: 6, maxFiniteCode: 0x07 }),
  f8_e8m0: {
    bits: 8,
    exponentBits: 8,
    mantissaBits: 0,
    bias: 127,
    signed: false,
    maxFinite: 2 ** 127,
    maxFiniteCode: 0xfe,
    minNormal: 2 ** -127,
    minPositive: 2 ** -127,
    infinity: undefined,
    nan: 0xff,
    unsignedZero: false,
  },
};

function row(
  exponentBits: number,
  mantissaBits: number,
  bias: number,
  special: {
    maxFinite: number;
    maxFiniteCode: number;
    infinity?: number;
    nan?: number;
    unsignedZero?: boolean;
  },
): FloatFormat {
  return {
    bits: 1 + exponentBits + mantissaBits,
    exponentBits,
    mantissaBits,
    bias,
    signed: true,
    maxFinite: special.maxFinite,
    maxFiniteCode: special.maxFiniteCode,
    minNormal: 2 ** (1 - bias),
    minPositive: 2 ** (1 - bias - mantissaBits),
    infinity: special.infinity,
    nan: special.nan,
    unsignedZero: special.unsignedZero ?? false,
  };
}

export function isNarrowFloat(dtype: DType): dtype is NarrowFloat {
  return Object.hasOwn(FLOAT_FORMATS, dtype);
}

const word = new Uint32Array(1);
const single = new Float32Array(word.buffer);

/** Code (unsigned integer) of `value` in `dtype`. `saturate`: see the top of the file. */
export function encodeFloat(dtype: NarrowFloat, value: number, saturate = false): number {
  const format = FLOAT_FORMATS[dtype];
  single[0] = value;
  const bits = word[0]!;
  if (!format.signed) return encodeExponent(bits, saturate);
  const signBit = bits >>> 31 === 0 ? 0 : 1 << (format.bits - 1);
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) {
    if (format.nan === undefined) return 1 << (format.bits - 1);
    return format.unsignedZero ? format.nan : signBit | format.nan;
  }
  if (magnitude < 0x7f800000) {
    const code = roundMagnitude(magnitude, format);
    if (code <= format.maxFiniteCode) return code === 0 && format.unsignedZero ? 0 : signBit | code;
  }
  if (saturate || format.nan === undefined) return signBit | format.maxFiniteCode;
  if (format.infinity !== undefined) return signBit | format.infinity;
  return format.unsignedZero ? format.nan : signBit | format.nan;
}

/** Value of `code` in `dtype`; exact, since every narrow value is an f32. */
export function decodeFloat(dtype: NarrowFloat, code: number): number {
  const format = FLOAT_FORMATS[dtype];
  const { mantissaBits, bias } = format;
  if (!format.signed) return code === format.nan ? Number.NaN : 2 ** (code - bias);
  const signBit = 1 << (format.bits - 1);
  if (format.unsignedZero && code === signBit) return Number.NaN;
  const negative = (code & signBit) !== 0;
  const magnitude = code & (signBit - 1);
  if (format.infinity !== undefined && magnitude >= format.infinity) {
    if (magnitude > format.infinity) return Number.NaN;
    return negative ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }
  if (!format.unsignedZero && magnitude === format.nan) return Number.NaN;
  const exponent = magnitude >>> mantissaBits;
  const mantissa = magnitude & ((1 << mantissaBits) - 1);
  const absolute =
    exponent === 0
      ? mantissa * 2 ** (1 - bias - mantissaBits)
      : (mantissa + 2 ** mantissaBits) * 2 ** (exponent - bias - mantissaBits);
  return negative ? -absolute : absolute;
}

/** Bits of `value` in IEEE half precision; Inf above 65519.99. NaN becomes the quiet NaN 0x7e00 with its sign. */
export function f32ToF16Bits(value: number): number {
  single[0] = value;
  const bits = word[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x47800000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00);
  if (magnitude < 0x38800000) {
    // Below the smallest normal half: a multiple of 2^−24. The product is exact in f64.
    return sign | roundHalfEven(Math.abs(single[0]!) * 0x1000000);
  }
  const even = (magnitude >>> 13) & 1;
  return sign | ((magnitude - 0x38000000 + 0xfff + even) >>> 13);
}

/** Value of IEEE half-precision bits; exact. */
export function f16BitsToF32(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  const exponent = (bits >>> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0) {
    const absolute = mantissa * 2 ** -24;
    return sign === 0 ? absolute : -absolute;
  }
  word[0] = (sign | (exponent === 31 ? 0x7f800000 : (exponent + 112) << 23) | (mantissa << 13)) >>> 0;
  return single[0]!;
}

/** Nearest integer, ties to even, of a non-negative value below 2^52. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest > 0.5 || (rest === 0.5 && floor % 2 === 1)) return floor + 1;
  return floor;
}

/** Code of a finite magnitude (f32 bits) in a format without an upper end. */
function roundMagnitude(magnitude: number, format: FloatFormat): number {
  const { mantissaBits, bias } = format;
  // magnitude = significand · 2^(exponent − 23); f32 subnormals have the exponent −126.
  const biased = magnitude >>> 23;
  const exponent = (biased === 0 ? 1 : biased) - 127;
  const significand = biased === 0 ? magnitude : (magnitude & 0x7fffff) | 0x800000;
  const smallest = 1 - bias;
  const binade = Math.max(exponent, smallest);
  const drop = binade - exponent + 23 - mantissaBits;
  const base = (binade - smallest) * 2 ** mantissaBits;
  // Below a quarter of the smallest step.
  if (drop > 25) return base;
  const steps = significand >>> drop;
  const rest = significand & ((1 << drop) - 1);
  const half = 1 << (drop - 1);
  // A carry to the next binade is the same number of steps in the code.
  return base + steps + (rest > half || (rest === half && (steps & 1) === 1) ? 1 : 0);
}

/** f8_e8m0: the exponent of the nearest power of two, a tie (1.5 · 2^e) going up. */
function encodeExponent(bits: number, saturate: boolean): number {
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return 0xff;
  if (magnitude === 0 || bits >>> 31 === 1) return 0xff;
  if (magnitude === 0x7f800000) return saturate ? 0xfe : 0xff;
  const exponent = magnitude >>> 23;
  const mantissa = magnitude & 0x7fffff;
  if (exponent === 0) {
    // Subnormal f32: code 0 is 2^−127 (mantissa 0x400000), code 1 is 2^−126.
    return mantissa >= 0x600000 ? 1 : 0;
  }
  const code = exponent + (mantissa >= 0x400000 ? 1 : 0);
  return code >= 0xff ? (saturate ? 0xfe : 0xff) : code;
}

/** ⌊log2 |value|⌋ of a finite f32 other than 0, exactly. */
export function floorLog2(value: number): number {
  single[0] = value;
  const magnitude = word[0]! & 0x7fffffff;
  const exponent = magnitude >>> 23;
  return exponent > 0 ? exponent - 127 : 31 - Math.clz32(magnitude) - 149;
}
