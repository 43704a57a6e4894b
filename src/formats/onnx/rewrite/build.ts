/**
 * Builders of nodes, attributes and small tensors for rewrites, and readers of attributes. Small constants are
 * inline payloads; weights are pending payloads that a task fills (context.ts).
 */

import type { DType } from '../../../core/dtype.ts';
import { numberOfDtype } from '../data-types.ts';
import { findAttribute } from '../graph.ts';
import type { AttributeProto, NodeProto, TensorProto } from '../messages.ts';
import { ATTRIBUTE_TYPE } from '../messages.ts';

/** Domain of onnxruntime's own operators. */
export const CONTRIB = 'com.microsoft';

export interface NodeFields {
  readonly name?: string;
  readonly domain?: string;
  readonly attributes?: readonly AttributeProto[];
}

export function makeNode(
  opType: string,
  input: readonly string[],
  output: readonly string[],
  { name, domain, attributes = [] }: NodeFields = {},
): NodeProto {
  return {
    input: [...input],
    output: [...output],
    name: name === '' ? undefined : name,
    opType,
    domain,
    attribute: [...attributes],
    metadataProps: [],
    unknown: [],
  };
}

function attribute(name: string, type: number): AttributeProto {
  return { name, type, floats: [], ints: [], strings: [], tensors: [], graphs: [], unknown: [] };
}

export function intAttribute(name: string, value: number): AttributeProto {
  return { ...attribute(name, ATTRIBUTE_TYPE.int), i: BigInt(value) };
}

export function intsAttribute(name: string, values: readonly number[]): AttributeProto {
  return { ...attribute(name, ATTRIBUTE_TYPE.ints), ints: values.map(BigInt) };
}

export function floatAttribute(name: string, value: number): AttributeProto {
  return { ...attribute(name, ATTRIBUTE_TYPE.float), f: value };
}

/** Cast to `dtype`. */
export function makeCast(input: string, output: string, dtype: DType, name: string): NodeProto {
  return makeNode('Cast', [input], [output], {
    name,
    attributes: [intAttribute('to', numberOfDtype(dtype))],
  });
}

/** Integer attribute, or `fallback` where it is absent. */
export function readInt(node: NodeProto, name: string, fallback: number): number {
  const value = findAttribute(node, name)?.i;
  return value === undefined ? fallback : Number(value);
}

export function readFloat(node: NodeProto, name: string, fallback: number): number {
  return findAttribute(node, name)?.f ?? fallback;
}

export function readInts(node: NodeProto, name: string): number[] | undefined {
  return findAttribute(node, name)?.ints.map(Number);
}

/** Operators without a domain, or with the explicit default one. */
export function isDefaultDomain(node: NodeProto): boolean {
  return node.domain === undefined || node.domain === '' || node.domain === 'ai.onnx';
}

function emptyTensor(name: string, dtype: DType, dims: readonly number[]): TensorProto {
  return {
    dims: [...dims],
    dataType: numberOfDtype(dtype),
    name,
    stringData: [],
    externalData: [],
    metadataProps: [],
    unknown: [],
  };
}

export function rawTensor(
  name: string,
  dtype: DType,
  dims: readonly number[],
  bytes: Uint8Array,
): TensorProto {
  return { ...emptyTensor(name, dtype, dims), rawData: { kind: 'inline', bytes } };
}

export function pendingTensor(
  name: string,
  dtype: DType,
  dims: readonly number[],
  pending: Extract<NonNullable<TensorProto['rawData']>, { kind: 'pending' }>,
): TensorProto {
  return { ...emptyTensor(name, dtype, dims), rawData: pending };
}

/** One-dimensional int64 tensor (shapes, axes). */
export function int64Tensor(name: string, values: readonly number[]): TensorProto {
  const bytes = new Uint8Array(values.length * 8);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) view.setBigInt64(i * 8, BigInt(value), true);
  return rawTensor(name, 'int64', [values.length], bytes);
}

/** Scalar f32. */
export function floatScalar(name: string, value: number): TensorProto {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return rawTensor(name, 'f32', [], bytes);
}
