/**
 * The ONNX messages as tables: field number, property, kind. Reader and writer both follow these tables and hold
 * no field number of their own.
 *
 * A row reaches its property through a typed pair of closures, so that nothing is cast. What a table does not name
 * is kept in `unknown`: training info, sparse tensors, annotations, device configurations, and whatever comes next.
 * Source: onnx.proto (ONNX 1.20, IR 13; proto2 wire rules: repeated numbers are packed only where it says so).
 */

import type {
  AttributeProto,
  DimensionProto,
  FunctionProto,
  GraphProto,
  ModelProto,
  NodeProto,
  OperatorSetIdProto,
  Payload,
  StringStringEntry,
  TensorProto,
  TensorShapeProto,
  TensorTypeProto,
  TypeProto,
  UnknownField,
  ValueInfoProto,
} from './messages.ts';

export interface HasUnknown {
  unknown: UnknownField[];
}

/**
 * Lists of numbers that stood packed in the file (as proto3 writers do; ONNX is proto2 and does not). The writer packs
 * them again, so that an unedited model keeps its bytes. Lists that a rewrite makes are not in here.
 */
export const packedLists = new WeakSet<readonly unknown[]>();

/** Copies a child message, whatever its type is. */
export type CopyChild = <C extends HasUnknown>(schema: MessageSchema<C>, child: C) => C;

interface AnyField<M> {
  readonly number: number;
  /** Adds to `to`, which is new, what `from` holds in this field. */
  readonly copy: (from: M, to: M, copyChild: CopyChild) => void;
}

export interface ScalarField<M, Kind extends string, V> extends AnyField<M> {
  readonly kind: Kind;
  readonly get: (message: M) => V | undefined;
  readonly set: (message: M, value: V) => void;
}

export interface ListField<M, Kind extends string, V> extends AnyField<M> {
  readonly kind: Kind;
  readonly list: (message: M) => V[];
}

/** A packed field whose bytes are a tensor's: kept as a payload. `element` 0 = varints. */
export interface PackedField<M> extends ScalarField<M, 'packed', Payload> {
  readonly element: 0 | 4 | 8;
}

/** A field that holds messages of type C, which only the row knows: `enter` and `each` hand it to `run`. */
export interface MessageField<M> extends AnyField<M> {
  readonly kind: 'message';
  /** Gives `run` the child to decode into: a new one for a list, the present one for a single field (protobuf merges). */
  enter<R>(message: M, run: <C extends HasUnknown>(schema: MessageSchema<C>, child: C) => R): R;
  each(message: M, run: <C extends HasUnknown>(schema: MessageSchema<C>, child: C) => void): void;
}

export type Field<M> =
  | ScalarField<M, 'string', string>
  | ScalarField<M, 'bytes', Uint8Array>
  | ScalarField<M, 'int32', number>
  | ScalarField<M, 'int64', bigint>
  | ScalarField<M, 'float', number>
  | ScalarField<M, 'payload', Payload>
  | PackedField<M>
  | ListField<M, 'strings', string>
  | ListField<M, 'byteStrings', Uint8Array>
  | ListField<M, 'floats', number>
  | ListField<M, 'int64s', bigint>
  | ListField<M, 'dims', number>
  | MessageField<M>;

export interface MessageSchema<M extends HasUnknown> {
  readonly name: string;
  /** A message with every property present (undefined or empty): all have one shape, which engines read faster. */
  readonly create: () => M;
  /** Ascending field numbers: the order of writing. */
  readonly fields: readonly Field<M>[];
  readonly byNumber: ReadonlyMap<number, Field<M>>;
}

function message<M extends HasUnknown>(
  name: string,
  create: () => M,
  fields: readonly Field<M>[],
): MessageSchema<M> {
  const sorted = [...fields].sort((a, b) => a.number - b.number);
  return { name, create, fields: sorted, byNumber: new Map(sorted.map((field) => [field.number, field])) };
}

type Optional<K extends string, V> = { [P in K]?: V | undefined };
type List<K extends string, V> = { [P in K]: V[] };

function scalar<Kind extends string, V>(kind: Kind) {
  return <K extends string>(number: number, key: K): ScalarField<Optional<K, V>, Kind, V> => ({
    kind,
    number,
    get: (message) => message[key],
    set: (message, value) => {
      message[key] = value;
    },
    copy: (from, to) => {
      if (from[key] !== undefined) to[key] = from[key];
    },
  });
}

function list<Kind extends string, V>(kind: Kind) {
  return <K extends string>(number: number, key: K): ListField<List<K, V>, Kind, V> => ({
    kind,
    number,
    list: (message) => message[key],
    copy: (from, to) => {
      for (const value of from[key]) to[key].push(value);
      if (packedLists.has(from[key])) packedLists.add(to[key]);
    },
  });
}

