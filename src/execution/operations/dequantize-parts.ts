/** What the inverse operations share: reading scales, and writing values in the type that was asked for. */

import type { ValueDType } from '../../numerics/dequantize-operation.ts';
import type { PartRole, ScaleDType } from '../../numerics/operation.ts';
import { bytesOf, type OperationContext } from './context.ts';

export interface DequantizeContext extends Omit<OperationContext, 'read'> {
  /** Fills `target` with bytes of the part from `offset`. */
  read(role: PartRole, offset: number, target: Uint8Array): Promise<void> | void;
}

/** Scales [index, index + count) of a part, widened to f32. */
export async function readScales(
  context: DequantizeContext,
  role: PartRole,
  type: ScaleDType,
  index: number,
  count: number,
): Promise<Float32Array> {
  const scales = new Float32Array(count);
  if (type === 'f32') {
    await context.read(role, index * 4, bytesOf(scales));
    return scales;
  }
  const narrow = new Uint8Array(count * 2);
  await context.read(role, index * 2, narrow);
  context.kernels.convert('f16', 'f32', narrow, bytesOf(scales), count);
  return scales;
}

/** Writes values from element `index` of the result on, rounded to `to`. */
export async function writeValues(
  context: DequantizeContext,
  to: ValueDType,
  index: number,
  values: Float32Array,
): Promise<void> {
  if (to === 'f32') return context.write('data', index * 4, bytesOf(values));
  const narrow = new Uint8Array(values.length * 2);
  context.kernels.convert('f32', 'f16', bytesOf(values), narrow, values.length);
  return context.write('data', index * 2, narrow);
}
