/**
 * Builds small ONNX models for tests: plain messages of src/formats/onnx/messages.ts with the lists filled in.
 *
 *     const proto = model(graph({
 *       nodes: [node('MatMul', ['x', 'w'], ['y'])],
 *       initializers: [floats('w', [2, 3], [1, 2, 3, 4, 5, 6])],
 *       inputs: [value('x', 'f32', ['n', 2])],
 *       outputs: [value('y', 'f32', ['n', 3])],
 *     }));
 *     const bytes = await encodeModel(proto);
 */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DType } from '../../src/core/dtype.ts';
import { numberOfDtype } from '../../src/formats/onnx/data-types.ts';
import { encodeFile, encodeModel, layoutModel } from '../../src/formats/onnx/layout.ts';
import {
  ATTRIBUTE_TYPE,
  type AttributeProto,
  DATA_LOCATION,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from '../../src/formats/onnx/messages.ts';
import { memorySource } from '../../src/io/memory-source.ts';

/** Values of attributes: a bigint or bigint[] is an int, a number or number[] a float, then text, tensor, graph. */
export type AttributeValue =
  | bigint
  | number
  | string
  | readonly bigint[]
  | readonly number[]
  | { readonly tensor: TensorProto }
  | { readonly graph: GraphProto }
  | { readonly graphs: GraphProto[] };

export function attribute(name: string, value: AttributeValue): AttributeProto {
  const empty: AttributeProto = {
    name,
    floats: [],
    ints: [],
    strings: [],
    tensors: [],
    graphs: [],
    unknown: [],
  };
  if (typeof value === 'bigint') return { ...empty, type: ATTRIBUTE_TYPE.int, i: value };
  if (typeof value === 'number') return { ...empty, type: ATTRIBUTE_TYPE.float, f: value };
  if (typeof value === 'string') {
    return { ...empty, type: ATTRIBUTE_TYPE.string, s: new TextEncoder().encode(value) };
  }
  if ('tensor' in value) return { ...empty, type: ATTRIBUTE_TYPE.tensor, t: value.tensor };
  if ('graph' in value) return { ...empty, type: ATTRIBUTE_TYPE.graph, g: value.graph };
  if ('graphs' in value) return { ...empty, type: ATTRIBUTE_TYPE.graphs, graphs: value.graphs };
  const ints: bigint[] = [];
  const numbers: number[] = [];
  for (const item of value) {
    if (typeof item === 'bigint') ints.push(item);
    else numbers.push(item);
  }
  return ints.length > 0
    ? { ...empty, type: ATTRIBUTE_TYPE.ints, ints }
    : { ...empty, type: ATTRIBUTE_TYPE.floats, floats: numbers };
}

export function node(
  opType: string,
  input: string[],
  output: string[],
  options: { name?: string; domain?: string; attributes?: Record<string, AttributeValue> } = {},
): NodeProto {
  const attributes = Object.entries(options.attributes ?? {});
  return {
    input,
    output,
    ...(options.name === undefined ? {} : { name: options.name }),
    opType,
    ...(options.domain === undefined ? {} : { domain: options.domain }),
    attribute: attributes.map(([name, value]) => attribute(name, value)),
    metadataProps: [],
    unknown: [],
  };
}

/** A tensor with raw little-endian bytes. */
export function tensor(name: string, dtype: DType, dims: number[], bytes: Uint8Array): TensorProto {
  return { ...emptyTensor(name, dtype, dims), rawData: { kind: 'inline', bytes } };
}

/** A tensor without data; add the fields that the test is about. */
export function emptyTensor(name: string, dtype: DType, dims: number[]): TensorProto {
  return {
    dims,
    dataType: numberOfDtype(dtype),
    name,
    stringData: [],
    externalData: [],
    metadataProps: [],
    unknown: [],
  };
}

/** A float32 tensor; without values, 0, 1, 2 … */
export function floats(name: string, dims: number[], values?: readonly number[]): TensorProto {
  const count = dims.reduce((product, dim) => product * dim, 1);
  const data = Float32Array.from(values ?? Array.from({ length: count }, (_, index) => index));
  return tensor(name, 'f32', dims, new Uint8Array(data.buffer));
}

export function int64s(name: string, dims: number[], values: readonly number[]): TensorProto {
  return tensor(name, 'int64', dims, new Uint8Array(BigInt64Array.from(values.map(BigInt)).buffer));
}

/** A tensor whose bytes stand in another file. */
export function external(
  name: string,
  dtype: DType,
  dims: number[],
  entries: Record<string, string> | [string, string][],
): TensorProto {
  const pairs = Array.isArray(entries) ? entries : Object.entries(entries);
  return {
    ...emptyTensor(name, dtype, dims),
    dataLocation: DATA_LOCATION.external,
    externalData: pairs.map(([key, value]) => ({ key, value, unknown: [] })),
  };
}

/** An input or output; text dimensions are symbolic. */
export function value(name: string, dtype: DType, dims: readonly (number | string)[]): ValueInfoProto {
  const dim = dims.map((size) =>
    typeof size === 'number' ? { dimValue: BigInt(size), unknown: [] } : { dimParam: size, unknown: [] },
  );
  const tensorType = { elemType: numberOfDtype(dtype), shape: { dim, unknown: [] }, unknown: [] };
  return { name, type: { tensorType, unknown: [] }, metadataProps: [], unknown: [] };
}

export function graph(parts: {
  name?: string;
  nodes?: NodeProto[];
  initializers?: TensorProto[];
  inputs?: ValueInfoProto[];
  outputs?: ValueInfoProto[];
  valueInfo?: ValueInfoProto[];
}): GraphProto {
  return {
    node: parts.nodes ?? [],
    name: parts.name ?? 'g',
    initializer: parts.initializers ?? [],
    input: parts.inputs ?? [],
    output: parts.outputs ?? [],
    valueInfo: parts.valueInfo ?? [],
    metadataProps: [],
    unknown: [],
  };
}

export function model(
  main: GraphProto,
  options: { ir?: number; opset?: number; domains?: Record<string, number> } = {},
): ModelProto {
  const imports: [string, number][] = [['', options.opset ?? 17], ...Object.entries(options.domains ?? {})];
  return {
    irVersion: BigInt(options.ir ?? 8),
    producerName: 'whittle-test',
    graph: main,
    opsetImport: imports.map(([domain, version]) => ({ domain, version: BigInt(version), unknown: [] })),
    metadataProps: [],
    functions: [],
    unknown: [],
  };
}

/** x[n, K] · w[K, N] + b[N] → y: the smallest model with weights. */
export function linearModel(K = 4, N = 3): ModelProto {
  return model(
    graph({
      nodes: [
        node('MatMul', ['x', 'w'], ['t'], { name: 'mm' }),
        node('Add', ['t', 'b'], ['y'], { name: 'add' }),
      ],
      initializers: [floats('w', [K, N]), floats('b', [N])],
      inputs: [value('x', 'f32', ['n', K])],
      outputs: [value('y', 'f32', ['n', N])],
    }),
  );
}

/** Runs `body` with a new folder under the system's temporary folder, and removes it. */
export async function withFolder<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'whittle-test-'));
  try {
    return await body(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Writes a model whose payloads are in memory to `folder`, with or without external data; gives its path. */
export async function writeModel(
  folder: string,
  proto: ModelProto,
  options: { name?: string; external?: boolean } = {},
): Promise<string> {
  const fileName = options.name ?? 'model.onnx';
  const files = await layoutModel(proto, {
    fileName,
    externalData: options.external === true ? 'always' : 'never',
    sourceHadExternal: false,
    resolve: async () => ({ kind: 'inline', bytes: new Uint8Array(0) }),
  });
  for (const file of files) await writeFile(join(folder, file.name), await encodeFile(file));
  return join(folder, fileName);
}

/** The model as a source in memory. */
export async function sourceOf(proto: ModelProto): Promise<ReturnType<typeof memorySource>> {
  return memorySource(await encodeModel(proto), 'test.onnx');
}
