/**
 * What the tensor-level functions accept: values of f32, f64, f16 or bf16 with a shape. Everything is computed on f32,
 * the type that the kernels and the runtimes work in; f64 is rounded to it once (a magnitude above 3.4e38 becomes Inf
 * and counts as non-finite). f16 and bf16 arrive as their bits in a Uint16Array, with `dtype` to tell which.
 */

import type { WeightDType } from '../core/dtype.ts';
import { elementCount, formatShape, type Shape } from '../core/shape.ts';
import { WhittleError } from '../errors.ts';
import { referenceKernels } from '../kernels/index.ts';
import type { Kernels } from '../kernels/kernels.ts';

export type WeightValues = Float32Array | Float64Array | Uint16Array;

export interface WeightOptions {
  /** Needed for a Uint16Array: the float type whose bits it holds. */
  readonly dtype?: WeightDType | undefined;
  /** Default: the plain-TypeScript reference. `await selectKernels()` gives the fastest; results are the same bits. */
  readonly kernels?: Kernels | undefined;
}

/** The values as f32. A Float32Array is returned as it is. Throws E_DTYPE where array and `dtype` disagree. */
export function toFloat32(values: WeightValues, options: WeightOptions = {}): Float32Array {
  const { dtype } = options;
  if (values instanceof Float32Array) {
    if (dtype !== undefined && dtype !== 'f32') throw mismatch('Float32Array', 'f32', dtype);
    return values;
  }
  if (values instanceof Float64Array) {
    if (dtype !== undefined && dtype !== 'f64') throw mismatch('Float64Array', 'f64', dtype);
    return Float32Array.from(values);
  }
  if (!(values instanceof Uint16Array)) {
    throw new WhittleError('E_DTYPE', 'the values are not in an array that whittle reads', {
      expected: 'Float32Array, Float64Array, or Uint16Array with dtype f16 or bf16',
      hint: 'Put the values into a Float32Array.',
    });
  }
  if (dtype !== 'f16' && dtype !== 'bf16') throw mismatch('Uint16Array', 'f16 or bf16', dtype ?? 'none');
  const target = new Float32Array(values.length);
  const source = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  kernelsOf(options).convert(dtype, 'f32', source, new Uint8Array(target.buffer), values.length);
  return target;
}

export function kernelsOf(options: { readonly kernels?: Kernels | undefined }): Kernels {
  return options.kernels ?? referenceKernels();
}

/** Throws E_SHAPE unless `shape` has non-negative integer dimensions whose product is `count`. */
export function checkShape(shape: Shape, count: number): void {
  const valid = shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0);
  if (!valid || elementCount(shape) !== count) {
    throw new WhittleError('E_SHAPE', 'the shape does not fit the values', {
      expected: `${count} elements`,
      found: formatShape(shape),
      hint: 'Give the dimensions in row-major order; their product is the number of values.',
    });
  }
}

/** Axis counted from the front; negative axes count from the end. Throws E_SHAPE outside the rank. */
export function resolveAxis(axis: number, rank: number): number {
  const resolved = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || resolved < 0 || resolved >= rank) {
    throw new WhittleError('E_SHAPE', 'the axis is outside the shape', {
      expected: rank === 0 ? 'no axis: a scalar has none' : `an integer from ${-rank} to ${rank - 1}`,
      found: String(axis),
    });
  }
  return resolved;
}

/** Index of the first NaN or ±Inf, or −1. */
export function firstNonFinite(values: Float32Array): number {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i]!)) return i;
  return -1;
}

/** Policy `refuse`: throws E_NONFINITE naming the first index. */
export function refuseNonFinite(values: Float32Array): void {
  const index = firstNonFinite(values);
  if (index < 0) return;
  throw new WhittleError('E_NONFINITE', `value ${index} is ${values[index]}`, {
    expected: 'finite values',
    found: `${values[index]} at index ${index}`,
    hint: "Repair the weights, keep this tensor as it is, or pass nonFinite: 'keep' (policy in docs/numerics.md).",
  });
}

function mismatch(array: string, expected: string, found: string): WhittleError {
  return new WhittleError('E_DTYPE', `a ${array} holds ${expected}`, {
    expected,
    found,
    hint: 'Pass the dtype that the array holds.',
  });
}
