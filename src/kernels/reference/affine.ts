/**
 * Affine codes per tensor and per column (docs/onnx.md 3.6; ONNX QuantizeLinear): q = clamp(round(f32(x / scale)) + zeroPoint).
 *
 * True division, zero point added after rounding. A quotient that is NaN (NaN, 0/0, Inf/Inf) counts as 0.
 */

import type { Rounding } from '../kernels.ts';
import { clamp, roundingOf } from './rounding.ts';

/** See `Kernels.quantizeAffine`. */
export function quantizeAffine(
  values: Float32Array,
  scale: number,
  zeroPoint: number,
  low: number,
  high: number,
  rounding: Rounding,
  target: Uint8Array | Int8Array | Uint16Array | Int16Array,
): void {
  const round = roundingOf(rounding);
  const divisor = Math.fround(scale);
  for (let i = 0; i < values.length; i++) {
    const quotient = Math.fround(values[i]! / divisor);
    target[i] = clamp((!Number.isNaN(quotient) ? round(quotient) : 0) + zeroPoint, low, high);
  }
}

/** See `Kernels.dequantizeAffine`. */
export function dequantizeAffine(
  codes: Uint8Array | Int8Array | Uint16Array | Int16Array,
  scale: number,
  zeroPoint: number,
  target: Float32Array,
): void {
  const factor = Math.fround(scale);
  for (let i = 0; i < codes.length; i++) target[i] = (codes[i]! - zeroPoint) * factor;
}

/** Folds the finite values of every column into `min` and `max`; returns how many were not finite. */
export function columnRange(
  values: Float32Array,
  columns: number,
  min: Float32Array,
  max: Float32Array,
): number {
  let nonFinite = 0;
  for (let start = 0; start < values.length; start += columns) {
    for (let c = 0; c < columns; c++) {
      const x = values[start + c]!;
      if (x - x !== 0) {
        nonFinite++;
      } else {
        if (x < min[c]!) min[c] = x;
        if (x > max[c]!) max[c] = x;
      }
    }
  }
  return nonFinite;
}

/** See `Kernels.quantizeAffineColumns`. */
export function quantizeAffineColumns(
  values: Float32Array,
  columns: number,
  scales: Float32Array,
  zeroPoints: Int32Array,
  low: number,
  high: number,
  rounding: Rounding,
  target: Uint8Array | Int8Array,
): void {
  const round = roundingOf(rounding);
  for (let start = 0; start < values.length; start += columns) {
    for (let c = 0; c < columns; c++) {
      const quotient = Math.fround(values[start + c]! / scales[c]!);
      target[start + c] = clamp((!Number.isNaN(quotient) ? round(quotient) : 0) + zeroPoints[c]!, low, high);
    }
  }
}
