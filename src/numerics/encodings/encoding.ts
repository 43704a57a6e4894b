/**
 * The contract of an encoding: a number format of stored weights as one descriptor row. An encoding knows how the values
 * that share a scale become codes and back; how a tensor is divided (granularity), packing and storage are common to all
 * (quantize-tensor.ts). Code asks the row, never the id.
 */

import type { Random } from '../../core/random.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import type { AffineFormula, AffineRounding, CodeArray, ValueRange } from '../affine.ts';
import type { ScaleDType } from '../operation.ts';

export type EncodingFamily = 'integer' | 'float' | 'microscaling' | 'codebook';

/** What a group's codes mean, besides the codes. */
export interface GroupParameters {
  readonly scale: number;
  readonly zeroPoint: number;
}

/** Settings of a scheme that all groups of a tensor share. */
export interface EncodingContext {
  readonly symmetric: boolean;
  readonly restricted: boolean;
  readonly formula: AffineFormula;
  readonly rounding: AffineRounding;
  readonly scaleType: ScaleDType;
  /** Whether float codes are relative to a scale. */
  readonly scaled: boolean;
  /** Overflow of float codes gives the largest finite value. */
  readonly saturate: boolean;
  /** Second scale over all blocks (nvfp4), else 1. */
  readonly tensorScale: number;
  readonly random: Random;
  readonly kernels: Kernels;
}

/** What happens at the edges of the format, for people and for the generated table. */
export interface EncodingPolicy {
  readonly ties: string;
  readonly subnormals: string;
  readonly zero: string;
  readonly infinity: string;
  readonly nan: string;
}

export interface Encoding {
  readonly id: string;
  readonly family: EncodingFamily;
  /** Bits of one code. */
  readonly bits: number;
  /** Values that share a scale: fixed by the format, else null and the granularity decides. */
  readonly blockSize: number | null;
  /** Bytes of a block of `blockSize` with its scale; null where the size is free. */
  readonly blockBytes: number | null;
  /** Block size used where the scheme does not say; null: one scale for the tensor, or none. */
  readonly defaultBlock: number | null;
  /** Type of the stored scales: fixed, `choice` of f32 or f16, or none (`optional`: none unless a granularity is given). */
  readonly scaleType: 'choice' | 'optional' | 'f8_e8m0' | 'f8_e4m3fn' | 'none';
  /** Codes are integers with a zero point. */
  readonly affine: boolean;
  readonly signed: boolean;
  readonly packing: 'lowFirst' | 'highFirst';
  /** TensorProto.DataType of the codes, where ONNX has one. */
  readonly onnxType: number | null;
  /** NaN and ±Inf have codes; else NaN becomes 0 and ±Inf the end of the range under nonFinite: 'keep'. */
  readonly keepsNonFinite: boolean;
  readonly policy: EncodingPolicy;

  /** An array for `count` codes, one code per element. */
  codeArray(count: number): CodeArray;
  /** Second scale from the tensor's absmax; absent where the format has none. */
  tensorScale?(absmax: number): number;
  /** Scale (as stored) and zero point for a group whose finite values lie in `range`. */
  parameters(range: ValueRange, context: EncodingContext): GroupParameters;
  quantize(
    values: Float32Array,
    parameters: GroupParameters,
    context: EncodingContext,
    codes: CodeArray,
  ): void;
  dequantize(
    codes: CodeArray,
    parameters: GroupParameters,
    context: DequantizeContext,
    target: Float32Array,
  ): void;
}

export type DequantizeContext = Pick<EncodingContext, 'formula' | 'tensorScale' | 'kernels'>;

/** Bits that one scale takes. */
export function scaleBits(encoding: Encoding, scaleType: ScaleDType = 'f32', scaled = true): number {
  switch (encoding.scaleType) {
    case 'none':
      return 0;
    case 'f8_e8m0':
    case 'f8_e4m3fn':
      return 8;
    case 'optional':
      return scaled ? scalarBits(scaleType) : 0;
    case 'choice':
      return scalarBits(scaleType);
    default:
      return encoding.scaleType satisfies never;
  }
}

function scalarBits(scaleType: ScaleDType): number {
  return scaleType === 'f16' ? 16 : 32;
}

/** Stored bits per weight with its share of scale and zero point; `groupSize` defaults to the format's own block. */
export function bitsPerWeight(
  encoding: Encoding,
  options: {
    readonly groupSize?: number | undefined;
    readonly scaleType?: ScaleDType | undefined;
    readonly symmetric?: boolean | undefined;
  } = {},
): number {
  const size = encoding.blockSize ?? options.groupSize ?? encoding.defaultBlock;
  if (size === null) return encoding.bits;
  const zeroPoint = encoding.affine && options.symmetric === false ? encoding.bits : 0;
  return encoding.bits + (scaleBits(encoding, options.scaleType) + zeroPoint) / size;
}

/** f32 scale that maps `absmax` to `largest`; 1 where it would vanish. */
export function scaleToLargest(absmax: number, largest: number, round: (x: number) => number): number {
  const scale = round(absmax / largest);
  return scale > 0 && Number.isFinite(scale) ? scale : 1;
}

export function absmaxOf(range: ValueRange): number {
  return Math.max(Math.abs(range.min), Math.abs(range.max));
}
