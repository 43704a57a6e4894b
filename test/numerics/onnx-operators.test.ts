import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { fromBinary } from '@bufbuild/protobuf';
import { ModelProtoSchema, type NodeProto, TensorProto_DataType, TensorProtoSchema } from 'onnx-buf';
import { describe, expect, test } from 'vitest';
import { DTYPES, type DType } from '../../src/core/dtype.ts';
import {
  dequantizeLinear,
  dynamicQuantizeLinear,
  quantizeLinear,
  type RawTensor,
  readElements,
  writeElements,
} from '../../src/numerics/index.ts';

const folder = fileURLToPath(new URL('../fixtures/onnx-node/', import.meta.url));
const cases = readdirSync(folder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name);

const DTYPE = new Map<number, DType>([
  [TensorProto_DataType.FLOAT, 'f32'],
  [TensorProto_DataType.FLOAT16, 'f16'],
  [TensorProto_DataType.UINT8, 'uint8'],
  [TensorProto_DataType.INT8, 'int8'],
  [TensorProto_DataType.UINT16, 'uint16'],
  [TensorProto_DataType.INT16, 'int16'],
  [TensorProto_DataType.INT32, 'int32'],
  [TensorProto_DataType.UINT4, 'uint4'],
  [TensorProto_DataType.INT4, 'int4'],
  [TensorProto_DataType.UINT2, 'uint2'],
  [TensorProto_DataType.INT2, 'int2'],
  [TensorProto_DataType.FLOAT8E4M3FN, 'f8_e4m3fn'],
  [TensorProto_DataType.FLOAT8E5M2, 'f8_e5m2'],
  [TensorProto_DataType.FLOAT4E2M1, 'f4_e2m1'],
]);

/** TensorProto with raw_data, or with int32_data / float_data, as the conformance files have them. */
function readTensor(path: string): RawTensor {
  const proto = fromBinary(TensorProtoSchema, readFileSync(path));
  const dtype = DTYPE.get(proto.dataType);
  if (dtype === undefined) throw new Error(`type ${proto.dataType} in ${path}`);
  const shape = proto.dims.map(Number);
  if (proto.rawData.length > 0) return { dtype, shape, data: Uint8Array.from(proto.rawData) };
  if (proto.floatData.length > 0) return writeElements(dtype, shape, proto.floatData);
  // One element for each number, or, below 8 bits, one byte of packed elements.
  const width = Math.max(1, DTYPES[dtype].bits / 8);
  const data = new Uint8Array(proto.int32Data.length * width);
  proto.int32Data.forEach((value, i) => {
    for (let byte = 0; byte < width; byte++) data[i * width + byte] = (value >> (8 * byte)) & 0xff;
  });
  return { dtype, shape, data };
}

function attribute(node: NodeProto, name: string): number | undefined {
  const found = node.attribute.find((a) => a.name === name);
  return found === undefined ? undefined : Number(found.i);
}

function run(name: string): { got: RawTensor[]; wanted: RawTensor[] } {
  const files = readdirSync(folder + name).sort();
  const load = (prefix: string) =>
    files.filter((f) => f.startsWith(prefix)).map((f) => readTensor(`${folder}${name}/${f}`));
  const model = fromBinary(ModelProtoSchema, readFileSync(`${folder}${name}/model.onnx`));
  const node = model.graph?.node[0];
  if (node === undefined) throw new Error('no node');
  const [x, scale, zeroPoint] = load('input_');
  const attributes = { axis: attribute(node, 'axis'), blockSize: attribute(node, 'block_size') };
  const output = attribute(node, 'output_dtype');
  const saturate = attribute(node, 'saturate');
  const wanted = load('output_');
  switch (node.opType) {
    case 'QuantizeLinear':
      return {
        got: [
          quantizeLinear(x!, scale!, zeroPoint, {
            ...attributes,
            saturate: saturate !== 0,
            outputType: output === undefined ? undefined : DTYPE.get(output),
          }),
        ],
        wanted,
      };
    case 'DequantizeLinear':
      return { got: [dequantizeLinear(x!, scale!, zeroPoint, attributes)], wanted };
    case 'DynamicQuantizeLinear': {
      const result = dynamicQuantizeLinear(x!);
      return { got: [result.y, result.scale, result.zeroPoint], wanted };
    }
    default:
      throw new Error(`operator ${node.opType}`);
  }
}

