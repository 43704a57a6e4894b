/**
 * What a form can hold: zero points are integers among the codes, or real numbers in the type of the scales. Zeros of an
 * algorithm that are neither are rounded, which asks for other codes, each the nearest on the grid that is stored.
 *
 * An f16 zero far from the codes (a group whose values are all alike, away from 0) would be a coarse one: such a group gets the
 * grid of its range with 0 in it, whose zero lies among the codes.
 */

import { f16BitsToF32, f32ToF16Bits } from '../core/floats.ts';
import type { GridOptions, QuantizedMatrix, WeightMatrix } from './matrix.ts';

/** Steps of a grid: what rounding a zero between 0 and 15 to f16 moves it by, at most. Codes stay as the algorithm chose them. */
const SMALL_SHIFT = 2 ** -8;
/** Beyond it f16 is coarser than a sixteenth of a step. */
const FAR = 128;

/** @param grid - what the form stores */
export function withStoredZeros(
  weight: WeightMatrix,
  quantized: QuantizedMatrix,
  grid: Pick<GridOptions, 'zeroPoints' | 'scaleType'>,
): QuantizedMatrix {
  if (grid.zeroPoints !== 'real') return withIntegerZeros(weight, quantized);
  if (grid.scaleType !== 'f16') return quantized;
  const scales = quantized.scales.slice();
  const zeros = quantized.zeroPoints.slice();
  for (const [group, zero] of zeros.entries()) {
    if (Math.abs(zero) <= FAR) zeros[group] = half(zero);
    else [scales[group], zeros[group]] = coveringGrid(weight, quantized, group);
  }
  return withGrid(weight, quantized, scales, zeros, SMALL_SHIFT);
}

/** Integer zero points from 0 to 2^bits − 1, and the nearest codes for them; as it was where they are integers already. */
export function withIntegerZeros(weight: WeightMatrix, quantized: QuantizedMatrix): QuantizedMatrix {
  const top = 2 ** quantized.bits - 1;
  const zeros = quantized.zeroPoints.map((zero) => Math.min(top, Math.max(0, Math.round(zero))));
  return withGrid(weight, quantized, quantized.scales, zeros, 0);
}

function half(value: number): number {
  return f16BitsToF32(f32ToF16Bits(value));
}

/** Scale and zero of the range of a group, 0 included. */
function coveringGrid(
  { values, inputs }: WeightMatrix,
  { bits, groupSize }: QuantizedMatrix,
  group: number,
): [scale: number, zero: number] {
  const groups = Math.ceil(inputs / groupSize);
  const start = (group % groups) * groupSize;
  const row = Math.floor(group / groups) * inputs;
  let low = 0;
  let high = 0;
  for (let i = start; i < Math.min(inputs, start + groupSize); i++) {
    low = Math.min(low, values[row + i]!);
    high = Math.max(high, values[row + i]!);
  }
  const scale = half((high - low) / (2 ** bits - 1));
  return scale > 0 && scale < Number.POSITIVE_INFINITY ? [scale, half(low === 0 ? 0 : -low / scale)] : [0, 0];
}

/** Groups whose scale changes, or whose zero moves by more than `allowed` steps, take the nearest codes. */
function withGrid(
  { values, outputs, inputs }: WeightMatrix,
  quantized: QuantizedMatrix,
  scales: Float32Array,
  zeroPoints: Float32Array,
  allowed: number,
): QuantizedMatrix {
  const stays = zeroPoints.map((zero, group) => {
    const moved = Math.abs(zero - quantized.zeroPoints[group]!);
    return scales[group] === quantized.scales[group] && moved <= allowed ? 1 : 0;
  });
  if (stays.every((stay, group) => stay === 1 && zeroPoints[group] === quantized.zeroPoints[group])) {
    return quantized;
  }
  const { bits, groupSize } = quantized;
  const top = 2 ** bits - 1;
  const groups = Math.ceil(inputs / groupSize);
  const codes = quantized.codes.slice();
  for (let output = 0; output < outputs; output++) {
    for (let input = 0; input < inputs; input++) {
      const group = output * groups + Math.floor(input / groupSize);
      if (stays[group] === 1) continue;
      const at = output * inputs + input;
      const scale = scales[group]!;
      const code = Math.round((scale === 0 ? 0 : values[at]! / scale) + zeroPoints[group]!);
      codes[at] = Math.min(top, Math.max(0, code));
    }
  }
  return { ...quantized, codes, scales, zeroPoints };
}
