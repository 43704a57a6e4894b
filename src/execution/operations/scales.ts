/** Scales on their way to the file: when they are rounded to f16, and how they are written. See context.ts for the policy. */

import type { WeightDType } from '../../core/dtype.ts';
import { decodeFloat, encodeFloat } from '../../core/floats.ts';
import type { PartRole, ScaleDType } from '../../numerics/operation.ts';
import { bytesOf, type OperationContext } from './context.ts';

interface Scaled {
  readonly from: WeightDType;
  readonly scaleType: ScaleDType;
}

/** Type to which a scale is rounded before codes are derived from it. */
export function workingScaleType(operation: Scaled): ScaleDType {
  return operation.from === 'f16' && operation.scaleType === 'f16' ? 'f16' : 'f32';
}

/** The scale that codes are derived from. */
export function workingScale(operation: Scaled, scale: number): number {
  return workingScaleType(operation) === 'f16'
    ? decodeFloat('f16', encodeFloat('f16', scale))
    : Math.fround(scale);
}

/** Writes scales from `index` of the part on. */
export async function writeScales(
  context: OperationContext,
  operation: Scaled,
  role: PartRole,
  index: number,
  scales: Float32Array,
): Promise<void> {
  if (operation.scaleType === 'f32') return context.write(role, index * 4, bytesOf(scales));
  const narrow = new Uint8Array(scales.length * 2);
  const options = operation.from === 'f16' ? {} : { clip: 'fp16' as const };
  context.kernels.convert('f32', 'f16', bytesOf(scales), narrow, scales.length, options);
  return context.write(role, index * 2, narrow);
}

/** Scales as a reader of the file will see them: rounded to f16 where the part is f16. */
export function storedScales(
  context: OperationContext,
  operation: Scaled,
  scales: Float32Array,
): Float32Array {
  if (operation.scaleType === 'f32') return scales;
  const narrow = new Uint8Array(scales.length * 2);
  const stored = new Float32Array(scales.length);
  const options = operation.from === 'f16' ? {} : { clip: 'fp16' as const };
  context.kernels.convert('f32', 'f16', bytesOf(scales), narrow, scales.length, options);
  context.kernels.convert('f16', 'f32', narrow, bytesOf(stored), scales.length);
  return stored;
}
