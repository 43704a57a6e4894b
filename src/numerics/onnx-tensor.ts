/**
 * Raw ONNX tensors ↔ numbers: little-endian elements, sub-byte types packed low bits first (TensorProto.raw_data). Only
 * the types that quantization operators touch; everything becomes f64 so that no integer of 32 bits is rounded.
 */

import { byteLength, DTYPES, type DType } from '../core/dtype.ts';
import { decodeFloat, encodeFloat, isNarrowFloat } from '../core/floats.ts';
import { elementCount, formatShape, type Shape } from '../core/shape.ts';
import { WhittleError } from '../errors.ts';

export interface RawTensor {
  readonly dtype: DType;
  readonly shape: Shape;
  /** As in raw_data. */
  readonly data: Uint8Array;
}

/** The elements as numbers. Throws E_TENSOR_SIZE where the bytes do not fit the shape, E_DTYPE for other types. */
export function readElements(tensor: RawTensor): Float64Array {
  const { dtype, shape, data } = tensor;
  const count = elementCount(shape);
  if (count === undefined || data.length !== byteLength(dtype, count)) {
    throw new WhittleError('E_TENSOR_SIZE', 'the bytes of a tensor do not fit its shape', {
      expected: count === undefined ? 'a countable shape' : `${byteLength(dtype, count)} bytes`,
      found: `${data.length} bytes for ${formatShape(shape)} of ${dtype}`,
    });
  }
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const { bits, kind } = DTYPES[dtype];
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) values[i] = readElement(dtype, bits, kind === 'int', view, i);
  return values;
}

/** A tensor of `dtype` holding `values`, which must be representable (integers in range; floats are rounded, saturating f8/f4 as told). */
export function writeElements(
  dtype: DType,
  shape: Shape,
  values: ArrayLike<number>,
  saturate = true,
): RawTensor {
  const data = new Uint8Array(byteLength(dtype, values.length));
  const view = new DataView(data.buffer);
  const { bits } = DTYPES[dtype];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (dtype === 'f64') view.setFloat64(i * 8, value, true);
    else if (dtype === 'f32') view.setFloat32(i * 4, value, true);
    else {
      const code = isNarrowFloat(dtype) ? encodeFloat(dtype, value, saturate && bits <= 8) : value;
      if (bits === 32) view.setInt32(i * 4, code, true);
      else if (bits === 16) view.setUint16(i * 2, code & 0xffff, true);
      else if (bits === 8) data[i] = code & 0xff;
      else if (bits === 4 || bits === 2) {
        const position = i * bits;
        data[position >> 3]! |= (code & (2 ** bits - 1)) << (position & 7);
      } else throw unsupported(dtype);
    }
  }
  return { dtype, shape, data };
}

function readElement(dtype: DType, bits: number, signed: boolean, view: DataView, i: number): number {
  if (dtype === 'f64') return view.getFloat64(i * 8, true);
  if (dtype === 'f32') return view.getFloat32(i * 4, true);
  if (bits === 32) return signed ? view.getInt32(i * 4, true) : view.getUint32(i * 4, true);
  let code: number;
  if (bits === 16) code = view.getUint16(i * 2, true);
  else if (bits === 8) code = view.getUint8(i);
  else if (bits === 4 || bits === 2)
    code = (view.getUint8((i * bits) >> 3) >> ((i * bits) & 7)) & (2 ** bits - 1);
  else throw unsupported(dtype);
  if (isNarrowFloat(dtype)) return decodeFloat(dtype, code);
  return signed ? (code << (32 - bits)) >> (32 - bits) : code;
}

function unsupported(dtype: DType): WhittleError {
  return new WhittleError('E_DTYPE', `quantization operators do not have the type ${dtype}`, {
    expected: 'a float of at most 64 bits or an integer of at most 32 bits',
    found: dtype,
  });
}
