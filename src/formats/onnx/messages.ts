/**
 * The ONNX messages (onnx.proto, Apache-2.0, field numbers in schema.ts) as plain objects.
 *
 * Presence is explicit: a field that the file did not hold is `undefined` or an empty array, so that writing a
 * model that was not edited gives the same fields back. What whittle does not interpret stays in `unknown`, byte
 * for byte, and so do whole messages that no job needs (training info, device configurations, annotations).
 * Tensor bytes are never held here unless they are small: see `Payload`.
 */

import type { ByteSource } from '../../io/source.ts';
import type { PartRole } from '../../numerics/operation.ts';

/** A field that the schema does not name, as it stood in the file (tag included). */
export type UnknownField = Uint8Array;

/** Bytes of a tensor: held (small), still in a file, or promised by a job. */
export type Payload =
  | { readonly kind: 'inline'; readonly bytes: Uint8Array }
  | { readonly kind: 'range'; readonly source: ByteSource; readonly offset: number; readonly length: number }
  | { readonly kind: 'pending'; readonly length: number; readonly task: number; readonly role: PartRole };

export function payloadLength(payload: Payload): number {
  return payload.kind === 'inline' ? payload.bytes.length : payload.length;
}

export interface StringStringEntry {
  key?: string | undefined;
  value?: string | undefined;
  unknown: UnknownField[];
}

/** `TensorProto.DataLocation`. */
export const DATA_LOCATION = { default: 0, external: 1 } as const;

export interface TensorProto {
  dims: number[];
  /** `TensorProto.DataType` number; may be one that whittle does not know. */
  dataType?: number | undefined;
  name?: string | undefined;
  docString?: string | undefined;
  /** Little-endian elements, row-major; sub-byte types packed low bits first. */
  rawData?: Payload | undefined;
  /** Packed little-endian f32 (float, complex64). */
  floatData?: Payload | undefined;
  /** Packed little-endian f64 (double, complex128). */
  doubleData?: Payload | undefined;
  /** Packed varints: int32, int16, int8, int4, uint8, uint16, bool, float16, bfloat16, float8, … */
  int32Data?: Payload | undefined;
  int64Data?: Payload | undefined;
  uint64Data?: Payload | undefined;
  stringData: Uint8Array[];
  externalData: StringStringEntry[];
  dataLocation?: number | undefined;
  metadataProps: StringStringEntry[];
  unknown: UnknownField[];
}

/** `AttributeProto.AttributeType`. */
export const ATTRIBUTE_TYPE = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  tensors: 9,
  graphs: 10,
  sparseTensor: 11,
  sparseTensors: 12,
  typeProto: 13,
  typeProtos: 14,
} as const;

export interface AttributeProto {
  name?: string | undefined;
  refAttrName?: string | undefined;
  docString?: string | undefined;
  type?: number | undefined;
  f?: number | undefined;
  i?: bigint | undefined;
  /** UTF-8 by convention, bytes by specification. */
  s?: Uint8Array | undefined;
  t?: TensorProto | undefined;
  g?: GraphProto | undefined;
  floats: number[];
  ints: bigint[];
  strings: Uint8Array[];
  tensors: TensorProto[];
  graphs: GraphProto[];
  unknown: UnknownField[];
}

export interface NodeProto {
  input: string[];
  output: string[];
  name?: string | undefined;
  opType?: string | undefined;
  domain?: string | undefined;
  overload?: string | undefined;
  attribute: AttributeProto[];
  docString?: string | undefined;
  metadataProps: StringStringEntry[];
  unknown: UnknownField[];
}

export interface DimensionProto {
  dimValue?: bigint | undefined;
  dimParam?: string | undefined;
  denotation?: string | undefined;
  unknown: UnknownField[];
}

export interface TensorShapeProto {
  dim: DimensionProto[];
  unknown: UnknownField[];
}

export interface TensorTypeProto {
  elemType?: number | undefined;
  shape?: TensorShapeProto | undefined;
  unknown: UnknownField[];
}

/** Only tensor types are interpreted; sequence, map, optional and sparse types stay in `unknown`. */
export interface TypeProto {
  tensorType?: TensorTypeProto | undefined;
  denotation?: string | undefined;
  unknown: UnknownField[];
}

export interface ValueInfoProto {
  name?: string | undefined;
  type?: TypeProto | undefined;
  docString?: string | undefined;
  metadataProps: StringStringEntry[];
  unknown: UnknownField[];
}

export interface GraphProto {
  node: NodeProto[];
  name?: string | undefined;
  initializer: TensorProto[];
  docString?: string | undefined;
  input: ValueInfoProto[];
  output: ValueInfoProto[];
  valueInfo: ValueInfoProto[];
  metadataProps: StringStringEntry[];
  /** Holds sparse initializers and quantization annotations too. */
  unknown: UnknownField[];
}

export interface OperatorSetIdProto {
  domain?: string | undefined;
  version?: bigint | undefined;
  unknown: UnknownField[];
}

/** A model-local function; its nodes are kept but never rewritten. */
export interface FunctionProto {
  name?: string | undefined;
  domain?: string | undefined;
  overload?: string | undefined;
  input: string[];
  output: string[];
  attribute: string[];
  node: NodeProto[];
  opsetImport: OperatorSetIdProto[];
  unknown: UnknownField[];
}

export interface ModelProto {
  irVersion?: bigint | undefined;
  opsetImport: OperatorSetIdProto[];
  producerName?: string | undefined;
  producerVersion?: string | undefined;
  domain?: string | undefined;
  modelVersion?: bigint | undefined;
  docString?: string | undefined;
  graph?: GraphProto | undefined;
  metadataProps: StringStringEntry[];
  functions: FunctionProto[];
  unknown: UnknownField[];
}
