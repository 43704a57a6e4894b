/**
 * Codebooks of 16 levels relative to a block's absmax (Dettmers et al. 2023, QLoRA; bitsandbytes; docs/onnx.md 3.3).
 *
 *   weight   w = level[q]·absmax        absmax f32 (or f16) for each block, default 64 values
 *   nf4      quantiles of a normal distribution, −1 … 1 with an exact 0 (code 7)
 *   bnb-fp4  ±{0, 1/192, 1/6, 1/4, 1/3, 1/2, 2/3, 1}; code bit 3 is the sign
 *   storage  two codes in a byte, the FIRST in the HIGH nibble
 *   bits per weight = 4 + 32 / block size: 4.5 at 64, 4.25 at 128
 *
 * Blocks run along the given axis (default: the last). bitsandbytes and MatMulBnb4 let blocks run across rows: pass the
 * shape [count] for that. Coding is by thresholds (levels' midpoints as f32): f32(w · f32(1 / absmax)) > threshold.
 */

import { f16BitsToF32, f32ToF16Bits } from '../../core/floats.ts';
import { absmaxOf, type Encoding, type EncodingPolicy } from './encoding.ts';

export const NF4_LEVELS: Float32Array = Float32Array.of(
  -1,
  -0.6961928009986877,
  -0.5250730514526367,
  -0.39491748809814453,
  -0.28444138169288635,
  -0.18477343022823334,
  -0.09105003625154495,
  0,
  0.07958029955625534,
  0.16093020141124725,
  0.24611230194568634,
  0.33791524171829224,
  0.44070982933044434,
  0.5626170039176941,
  0.7229568362236023,
  1,
);

/** By code; 8 to 15 are the negatives. */
export const FP4_LEVELS: Float32Array = Float32Array.from([
  0, 0.005208333, 0.6666667, 1, 0.3333333, 0.5, 0.1666667, 0.25,
]);

function codebook<const Id extends string>(
  id: Id,
  kernelName: 'nf4' | 'fp4',
  levels: Float32Array,
  policy: Pick<EncodingPolicy, 'ties' | 'zero'>,
): Encoding & { readonly id: Id } {
  return {
    id,
    family: 'codebook',
    bits: 4,
    blockSize: null,
    blockBytes: null,
    defaultBlock: 64,
    scaleType: 'choice',
    affine: false,
    signed: true,
    packing: 'highFirst',
    onnxType: null,
    keepsNonFinite: false,
    policy: {
      ...policy,
      subnormals: 'as values; absmax ≤ 2^−128: ±absmax or 0 (1 / absmax overflows)',
      infinity: 'refused; keep: ±absmax',
      nan: 'refused; keep: → 0',
    },
    codeArray: (count) => new Uint8Array(count),
    parameters(range, context) {
      const absmax = absmaxOf(range);
      const stored = context.scaleType === 'f16' ? f16BitsToF32(f32ToF16Bits(absmax)) : Math.fround(absmax);
      return { scale: stored, zeroPoint: 0 };
    },
    quantize(values, _parameters, context, codes) {
      const target = new Uint8Array(codes.buffer, codes.byteOffset, codes.length);
      // The kernel takes its own absmax in f32: codes do not depend on how the scale is stored (docs/onnx.md 3.3).
      context.kernels.quantizeBnb4(
        values,
        Math.max(1, values.length),
        kernelName,
        target,
        new Float32Array(1),
      );
    },
    dequantize(codes, { scale }, _context, target) {
      for (let i = 0; i < codes.length; i++) target[i] = levels[codes[i]!]! * scale;
    },
  };
}

export const CODEBOOKS = [
  codebook('nf4', 'nf4', NF4_LEVELS, { ties: 'to the lower level', zero: '±0 → +0 exactly' }),
  codebook('bnb-fp4', 'fp4', Float32Array.from([...FP4_LEVELS, ...FP4_LEVELS.map((level) => -level)]), {
    ties: 'to the smaller magnitude',
    zero: '±0 → +0; small negatives → −0',
  }),
] as const;