const string = scalar<'string', string>('string');
const bytes = scalar<'bytes', Uint8Array>('bytes');
const int32 = scalar<'int32', number>('int32');
const int64 = scalar<'int64', bigint>('int64');
const float = scalar<'float', number>('float');
const payload = scalar<'payload', Payload>('payload');
const strings = list<'strings', string>('strings');
const byteStrings = list<'byteStrings', Uint8Array>('byteStrings');
const floats = list<'floats', number>('floats');
const int64s = list<'int64s', bigint>('int64s');
const dims = list<'dims', number>('dims');

function packed<K extends string>(
  number: number,
  key: K,
  element: 0 | 4 | 8,
): PackedField<Optional<K, Payload>> {
  return { ...scalar<'packed', Payload>('packed')(number, key), element };
}

/** One message. The schema is given as a function since messages contain each other. */
function one<K extends string, C extends HasUnknown>(
  number: number,
  key: K,
  schema: () => MessageSchema<C>,
): MessageField<Optional<K, C>> {
  return {
    kind: 'message',
    number,
    enter(message, run) {
      const child = message[key] ?? schema().create();
      message[key] = child;
      return run(schema(), child);
    },
    each(message, run) {
      const child = message[key];
      if (child !== undefined) run(schema(), child);
    },
    copy(from, to, copyChild) {
      const child = from[key];
      if (child !== undefined) to[key] = copyChild(schema(), child);
    },
  };
}

function many<K extends string, C extends HasUnknown>(
  number: number,
  key: K,
  schema: () => MessageSchema<C>,
): MessageField<List<K, C>> {
  return {
    kind: 'message',
    number,
    enter(message, run) {
      const child = schema().create();
      message[key].push(child);
      return run(schema(), child);
    },
    each(message, run) {
      for (const child of message[key]) run(schema(), child);
    },
    copy(from, to, copyChild) {
      for (const child of from[key]) to[key].push(copyChild(schema(), child));
    },
  };
}

export const STRING_STRING_ENTRY = message<StringStringEntry>(
  'StringStringEntryProto',
  () => ({ unknown: [] }),
  [string(1, 'key'), string(2, 'value')],
);

export const TENSOR = message<TensorProto>(
  'TensorProto',
  () => ({
    dataType: undefined,
    floatData: undefined,
    int32Data: undefined,
    int64Data: undefined,
    name: undefined,
    rawData: undefined,
    doubleData: undefined,
    uint64Data: undefined,
    docString: undefined,
    dataLocation: undefined,
    dims: [],
    stringData: [],
    externalData: [],
    metadataProps: [],
    unknown: [],
  }),
  [
    dims(1, 'dims'),
    int32(2, 'dataType'),
    packed(4, 'floatData', 4),
    packed(5, 'int32Data', 0),
    byteStrings(6, 'stringData'),
    packed(7, 'int64Data', 0),
    string(8, 'name'),
    payload(9, 'rawData'),
    packed(10, 'doubleData', 8),
    packed(11, 'uint64Data', 0),
    string(12, 'docString'),
    many(13, 'externalData', () => STRING_STRING_ENTRY),
    int32(14, 'dataLocation'),
    many(16, 'metadataProps', () => STRING_STRING_ENTRY),
  ],
);

/** Only the tensor of values, which carries the name (SparseTensorProto.values). */
export const SPARSE_TENSOR = message<{ values?: TensorProto | undefined; unknown: UnknownField[] }>(
  'SparseTensorProto',
  () => ({ unknown: [] }),
  [one(1, 'values', () => TENSOR)],
);

export const ATTRIBUTE = message<AttributeProto>(
  'AttributeProto',
  () => ({
    name: undefined,
    f: undefined,
    i: undefined,
    s: undefined,
    t: undefined,
    g: undefined,
    docString: undefined,
    type: undefined,
    refAttrName: undefined,
    floats: [],
    ints: [],
    strings: [],
    tensors: [],
    graphs: [],
    unknown: [],
  }),
  [
    string(1, 'name'),
    float(2, 'f'),
    int64(3, 'i'),
    bytes(4, 's'),
    one(5, 't', () => TENSOR),
    one(6, 'g', () => GRAPH),
    floats(7, 'floats'),
    int64s(8, 'ints'),
    byteStrings(9, 'strings'),
    many(10, 'tensors', () => TENSOR),
    many(11, 'graphs', () => GRAPH),
    string(13, 'docString'),
    int32(20, 'type'),
    string(21, 'refAttrName'),
  ],
);

