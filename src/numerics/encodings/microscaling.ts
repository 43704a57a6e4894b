/**
 * Microscaling: narrow floats in small blocks, each block with a scale of 8 bits.
 *
 *   id           block  element     scale                    bytes  bits per weight
 *   mxfp4           32  f4_e2m1     f8_e8m0 X                   17  4.25
 *   mxfp8_e4m3      32  f8_e4m3fn   f8_e8m0 X                   33  8.25
 *   mxfp8_e5m2      32  f8_e5m2     f8_e8m0 X                   33  8.25
 *   nvfp4           16  f4_e2m1     f8_e4m3fn s, and one f32 g   9  4.5 (+ 32 / n)
 *
 *   mx…    w = decode(q)·X,   X = 2^(⌊log2 absmax⌋ − emax), emax = 2, 8, 15: the exponent of the element's largest power
 *          of two (OCP Microscaling Formats v1.0, §6.3); absmax 0: X = 2^−127. Elements past the largest value saturate:
 *          e2m1 holds up to 6·X where absmax may be just below 8·X.
 *   nvfp4  w = decode(q)·s·g, g = absmax of the tensor / (448 · 6), s = e4m3fn(absmax of the block / 6 / g), saturating
 *          (NVIDIA: Introducing NVFP4, 2025); s = 0: all codes 0.
 *   storage  codes and scales in two planes (a row's blocks in order), f4 low nibble first.
 *
 * Elements: w / (scale) in f32, nearest with ties to even.
 */

import { decodeFloat, encodeFloat, FLOAT_FORMATS, floorLog2, type NarrowFloat } from '../../core/floats.ts';
import { absmaxOf, type Encoding, type EncodingPolicy, type GroupParameters } from './encoding.ts';
import { decodeTable } from './floats.ts';

const POLICY: EncodingPolicy = {
  ties: 'to even',
  subnormals: 'kept within a block',
  zero: '±0 keep their sign; a block of zeros has the smallest scale',
  infinity: 'refused; keep: largest finite value',
  nan: 'refused; keep: → 0',
};

interface BlockFormat {
  readonly element: Extract<NarrowFloat, 'f4_e2m1' | 'f8_e4m3fn' | 'f8_e5m2'>;
  readonly blockSize: number;
  readonly scaleType: 'f8_e8m0' | 'f8_e4m3fn';
  scale(absmax: number, tensorScale: number): number;
  tensorScale?(absmax: number): number;
}

function microscaling<const Id extends string>(id: Id, format: BlockFormat): Encoding & { readonly id: Id } {
  const { element, blockSize, scaleType } = format;
  const { bits } = FLOAT_FORMATS[element];
  let table: Float32Array | undefined;
  const factor = ({ scale }: GroupParameters, tensorScale: number) => Math.fround(scale * tensorScale);
  return {
    id,
    family: 'microscaling',
    bits,
    blockSize,
    blockBytes: (blockSize * bits) / 8 + 1,
    defaultBlock: blockSize,
    scaleType,
    affine: false,
    signed: true,
    packing: 'lowFirst',
    onnxType: null,
    keepsNonFinite: false,
    policy: POLICY,
    ...(format.tensorScale === undefined ? {} : { tensorScale: format.tensorScale }),
    codeArray: (count) => new Uint8Array(count),
    parameters: (range, context) => ({
      scale: format.scale(absmaxOf(range), context.tensorScale),
      zeroPoint: 0,
    }),
    quantize(values, parameters, context, codes) {
      const step = factor(parameters, context.tensorScale);
      for (let i = 0; i < values.length; i++) {
        codes[i] = step === 0 ? 0 : encodeFloat(element, values[i]! / step, true);
      }
    },
    dequantize(codes, parameters, context, target) {
      table ??= decodeTable(element);
      const step = factor(parameters, context.tensorScale);
      for (let i = 0; i < codes.length; i++) target[i] = table[codes[i]!]! * step;
    },
  };
}

/** X of the OCP specification for an element whose largest power of two is 2^emax. */
function sharedExponentScale(emax: number): (absmax: number) => number {
  return (absmax) => (absmax === 0 ? 2 ** -127 : 2 ** Math.max(-127, floorLog2(absmax) - emax));
}

const LARGEST_E2M1 = FLOAT_FORMATS.f4_e2m1.maxFinite;
const LARGEST_E4M3 = FLOAT_FORMATS.f8_e4m3fn.maxFinite;

export const MICROSCALING = [
  microscaling('mxfp4', {
    element: 'f4_e2m1',
    blockSize: 32,
    scaleType: 'f8_e8m0',
    scale: sharedExponentScale(2),
  }),
  microscaling('mxfp8_e4m3', {
    element: 'f8_e4m3fn',
    blockSize: 32,
    scaleType: 'f8_e8m0',
    scale: sharedExponentScale(8),
  }),
  microscaling('mxfp8_e5m2', {
    element: 'f8_e5m2',
    blockSize: 32,
    scaleType: 'f8_e8m0',
    scale: sharedExponentScale(15),
  }),
  microscaling('nvfp4', {
    element: 'f4_e2m1',
    blockSize: 16,
    scaleType: 'f8_e4m3fn',
    scale: (absmax, tensorScale) => {
      const exact = Math.fround(absmax / LARGEST_E2M1) / tensorScale;
      return decodeFloat('f8_e4m3fn', encodeFloat('f8_e4m3fn', exact, true));
    },
    tensorScale: (absmax) => {
      const scale = Math.fround(absmax / (LARGEST_E4M3 * LARGEST_E2M1));
      return scale > 0 ? scale : 1;
    },
  }),
] as const;
