/**
 * Narrow floats: each code is a value by itself, with an optional scale for each group.
 *
 *   id            sign exponent mantissa  bias   largest   smallest   Inf   NaN   −0
 *   f16              1        5       10    15     65504     2^−24    yes   yes   yes
 *   bf16             1        8        7   127   3.39e38    2^−133    yes   yes   yes
 *   f8_e4m3fn        1        4        3     7       448      2^−9     no   yes   yes
 *   f8_e4m3fnuz      1        4        3     8       240     2^−10     no   yes    no
 *   f8_e5m2          1        5        2    15     57344     2^−16    yes   yes   yes
 *   f8_e5m2fnuz      1        5        2    16     57344     2^−17     no   yes    no
 *   f4_e2m1          1        2        1     1         6       0.5     no    no   yes
 *   f8_e8m0          0        8        0   127     2^127    2^−127     no   yes   (no zero; for scales)
 *
 *   weight   w = decode(q)         without a granularity: a cast; bits per weight = bits
 *            w = decode(q)·s       with one: s = absmax / largest; bits per weight = bits + (32 or 16) / group size
 *   storage  one or two bytes little-endian; f4_e2m1 two in a byte, low nibble first
 *   |w − ŵ| ≤ |w|·2^−(mantissa+1) for normal values (times s where scaled)
 *
 * Overflow: f8 and f4 saturate as ONNX Cast does (`saturate: false` follows ml_dtypes), f16 and bf16 give Inf.
 * Definitions value by value: core/floats.ts.
 */

import {
  decodeFloat,
  encodeFloat,
  FLOAT_FORMATS,
  f16BitsToF32,
  f32ToF16Bits,
  type NarrowFloat,
} from '../../core/floats.ts';
import { absmaxOf, type Encoding, scaleToLargest } from './encoding.ts';

const ONNX: Readonly<Record<NarrowFloat, number>> = {
  f16: 10,
  bf16: 16,
  f8_e4m3fn: 17,
  f8_e4m3fnuz: 18,
  f8_e5m2: 19,
  f8_e5m2fnuz: 20,
  f4_e2m1: 23,
  f8_e8m0: 24,
};

/** Values of all codes of a type of at most 8 bits. */
export function decodeTable(dtype: NarrowFloat): Float32Array {
  return Float32Array.from({ length: 2 ** FLOAT_FORMATS[dtype].bits }, (_, code) => decodeFloat(dtype, code));
}

function float<const Id extends NarrowFloat>(id: Id): Encoding & { readonly id: Id } {
  const format = FLOAT_FORMATS[id];
  const { bits } = format;
  let table: Float32Array | undefined;
  return {
    id,
    family: 'float',
    bits,
    blockSize: null,
    blockBytes: null,
    defaultBlock: null,
    scaleType: bits === 16 || !format.signed ? 'none' : 'optional',
    affine: false,
    signed: format.signed,
    packing: 'lowFirst',
    onnxType: ONNX[id],
    keepsNonFinite: format.nan !== undefined && format.signed,
    policy: policyOf(id),
    codeArray: (count) => (bits > 8 ? new Uint16Array(count) : new Uint8Array(count)),
    parameters(range, context) {
      if (!context.scaled) return { scale: 1, zeroPoint: 0 };
      const round = context.scaleType === 'f16' ? roundToHalf : Math.fround;
      return { scale: scaleToLargest(absmaxOf(range), format.maxFinite, round), zeroPoint: 0 };
    },
    quantize(values, { scale }, context, codes) {
      const { kernels, saturate } = context;
      if (bits >= 8) {
        const source = context.scaled ? values.map((x) => x / scale) : values;
        kernels.convert('f32', id, bytesOf(source), bytesOf(codes), values.length, { saturate });
        return;
      }
      for (let i = 0; i < values.length; i++) codes[i] = encodeFloat(id, values[i]! / scale, saturate);
    },
    dequantize(codes, { scale }, context, target) {
      if (bits === 16) {
        context.kernels.convert(id, 'f32', bytesOf(codes), bytesOf(target), codes.length);
        return;
      }
      table ??= decodeTable(id);
      for (let i = 0; i < codes.length; i++) target[i] = table[codes[i]!]! * scale;
    },
  };
}

function policyOf(id: NarrowFloat): Encoding['policy'] {
  const { infinity, nan, unsignedZero, signed } = FLOAT_FORMATS[id];
  const wide = id === 'f16' || id === 'bf16';
  return {
    ties: signed ? 'to even' : 'up',
    subnormals: signed ? 'kept, gradual underflow to 0' : 'none: below 2^−127 gives 2^−127',
    zero: !signed ? 'no zero: ±0 → NaN' : unsignedZero ? '−0 → +0' : '±0 keep their sign',
    infinity: wide
      ? 'overflow → ±Inf'
      : nan === undefined
        ? 'saturates to ±6'
        : infinity !== undefined
          ? 'saturates; saturate: false → ±Inf'
          : 'saturates; saturate: false → NaN',
    nan: nan === undefined ? 'keep: → 0' : signed ? 'keep: → NaN' : 'NaN; negative → NaN',
  };
}

function roundToHalf(x: number): number {
  return f16BitsToF32(f32ToF16Bits(x));
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

export const FLOATS = [
  float('f16'),
  float('bf16'),
  float('f8_e4m3fn'),
  float('f8_e4m3fnuz'),
  float('f8_e5m2'),
  float('f8_e5m2fnuz'),
  float('f4_e2m1'),
  float('f8_e8m0'),
] as const;
