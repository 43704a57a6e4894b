/**
 * QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear as the ONNX operator definitions (opset 25) state them, as
 * pure functions on raw tensors. They are what our writers' output means, and the oracle for readers.
 *
 *   QuantizeLinear     y = saturate(round_half_even(x / y_scale) + y_zero_point); f8 and f4: cast(x / y_scale + 0)
 *   DequantizeLinear   y = (x − x_zero_point) · x_scale, in the type of x_scale
 *   DynamicQuantize…   uint8 with scale = (max(x, 0) − min(x, 0)) / 255, zero point = saturate(round(0 − min / scale))
 *
 * Scales: a scalar (or one element) = per tensor; a vector = per index of `axis`; the rank of x with block_size > 0 =
 * blocks along `axis`, the last may be shorter. Division is rounded to f32, or to f16 / bf16 where the scale has that
 * type.
 */

import { DTYPES, type DType } from '../core/dtype.ts';
import { decodeFloat, encodeFloat } from '../core/floats.ts';
import { formatShape, type Shape } from '../core/shape.ts';
import { WhittleError } from '../errors.ts';
import { clamp, roundHalfEven } from './affine.ts';
import { type RawTensor, readElements, writeElements } from './onnx-tensor.ts';
import { resolveAxis } from './weights.ts';

export interface LinearAttributes {
  /** Default 1. */
  readonly axis?: number | undefined;
  /** Default 0: not blocked. */
  readonly blockSize?: number | undefined;
}

export interface QuantizeLinearAttributes extends LinearAttributes {
  /** f8 only: overflow gives the largest finite value. Default true. */
  readonly saturate?: boolean | undefined;
  /** Type of y where there is no zero point. Default uint8. */
  readonly outputType?: DType | undefined;
}

/** y of QuantizeLinear. Throws E_SHAPE where scale and zero point do not fit x, E_DTYPE for types it does not have. */
export function quantizeLinear(
  x: RawTensor,
  scale: RawTensor,
  zeroPoint?: RawTensor,
  attributes: QuantizeLinearAttributes = {},
): RawTensor {
  const target = zeroPoint?.dtype ?? attributes.outputType ?? 'uint8';
  const range = integerRange(target);
  if (range === undefined && !isQuantizedFloat(target)) throw wrongType('the output', target);
  const values = readElements(x);
  const scales = readElements(scale);
  const zeros = zeroPoint === undefined ? undefined : readElements(zeroPoint);
  if (zeroPoint !== undefined) sameShape(scale, zeroPoint);
  const place = scalePlaces(x.shape, scale.shape, attributes);
  const round = rounderOf(scale.dtype);
  const result = values.map((value, i) => {
    const at = place(i);
    const quotient = round(value / scales[at]!);
    // A float zero point is 0, but it is added all the same: −0 becomes +0.
    if (range === undefined) return quotient + (zeros?.[at] ?? 0);
    const rounded = Number.isNaN(quotient) ? 0 : roundHalfEven(quotient);
    return clamp(rounded + (zeros?.[at] ?? 0), range.low, range.high);
  });
  return writeElements(target, x.shape, result, attributes.saturate ?? true);
}

/** y of DequantizeLinear, in the type of `scale`. Throws as `quantizeLinear`. */
export function dequantizeLinear(
  x: RawTensor,
  scale: RawTensor,
  zeroPoint?: RawTensor,
  attributes: LinearAttributes = {},
): RawTensor {
  if (integerRange(x.dtype) === undefined && !isQuantizedFloat(x.dtype))
    throw wrongType('the input', x.dtype);
  const codes = readElements(x);
  const scales = readElements(scale);
  const zeros = zeroPoint === undefined ? undefined : readElements(zeroPoint);
  if (zeroPoint !== undefined) {
    if (zeroPoint.dtype !== x.dtype) throw wrongType('the zero point', zeroPoint.dtype);
    sameShape(scale, zeroPoint);
  }
  const place = scalePlaces(x.shape, scale.shape, attributes);
  const round = rounderOf(scale.dtype);
  const result = codes.map((code, i) => {
    const at = place(i);
    return round((code - (zeros?.[at] ?? 0)) * scales[at]!);
  });
  return writeElements(scale.dtype, x.shape, result, false);
}

