/**
 * Integers with scale and zero point: int2…int8, int16 and their unsigned forms.
 *
 *   weight   w = (q − z)·s        codes of b bits, low bits first, one little-endian bit stream for the whole tensor
 *   storage  2, 4, 8, 16 bits: as ONNX stores int2/int4/int8/int16 and uint (element i in bits i·b …; IR 10 and 13)
 *            3, 5, 6, 7 bits: the same rule, crossing bytes; 8 codes take exactly b bytes (no ONNX type)
 *   scale    f32 or f16 for each group; z (b bits) for each group when asymmetric, implicit otherwise:
 *            0 signed, 2^(b−1) unsigned
 *   bits per weight = b + (32 or 16, + b if asymmetric) / group size
 *
 * Formulas, rounding and error bounds: affine.ts. Symmetric int8 and int16 leave out the lowest code unless told otherwise.
 */

import { affineParameters, dequantizeAffine, quantizeAffine } from '../affine.ts';
import type { Encoding, EncodingPolicy } from './encoding.ts';

const POLICY: EncodingPolicy = {
  ties: 'to even (default) or away from zero; x·T once rounded to f32',
  subnormals: 'kept as values; a scale below 2^−126 becomes 1',
  zero: '±0 → zero point; decodes to +0',
  infinity: 'refused; keep: end of the range',
  nan: 'refused; keep: zero point',
};

/** TensorProto.DataType. */
const ONNX: Readonly<Record<string, number>> = {
  int2: 26,
  uint2: 25,
  int4: 22,
  uint4: 21,
  int8: 3,
  uint8: 2,
  int16: 5,
  uint16: 4,
};

function integer<const Id extends string>(
  id: Id,
  bits: number,
  signed: boolean,
): Encoding & { readonly id: Id } {
  return {
    id,
    family: 'integer',
    bits,
    blockSize: null,
    blockBytes: null,
    defaultBlock: null,
    scaleType: 'choice',
    affine: true,
    signed,
    packing: 'lowFirst',
    onnxType: ONNX[id] ?? null,
    keepsNonFinite: false,
    policy: POLICY,
    codeArray(count) {
      if (bits > 8) return signed ? new Int16Array(count) : new Uint16Array(count);
      return signed ? new Int8Array(count) : new Uint8Array(count);
    },
    parameters(range, context) {
      return affineParameters(range, { ...context, bits, signed });
    },
    quantize(values, { scale, zeroPoint }, context, codes) {
      const cut = context.symmetric && context.restricted ? 1 : 0;
      const low = (signed ? -(2 ** (bits - 1)) : 0) + cut;
      const high = signed ? 2 ** (bits - 1) - 1 : 2 ** bits - 1;
      quantizeAffine(values, { scale, zeroPoint, low, high }, codes, context);
    },
    dequantize(codes, parameters, context, target) {
      dequantizeAffine(codes, parameters, target, context);
    },
  };
}

export const INTEGERS = [
  integer('int2', 2, true),
  integer('int3', 3, true),
  integer('int4', 4, true),
  integer('int5', 5, true),
  integer('int6', 6, true),
  integer('int7', 7, true),
  integer('int8', 8, true),
  integer('int16', 16, true),
  integer('uint2', 2, false),
  integer('uint3', 3, false),
  integer('uint4', 4, false),
  integer('uint5', 5, false),
  integer('uint6', 6, false),
  integer('uint7', 7, false),
  integer('uint8', 8, false),
  integer('uint16', 16, false),
] as const;
