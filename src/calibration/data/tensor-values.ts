/**
 * The elements of a runtime's tensor as numbers, whatever their type, and back. 64-bit integers beyond 2^53 lose their last
 * bits, which a comparison of outputs can bear.
 */

import { byteLength, DTYPES, type DType } from '../../core/dtype.ts';
import { decodeFloat, encodeFloat, isNarrowFloat } from '../../core/floats.ts';
import { elementCount, formatShape, type Shape } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import type { RuntimeTensor } from '../../runtime/runtime.ts';

/** Every element as f64, row-major. E_UNSUPPORTED for strings and complex numbers. */
export function tensorValues(tensor: RuntimeTensor): Float64Array {
  const { dtype, data } = tensor;
  const count = elementCount(tensor.shape) ?? 0;
  // By far the most common type, converted at once; engines run on little-endian machines only.
  if (dtype === 'f32' && data.byteLength === count * 4) {
    const aligned = data.byteOffset % 4 === 0 ? data : data.slice();
    return new Float64Array(new Float32Array(aligned.buffer, aligned.byteOffset, count));
  }
  const values = new Float64Array(count);
  const read = reader(dtype, data);
  for (let i = 0; i < count; i++) values[i] = read(i);
  return values;
}

/** A tensor of `dtype` from numbers; floats are rounded to nearest even, integers are taken as they are. */
export function makeTensor(dtype: DType, shape: Shape, values: ArrayLike<number>): RuntimeTensor {
  const count = elementCount(shape);
  if (count !== values.length) {
    throw new WhittleError('E_SHAPE', 'the values do not fill the shape', {
      expected: `${count ?? 'too many'} values for ${formatShape(shape)}`,
      found: `${values.length} values`,
    });
  }
  const data = new Uint8Array(byteLength(dtype, count));
  const write = writer(dtype, data);
  for (let i = 0; i < count; i++) write(i, values[i]!);
  return { dtype, shape, data };
}

function reader(dtype: DType, data: Uint8Array): (index: number) => number {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  switch (dtype) {
    case 'f32':
      return (i) => view.getFloat32(i * 4, true);
    case 'f64':
      return (i) => view.getFloat64(i * 8, true);
    case 'int64':
      return (i) => Number(view.getBigInt64(i * 8, true));
    case 'uint64':
      return (i) => Number(view.getBigUint64(i * 8, true));
    case 'int32':
      return (i) => view.getInt32(i * 4, true);
    case 'uint32':
      return (i) => view.getUint32(i * 4, true);
    case 'int16':
      return (i) => view.getInt16(i * 2, true);
    case 'uint16':
      return (i) => view.getUint16(i * 2, true);
    case 'int8':
      return (i) => view.getInt8(i);
    case 'uint8':
    case 'bool':
      return (i) => view.getUint8(i);
    case 'int4':
      return (i) => (((view.getUint8(i >> 1) >> ((i & 1) * 4)) & 15) << 28) >> 28;
    case 'uint4':
      return (i) => (view.getUint8(i >> 1) >> ((i & 1) * 4)) & 15;
    default: {
      if (!isNarrowFloat(dtype) || DTYPES[dtype].bits < 8) throw uncarried(dtype);
      return DTYPES[dtype].bits === 16
        ? (i) => decodeFloat(dtype, view.getUint16(i * 2, true))
        : (i) => decodeFloat(dtype, view.getUint8(i));
    }
  }
}

function writer(dtype: DType, data: Uint8Array): (index: number, value: number) => void {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  switch (dtype) {
    case 'f32':
      return (i, x) => view.setFloat32(i * 4, x, true);
    case 'f64':
      return (i, x) => view.setFloat64(i * 8, x, true);
    case 'int64':
      return (i, x) => view.setBigInt64(i * 8, BigInt(Math.trunc(x)), true);
    case 'uint64':
      return (i, x) => view.setBigUint64(i * 8, BigInt(Math.trunc(x)), true);
    case 'int32':
      return (i, x) => view.setInt32(i * 4, x, true);
    case 'uint32':
      return (i, x) => view.setUint32(i * 4, x, true);
    case 'int16':
      return (i, x) => view.setInt16(i * 2, x, true);
    case 'uint16':
      return (i, x) => view.setUint16(i * 2, x, true);
    case 'int8':
      return (i, x) => view.setInt8(i, x);
    case 'uint8':
      return (i, x) => view.setUint8(i, x);
    case 'bool':
      return (i, x) => view.setUint8(i, x === 0 ? 0 : 1);
    case 'int4':
    case 'uint4':
      return (i, x) => {
        const shift = (i & 1) * 4;
        view.setUint8(i >> 1, (view.getUint8(i >> 1) & ~(15 << shift)) | ((x & 15) << shift));
      };
    default: {
      if (!isNarrowFloat(dtype) || DTYPES[dtype].bits < 8) throw uncarried(dtype);
      return DTYPES[dtype].bits === 16
        ? (i, x) => view.setUint16(i * 2, encodeFloat(dtype, x), true)
        : (i, x) => view.setUint8(i, encodeFloat(dtype, x));
    }
  }
}

function uncarried(dtype: DType): WhittleError {
  return new WhittleError('E_UNSUPPORTED', `values of type ${dtype} cannot be made or compared`);
}
