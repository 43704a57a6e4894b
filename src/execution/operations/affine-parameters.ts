/**
 * Scale and zero point from a range, as onnxruntime's quantize_dynamic computes them (docs/onnx.md 3.6), and the code ranges
 * of every type. The range always includes 0; codes are clipped to the full type even where the range is reduced.
 */

import type { AffineOperation } from '../../numerics/operation.ts';
import { workingScale, workingScaleType } from './scales.ts';

export interface AffineParameters {
  /** As used for the codes: rounded to f32, or to f16 for an f16 weight with f16 scales. */
  readonly scale: number;
  readonly zeroPoint: number;
}

interface CodeRange {
  readonly bits: 4 | 8 | 16;
  readonly low: number;
  readonly high: number;
  readonly symmetric: readonly [number, number];
  readonly reduced: readonly [number, number];
}

export const CODE_RANGES: Readonly<Record<AffineOperation['type'], CodeRange>> = {
  int8: { bits: 8, low: -128, high: 127, symmetric: [-127, 127], reduced: [-64, 64] },
  uint8: { bits: 8, low: 0, high: 255, symmetric: [0, 255], reduced: [0, 127] },
  int4: { bits: 4, low: -8, high: 7, symmetric: [-8, 7], reduced: [-4, 3] },
  uint4: { bits: 4, low: 0, high: 15, symmetric: [0, 15], reduced: [0, 7] },
  int16: { bits: 16, low: -32768, high: 32767, symmetric: [-32767, 32767], reduced: [-16384, 16384] },
  uint16: { bits: 16, low: 0, high: 65535, symmetric: [0, 65535], reduced: [0, 32767] },
};

/** Smallest normal value: a scale below it means "all zero". */
const SMALLEST_NORMAL = { f32: 2 ** -126, f16: 2 ** -14 } as const;

export function affineParameters(
  min: number,
  max: number,
  operation: Pick<AffineOperation, 'type' | 'symmetric' | 'reduceRange' | 'from' | 'scaleType'>,
): AffineParameters {
  const range = CODE_RANGES[operation.type];
  const [low, high] = operation.reduceRange
    ? range.reduced
    : operation.symmetric
      ? range.symmetric
      : [range.low, range.high];
  let from = Math.min(min, 0);
  let to = Math.max(max, 0);
  if (operation.symmetric) {
    to = Math.max(Math.abs(from), Math.abs(to));
    from = -to;
  }
  const exact = Math.fround(to - from) / (high - low);
  const middle = roundEven((low + high) / 2);
  if (exact < SMALLEST_NORMAL[workingScaleType(operation)]) {
    return { scale: 1, zeroPoint: 0 };
  }
  return {
    scale: workingScale(operation, exact),
    zeroPoint: operation.symmetric ? middle : roundEven(low - from / exact),
  };
}

/** Nearest integer, ties to even; never −0. */
export function roundEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  const up = rest > 0.5 || (rest === 0.5 && floor % 2 !== 0);
  return (up ? floor + 1 : floor) + 0;
}