export const NODE = message<NodeProto>(
  'NodeProto',
  () => ({
    name: undefined,
    opType: undefined,
    docString: undefined,
    domain: undefined,
    overload: undefined,
    input: [],
    output: [],
    attribute: [],
    metadataProps: [],
    unknown: [],
  }),
  [
    strings(1, 'input'),
    strings(2, 'output'),
    string(3, 'name'),
    string(4, 'opType'),
    many(5, 'attribute', () => ATTRIBUTE),
    string(6, 'docString'),
    string(7, 'domain'),
    string(8, 'overload'),
    many(9, 'metadataProps', () => STRING_STRING_ENTRY),
  ],
);

export const DIMENSION = message<DimensionProto>(
  'TensorShapeProto.Dimension',
  () => ({ dimValue: undefined, dimParam: undefined, denotation: undefined, unknown: [] }),
  [int64(1, 'dimValue'), string(2, 'dimParam'), string(3, 'denotation')],
);

export const TENSOR_SHAPE = message<TensorShapeProto>('TensorShapeProto', () => ({ dim: [], unknown: [] }), [
  many(1, 'dim', () => DIMENSION),
]);

export const TENSOR_TYPE = message<TensorTypeProto>(
  'TypeProto.Tensor',
  () => ({ elemType: undefined, shape: undefined, unknown: [] }),
  [int32(1, 'elemType'), one(2, 'shape', () => TENSOR_SHAPE)],
);

export const TYPE = message<TypeProto>(
  'TypeProto',
  () => ({ tensorType: undefined, denotation: undefined, unknown: [] }),
  [one(1, 'tensorType', () => TENSOR_TYPE), string(6, 'denotation')],
);

export const VALUE_INFO = message<ValueInfoProto>(
  'ValueInfoProto',
  () => ({ name: undefined, type: undefined, docString: undefined, metadataProps: [], unknown: [] }),
  [
    string(1, 'name'),
    one(2, 'type', () => TYPE),
    string(3, 'docString'),
    many(4, 'metadataProps', () => STRING_STRING_ENTRY),
  ],
);

export const GRAPH: MessageSchema<GraphProto> = message<GraphProto>(
  'GraphProto',
  () => ({
    name: undefined,
    docString: undefined,
    node: [],
    initializer: [],
    input: [],
    output: [],
    valueInfo: [],
    metadataProps: [],
    unknown: [],
  }),
  [
    many(1, 'node', () => NODE),
    string(2, 'name'),
    many(5, 'initializer', () => TENSOR),
    string(10, 'docString'),
    many(11, 'input', () => VALUE_INFO),
    many(12, 'output', () => VALUE_INFO),
    many(13, 'valueInfo', () => VALUE_INFO),
    many(16, 'metadataProps', () => STRING_STRING_ENTRY),
  ],
);

/** `GraphProto.sparse_initializer`, which stays in `unknown`. */
export const SPARSE_INITIALIZER_FIELD = 15;

export const OPERATOR_SET_ID = message<OperatorSetIdProto>(
  'OperatorSetIdProto',
  () => ({ domain: undefined, version: undefined, unknown: [] }),
  [string(1, 'domain'), int64(2, 'version')],
);

export const FUNCTION = message<FunctionProto>(
  'FunctionProto',
  () => ({
    name: undefined,
    domain: undefined,
    overload: undefined,
    input: [],
    output: [],
    attribute: [],
    node: [],
    opsetImport: [],
    unknown: [],
  }),
  [
    string(1, 'name'),
    strings(4, 'input'),
    strings(5, 'output'),
    strings(6, 'attribute'),
    many(7, 'node', () => NODE),
    many(9, 'opsetImport', () => OPERATOR_SET_ID),
    string(10, 'domain'),
    string(13, 'overload'),
  ],
);

export const MODEL = message<ModelProto>(
  'ModelProto',
  () => ({
    irVersion: undefined,
    producerName: undefined,
    producerVersion: undefined,
    domain: undefined,
    modelVersion: undefined,
    docString: undefined,
    graph: undefined,
    opsetImport: [],
    metadataProps: [],
    functions: [],
    unknown: [],
  }),
  [
    int64(1, 'irVersion'),
    string(2, 'producerName'),
    string(3, 'producerVersion'),
    string(4, 'domain'),
    int64(5, 'modelVersion'),
    string(6, 'docString'),
    one(7, 'graph', () => GRAPH),
    many(8, 'opsetImport', () => OPERATOR_SET_ID),
    many(14, 'metadataProps', () => STRING_STRING_ENTRY),
    many(25, 'functions', () => FUNCTION),
  ],
);
