/**
 * Element types of tensors, as files declare them. One row per type; code asks the row, never the name.
 * Sub-byte types are packed: the first element sits in the low bits of the first byte (ONNX, IR 10).
 */

export const DTYPES = {
  f64: { bits: 64, kind: 'float' },
  f32: { bits: 32, kind: 'float' },
  f16: { bits: 16, kind: 'float' },
  bf16: { bits: 16, kind: 'float' },
  f8_e4m3fn: { bits: 8, kind: 'float' },
  f8_e4m3fnuz: { bits: 8, kind: 'float' },
  f8_e5m2: { bits: 8, kind: 'float' },
  f8_e5m2fnuz: { bits: 8, kind: 'float' },
  f8_e8m0: { bits: 8, kind: 'float' },
  f4_e2m1: { bits: 4, kind: 'float' },
  int64: { bits: 64, kind: 'int' },
  int32: { bits: 32, kind: 'int' },
  int16: { bits: 16, kind: 'int' },
  int8: { bits: 8, kind: 'int' },
  int4: { bits: 4, kind: 'int' },
  int2: { bits: 2, kind: 'int' },
  uint64: { bits: 64, kind: 'uint' },
  uint32: { bits: 32, kind: 'uint' },
  uint16: { bits: 16, kind: 'uint' },
  uint8: { bits: 8, kind: 'uint' },
  uint4: { bits: 4, kind: 'uint' },
  uint2: { bits: 2, kind: 'uint' },
  bool: { bits: 8, kind: 'bool' },
  complex64: { bits: 64, kind: 'complex' },
  complex128: { bits: 128, kind: 'complex' },
  string: { bits: 0, kind: 'string' },
} as const satisfies Record<string, { bits: number; kind: DTypeKind }>;

export type DTypeKind = 'float' | 'int' | 'uint' | 'bool' | 'complex' | 'string';
export type DType = keyof typeof DTYPES;

/** The float types that weights come in. */
export type WeightDType = 'f64' | 'f32' | 'f16' | 'bf16';

export function isWeightDType(dtype: DType): dtype is WeightDType {
  return dtype === 'f32' || dtype === 'f16' || dtype === 'bf16' || dtype === 'f64';
}

/** Bytes of `count` packed elements; the last byte of a sub-byte type may be partly used. */
export function byteLength(dtype: DType, count: number): number {
  return Math.ceil((count * DTYPES[dtype].bits) / 8);
}