/** y, y_scale and y_zero_point of DynamicQuantizeLinear for an f32 tensor. A tensor of zeros has the scale 1. */
export function dynamicQuantizeLinear(x: RawTensor): {
  readonly y: RawTensor;
  readonly scale: RawTensor;
  readonly zeroPoint: RawTensor;
} {
  if (x.dtype !== 'f32') throw wrongType('the input', x.dtype);
  let min = 0;
  let max = 0;
  for (const value of readElements(x)) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  const width = Math.fround(Math.fround(max - min) / 255);
  const step = width === 0 ? 1 : width;
  const zero = clamp(roundHalfEven(Math.fround(0 - min / step)), 0, 255);
  const scale = writeElements('f32', [], [step]);
  const zeroPoint = writeElements('uint8', [], [zero]);
  return { y: quantizeLinear(x, scale, zeroPoint), scale, zeroPoint };
}

/** Index into the scales for each element of x. */
function scalePlaces(shape: Shape, scaleShape: Shape, attributes: LinearAttributes): (i: number) => number {
  const { blockSize = 0 } = attributes;
  const scaleCount = scaleShape.reduce((product, dim) => product * dim, 1);
  if (blockSize === 0 && scaleCount === 1 && scaleShape.length <= 1) return () => 0;
  const axis = resolveAxis(attributes.axis ?? 1, shape.length);
  const dim = shape[axis]!;
  const inner = shape.slice(axis + 1).reduce((product, d) => product * d, 1);
  if (blockSize === 0) {
    if (scaleShape.length !== 1 || scaleShape[0] !== dim) throw wrongShape(`[${dim}]`, scaleShape);
    return (i) => Math.floor(i / inner) % dim;
  }
  const blocks = Math.ceil(dim / blockSize);
  const expected = shape.map((d, i) => (i === axis ? blocks : d));
  if (scaleShape.length !== shape.length || expected.some((d, i) => d !== scaleShape[i])) {
    throw wrongShape(formatShape(expected), scaleShape);
  }
  return (i) => {
    const column = i % inner;
    const index = Math.floor(i / inner);
    const block = Math.floor((index % dim) / blockSize);
    return (Math.floor(index / dim) * blocks + block) * inner + column;
  };
}

function integerRange(dtype: DType): { low: number; high: number } | undefined {
  const { bits, kind } = DTYPES[dtype];
  if ((kind !== 'int' && kind !== 'uint') || bits > 32) return undefined;
  return kind === 'int'
    ? { low: -(2 ** (bits - 1)), high: 2 ** (bits - 1) - 1 }
    : { low: 0, high: 2 ** bits - 1 };
}

function isQuantizedFloat(dtype: DType): boolean {
  const { bits, kind } = DTYPES[dtype];
  return kind === 'float' && bits <= 8 && dtype !== 'f8_e8m0';
}

/** Rounds to the type that the operator computes in. */
function rounderOf(dtype: DType): (x: number) => number {
  if (dtype === 'f16' || dtype === 'bf16') return (x) => decodeFloat(dtype, encodeFloat(dtype, x));
  if (dtype === 'f32' || dtype === 'f8_e8m0') return Math.fround;
  throw wrongType('the scale', dtype);
}

/** A scalar and a vector of one element count as the same. */
function sameShape(scale: RawTensor, zeroPoint: RawTensor): void {
  const text = (shape: Shape): string => formatShape(shape.length === 1 && shape[0] === 1 ? [] : shape);
  if (text(scale.shape) !== text(zeroPoint.shape))
    throw wrongShape(formatShape(scale.shape), zeroPoint.shape);
}

function wrongShape(expected: string, found: Shape): WhittleError {
  return new WhittleError('E_SHAPE', 'scale or zero point does not fit the tensor', {
    expected,
    found: formatShape(found),
  });
}

function wrongType(what: string, dtype: DType): WhittleError {
  return new WhittleError('E_DTYPE', `${what} of a quantization operator cannot have this type`, {
    found: dtype,
  });
}
