/**
 * `TensorProto.DataType` numbers and the element types they stand for.
 *
 * Source: onnx.proto (ONNX 1.20, IR 13). Numbers that are not in the table (0 = UNDEFINED, or types of a later
 * IR) give `undefined`: such tensors are kept as they are, and only a job that needs their values refuses them.
 */

import type { DType } from '../../core/dtype.ts';

/** One row per type, in the order of the specification. */
export const ONNX_DATA_TYPES = {
  f32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  f16: 10,
  f64: 11,
  uint32: 12,
  uint64: 13,
  complex64: 14,
  complex128: 15,
  bf16: 16,
  f8_e4m3fn: 17,
  f8_e4m3fnuz: 18,
  f8_e5m2: 19,
  f8_e5m2fnuz: 20,
  uint4: 21,
  int4: 22,
  f4_e2m1: 23,
  f8_e8m0: 24,
  uint2: 25,
  int2: 26,
} as const satisfies Record<DType, number>;

const BY_NUMBER: ReadonlyMap<number, DType> = new Map(
  keysOf(ONNX_DATA_TYPES).map((dtype) => [ONNX_DATA_TYPES[dtype], dtype]),
);

function keysOf(table: typeof ONNX_DATA_TYPES): DType[] {
  const keys: DType[] = [];
  for (const key in table) if (isDType(key)) keys.push(key);
  return keys;
}

function isDType(key: string): key is DType {
  return Object.hasOwn(ONNX_DATA_TYPES, key);
}

/** Element type of a data-type number; `undefined` for 0 (UNDEFINED), absent and unknown numbers. */
export function dtypeOfNumber(dataType: number | undefined): DType | undefined {
  return dataType === undefined ? undefined : BY_NUMBER.get(dataType);
}

/** Data-type number of an element type. */
export function numberOfDtype(dtype: DType): number {
  return ONNX_DATA_TYPES[dtype];
}

/** First IR version whose files may hold the type (docs/onnx.md 1a; releases' version table). */
export function minimumIr(dtype: DType): number {
  switch (dtype) {
    case 'f8_e4m3fn':
    case 'f8_e4m3fnuz':
    case 'f8_e5m2':
    case 'f8_e5m2fnuz':
      return 9;
    case 'uint4':
    case 'int4':
      return 10;
    case 'f4_e2m1':
      return 11;
    case 'f8_e8m0':
      return 12;
    case 'uint2':
    case 'int2':
      return 13;
    default:
      return 3;
  }
}
