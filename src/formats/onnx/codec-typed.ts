/**
 * Tensor data in typed fields (`int32_data`, `int64_data`, `uint64_data`): varints, turned into raw little-endian
 * bytes as `raw_data` would hold them.
 *
 * Which field serves which type, and how (TensorProto comments in onnx.proto): `int32_data` carries one entry per
 * element for the 8-, 16- and 32-bit types (float16, bfloat16 and float8 as bit patterns) and one entry per packed
 * byte for the 4- and 2-bit types. Wider entries are cut to the element's width, as runtimes do.
 */

import { byteLength, DTYPES, type DType } from '../../core/dtype.ts';
import type { Payload, TensorProto } from './messages.ts';
import { type Cursor, type Halves, readHalves } from './varints.ts';

/** The typed field that holds data of `dtype`, and whether it is raw little-endian already. */
export function typedPayload(
  tensor: TensorProto,
  dtype: DType,
): { payload: Payload; isRaw: boolean } | undefined {
  const [payload, isRaw] = fieldFor(tensor, dtype);
  return payload === undefined ? undefined : { payload, isRaw };
}

function fieldFor(tensor: TensorProto, dtype: DType): [Payload | undefined, boolean] {
  switch (dtype) {
    case 'f32':
    case 'complex64':
      return [tensor.floatData, true];
    case 'f64':
    case 'complex128':
      return [tensor.doubleData, true];
    case 'int64':
      return [tensor.int64Data, false];
    case 'uint32':
    case 'uint64':
      return [tensor.uint64Data, false];
    case 'string':
      return [undefined, false];
    default:
      return [tensor.int32Data, false];
  }
}

/** Number of varints that hold `count` elements: sub-byte types are stored byte by byte. */
export function entryCount(dtype: DType, count: number): number {
  return DTYPES[dtype].bits < 8 ? byteLength(dtype, count) : count;
}

/**
 * Decodes all varints in the cursor into raw bytes.
 * @param count Elements of the tensor.
 * @returns `undefined` where the cursor does not hold exactly the entries that `count` elements need.
 * @throws WhittleError E_PROTOBUF, E_TRUNCATED for malformed varints
 */
export function rawFromVarints(cursor: Cursor, dtype: DType, count: number): Uint8Array | undefined {
  const entries = entryCount(dtype, count);
  // Every varint has at least one byte: nothing is allocated for data that cannot be there.
  if (entries > cursor.end - cursor.position) return undefined;
  const width = Math.max(1, DTYPES[dtype].bits / 8);
  const raw = new Uint8Array(entries * width);
  const view = new DataView(raw.buffer);
  const value: Halves = { low: 0, high: 0 };
  for (let entry = 0; entry < entries; entry++) {
    if (cursor.position >= cursor.end) return undefined;
    readHalves(cursor, value);
    const at = entry * width;
    if (width === 1) raw[at] = value.low;
    else if (width === 2) view.setUint16(at, value.low & 0xffff, true);
    else {
      view.setUint32(at, value.low, true);
      if (width === 8) view.setUint32(at + 4, value.high, true);
    }
  }
  return cursor.position === cursor.end ? raw : undefined;
}