describe('the ONNX project’s conformance cases', () => {
  test('are all here', () => {
    expect(cases.length).toBeGreaterThanOrEqual(27);
  });

  test.each(cases)('%s gives the expected bytes', (name) => {
    const { got, wanted } = run(name);
    expect(got).toEqual(wanted);
  });
});

describe('blocked and per-axis scales', () => {
  const x = writeElements('f32', [2, 3], [1, 2, 3, 4, 5, 6]);

  test('a ragged last block along the last axis has its own scale', () => {
    const scale = writeElements('f32', [2, 2], [1, 0.5, 2, 0.25]);
    const y = quantizeLinear(x, scale, undefined, { axis: 1, blockSize: 2, outputType: 'int16' });
    expect(Array.from(readElements(y))).toEqual([1, 2, 6, 2, 2, 24]);
    const back = dequantizeLinear(y, scale, undefined, { axis: 1, blockSize: 2 });
    expect(Array.from(readElements(back))).toEqual([1, 2, 3, 4, 4, 6]);
  });

  test('f16 scales give f16 values', () => {
    const scale = writeElements('f16', [2], [0.5, 0.25]);
    const y = dequantizeLinear(writeElements('int8', [2, 3], [1, -2, 3, 4, 5, -6]), scale, undefined, {
      axis: 0,
    });
    expect(y.dtype).toBe('f16');
    expect(Array.from(readElements(y))).toEqual([0.5, -1, 1.5, 1, 1.25, -1.5]);
  });

  test('quantizing NaN gives the zero point and Inf the last code', () => {
    const odd = writeElements('f32', [3], [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]);
    const y = quantizeLinear(odd, writeElements('f32', [], [1]), writeElements('uint8', [], [7]), {
      axis: 0,
    });
    expect(Array.from(readElements(y))).toEqual([7, 255, 0]);
  });

  test('a tensor of zeros quantizes dynamically with the scale 1', () => {
    const { y, scale, zeroPoint } = dynamicQuantizeLinear(writeElements('f32', [2], [0, -0]));
    expect([readElements(y)[0], readElements(scale)[0], readElements(zeroPoint)[0]]).toEqual([0, 1, 0]);
  });
});

describe('malformed operands are refused with a code', () => {
  const x = writeElements('f32', [2, 3], [1, 2, 3, 4, 5, 6]);
  const scalar = writeElements('f32', [], [1]);
  const code = (run: () => unknown): unknown => {
    try {
      run();
    } catch (error) {
      return error instanceof Error && 'code' in error ? error.code : error;
    }
    return 'none';
  };

  test.each<[string, string, () => unknown]>([
    [
      'a scale vector of the wrong length',
      'E_SHAPE',
      () => quantizeLinear(x, writeElements('f32', [2], [1, 1])),
    ],
    [
      'an axis outside the rank',
      'E_SHAPE',
      () => quantizeLinear(x, writeElements('f32', [3], [1, 1, 1]), undefined, { axis: 2 }),
    ],
    [
      'blocked scales of the wrong shape',
      'E_SHAPE',
      () => quantizeLinear(x, writeElements('f32', [2, 3], [1, 1, 1, 1, 1, 1]), undefined, { blockSize: 2 }),
    ],
    [
      'a zero point of another shape',
      'E_SHAPE',
      () => quantizeLinear(x, scalar, writeElements('uint8', [2], [0, 0])),
    ],
    [
      'an output type that is not quantized',
      'E_DTYPE',
      () => quantizeLinear(x, scalar, undefined, { outputType: 'f16' }),
    ],
    ['a scale that is an integer', 'E_DTYPE', () => quantizeLinear(x, writeElements('int8', [], [1]))],
    ['codes that are floats', 'E_DTYPE', () => dequantizeLinear(x, scalar)],
    [
      'a zero point of another type',
      'E_DTYPE',
      () => dequantizeLinear(writeElements('int8', [], [1]), scalar, writeElements('uint8', [], [1])),
    ],
    [
      'bytes that do not fit the shape',
      'E_TENSOR_SIZE',
      () => dequantizeLinear({ dtype: 'int8', shape: [3], data: new Uint8Array(2) }, scalar),
    ],
    [
      'a negative dimension',
      'E_TENSOR_SIZE',
      () => dequantizeLinear({ dtype: 'int8', shape: [-3], data: new Uint8Array(3) }, scalar),
    ],
    [
      'dynamic quantization of half precision',
      'E_DTYPE',
      () => dynamicQuantizeLinear(writeElements('f16', [1], [1])),
    ],
  ])('%s: %s', (_title, expected, run) => {
    expect(code(run)).toBe(expected);
  });
});
