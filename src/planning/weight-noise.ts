/**
 * How well one 8-bit scale suits a whole tensor, estimated in one pass without quantizing: rounding to steps of s = absmax / 127
 * adds noise of power s² / 12 (Bennett, 1948), so that
 *
 *   SQNR ≈ 10·log10( Σw² / (n · s² / 12) ) dB
 *
 * A few outliers make s large and the estimate small: such weights need a scale for each channel. The estimate tells them
 * apart for rules with `int8SqnrBelow`; only the weights that such a rule asks about are read.
 */

import type { WeightDType } from '../core/dtype.ts';
import { byteLength } from '../core/dtype.ts';
import { elementCount } from '../core/shape.ts';
import type { TensorBytes } from '../formats/layout.ts';
import type { Weight } from '../formats/onnx/model.ts';
import { toFloat32 } from '../numerics/weights.ts';

/** Elements read at once. */
const CHUNK = 1 << 18;

/** The estimate in dB; Infinity for a tensor of zeros, NaN where a value is not finite. */
export async function int8Sqnr(weight: Weight, bytes: TensorBytes): Promise<number> {
  const count = elementCount(weight.shape) ?? 0;
  let absMax = 0;
  let power = 0;
  for (let start = 0; start < count; start += CHUNK) {
    const values = await readValues(bytes, weight.dtype, start, Math.min(CHUNK, count - start));
    for (const value of values) {
      power += value * value;
      absMax = Math.max(absMax, Math.abs(value));
    }
  }
  if (power === 0) return Number.POSITIVE_INFINITY;
  const step = absMax / 127;
  return 10 * Math.log10((12 * power) / (count * step * step));
}

async function readValues(
  bytes: TensorBytes,
  dtype: Weight['dtype'],
  start: number,
  count: number,
): Promise<Float32Array> {
  const offset = byteLength(dtype, start);
  const target = new Uint8Array(byteLength(dtype, count));
  if (bytes.kind === 'inline') target.set(bytes.bytes.subarray(offset, offset + target.length));
  else await bytes.source.readInto(bytes.offset + offset, target);
  return asFloat32(target, dtype);
}

function asFloat32(bytes: Uint8Array<ArrayBuffer>, dtype: WeightDType | Weight['dtype']): Float32Array {
  switch (dtype) {
    case 'f32':
      return new Float32Array(bytes.buffer);
    case 'f64':
      return toFloat32(new Float64Array(bytes.buffer));
    case 'f16':
    case 'bf16':
      return toFloat32(new Uint16Array(bytes.buffer), { dtype });
    default:
      return new Float32Array(0);
  }
}
