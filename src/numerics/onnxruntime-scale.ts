/**
 * Scale and zero point as onnxruntime's quantization tools compute them from an observed range (docs/onnx.md 3.6 and 3.7):
 * the width of the range in f32, everything after it in f64, the scale rounded to the tensor's type last (the zero point
 * comes from the unrounded scale). Used for dynamic weights and static QDQ parameters alike.
 */

import { f16BitsToF32, f32ToF16Bits } from '../core/floats.ts';
import { roundHalfEven, type ValueRange } from './affine.ts';
import type { ScaleDType } from './operation.ts';

export type AffineType = 'int4' | 'int8' | 'int16' | 'uint4' | 'uint8' | 'uint16';

export interface OnnxruntimeScaleOptions {
  readonly type: AffineType;
  readonly symmetric: boolean;
  /** Leaves one bit unused (7-bit weights for machines whose 8-bit products overflow). Default false. */
  readonly reduceRange?: boolean | undefined;
  /** Type of the tensor and of its scale. Default f32. */
  readonly scaleType?: ScaleDType | undefined;
  /** MinimumRealRange: widens max so that the range is at least this wide. */
  readonly minimumRange?: number | undefined;
}

const ROWS = {
  int4: { bits: 4, signed: true },
  int8: { bits: 8, signed: true },
  int16: { bits: 16, signed: true },
  uint4: { bits: 4, signed: false },
  uint8: { bits: 8, signed: false },
  uint16: { bits: 16, signed: false },
} as const satisfies Record<AffineType, { bits: number; signed: boolean }>;

/** Codes over which onnxruntime spreads the range; the codes written may still use the full type. */
export function onnxruntimeCodeRange(options: OnnxruntimeScaleOptions): { low: number; high: number } {
  const { bits, signed } = ROWS[options.type];
  if (options.reduceRange === true) {
    return signed
      ? { low: -(2 ** (bits - 2)), high: 2 ** (bits - 2) }
      : { low: 0, high: 2 ** (bits - 1) - 1 };
  }
  if (!signed) return { low: 0, high: 2 ** bits - 1 };
  // Symmetric int8 and int16 leave out the lowest code; int4 keeps it.
  const cut = options.symmetric && bits > 4 ? 1 : 0;
  return { low: -(2 ** (bits - 1)) + cut, high: 2 ** (bits - 1) - 1 };
}

export function onnxruntimeScale(
  range: ValueRange,
  options: OnnxruntimeScaleOptions,
): { readonly scale: number; readonly zeroPoint: number } {
  const { low, high } = onnxruntimeCodeRange(options);
  const half = options.scaleType === 'f16';
  const round = half ? (x: number) => f16BitsToF32(f32ToF16Bits(x)) : Math.fround;
  let min = Math.min(0, round(range.min));
  let max = Math.max(0, round(range.max));
  if (options.minimumRange !== undefined) max = Math.max(max, round(min + round(options.minimumRange)));
  if (options.symmetric) {
    max = Math.max(-min, max);
    min = -max;
  }
  const scale = round(max - min) / (high - low);
  if (scale < (half ? 2 ** -14 : 2 ** -126)) return { scale: 1, zeroPoint: 0 };
  const zeroPoint = options.symmetric ? roundHalfEven((low + high) / 2) : roundHalfEven(low - min / scale);
  return { scale: round(scale), zeroPoint };
}
