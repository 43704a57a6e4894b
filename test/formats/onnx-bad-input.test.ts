/** Cases 60 to 71 and 75 of the list of bad inputs: each literal beside the rule that it breaks. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isWhittleError } from '../../src/errors.ts';
import type { Limits } from '../../src/formats/limits.ts';
import type { TensorProto } from '../../src/formats/onnx/messages.ts';
import { encodeModel } from '../../src/formats/onnx/model.ts';
import { openOnnx } from '../../src/formats/onnx/open.ts';
import { memorySource } from '../../src/io/memory-source.ts';
import {
  emptyTensor,
  external,
  floats,
  graph,
  linearModel,
  model,
  node,
  tensor,
  value,
} from './build-onnx.ts';
import { bytesOf, HEADER, int, len, varint } from './wire.ts';

async function codeOf(bytes: Uint8Array, limits: Partial<Limits> = {}): Promise<string> {
  try {
    await (await openOnnx(memorySource(bytes, 'bad.onnx'), { limits })).close();
    return 'opened';
  } catch (error) {
    if (isWhittleError(error)) {
      expect(error.details.file).toBe('bad.onnx');
      return error.code;
    }
    throw error;
  }
}

describe('files that are not models are named', () => {
  test.each([
    ['nothing', '', 'E_EMPTY'],
    ['a Git LFS pointer', 'version https://git-lfs.github.com/spec/v1\noid sha256:00\n', 'E_LFS_POINTER'],
    ['a zip (PyTorch)', bytesOf('PK', 3, 4, 20, 0, 0, 0), 'E_PICKLE'],
    ['a pickle', Uint8Array.of(0x80, 2, 0x7d, 0x71, 0), 'E_PICKLE'],
    ['a PNG', Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a), 'E_NOT_A_MODEL'],
    ['a web page', '<!DOCTYPE html><html><body>404</body></html>', 'E_NOT_A_MODEL'],
    ['a JSON text', '{"error":"Repository not found"}', 'E_NOT_A_MODEL'],
    ['any text', 'Entry not found', 'E_NOT_A_MODEL'],
    ['GGUF', bytesOf('GGUF', 3, 0, 0, 0), 'E_NOT_A_MODEL'],
    ['safetensors', bytesOf(2, 0, 0, 0, 0, 0, 0, 0, '{}'), 'E_NOT_A_MODEL'],
    ['gzip', Uint8Array.of(0x1f, 0x8b, 8, 0), 'E_NOT_A_MODEL'],
    ['HDF5', bytesOf(0x89, 'HDF', 13, 10, 26, 10), 'E_NOT_A_MODEL'],
    ['TensorFlow Lite', bytesOf(28, 0, 0, 0, 'TFL3'), 'E_NOT_A_MODEL'],
    ['a protobuf without a graph', HEADER, 'E_NOT_A_MODEL'],
  ])('%s', async (_, content, code) => {
    expect(await codeOf(bytesOf(content))).toBe(code);
  });
});

describe('malformed protobuf', () => {
  const inGraph = (...content: Uint8Array[]): Uint8Array => bytesOf(HEADER, len(7, ...content));
  test.each([
    ['a varint of 11 bytes', bytesOf(8, ...new Array(10).fill(0x80), 1), 'E_PROTOBUF'],
    ['a varint of more than 64 bits', bytesOf(8, ...new Array(9).fill(0xff), 2), 'E_PROTOBUF'],
    ['field number 0', bytesOf(HEADER, 0x00, 0x01), 'E_PROTOBUF'],
    ['a field number past 2^29', bytesOf(HEADER, 0xff, 0xff, 0xff, 0xff, 0x7f, 0), 'E_PROTOBUF'],
    ['wire type 6', bytesOf(HEADER, 0x0e), 'E_PROTOBUF'],
    ['wire type 7', bytesOf(HEADER, 0x0f), 'E_PROTOBUF'],
    ['the start of a group', bytesOf(HEADER, 0x0b), 'E_PROTOBUF'],
    ['the end of a group', bytesOf(HEADER, 0x0c), 'E_PROTOBUF'],
    ['a graph longer than the file', bytesOf(HEADER, 0x3a, 0x7f, 1), 'E_TRUNCATED'],
    [
      'a length of 4 GiB in the graph',
      inGraph(bytesOf(0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f), len(2, 'g')),
      'E_TRUNCATED',
    ],
    [
      'a length past its message, not past the file',
      bytesOf(HEADER, len(7, len(1, bytesOf(0x0a, 0x7f, 1))), len(6, 'doc')),
      'E_PROTOBUF',
    ],
    ['a length of 2^63', bytesOf(HEADER, 0x3a, ...new Array(9).fill(0x80), 1), 'E_PROTOBUF'],
    ['a graph that is a number', bytesOf(HEADER, int(7, 1)), 'E_PROTOBUF'],
    ['a node that is a number', inGraph(int(1, 1)), 'E_PROTOBUF'],
    ['text that is not UTF-8', inGraph(len(2, 0xff, 0xfe)), 'E_PROTOBUF'],
    ['half a float', inGraph(len(5, len(4, 1, 2, 3), int(1, 1), int(2, 1), len(8, 'w'))), 'E_TENSOR_SIZE'],
    [
      'too few varints in int64_data',
      inGraph(len(5, int(1, 3), int(2, 7), len(7, 1, 2), len(8, 'w'))),
      'opened',
    ],
  ])('%s', async (_, bytes, code) => {
    expect(await codeOf(bytes)).toBe(code);
  });

  test('the error names the byte', async () => {
    const bytes = bytesOf(HEADER, len(7, len(2, 'name'), 0x0f));
    await expect(openOnnx(memorySource(bytes))).rejects.toMatchObject({
      code: 'E_PROTOBUF',
      details: { offset: bytes.length - 1 },
    });
  });
});

describe('bombs', () => {
  /** A graph inside a node inside a graph …: each level is three messages. */
  const nested = (levels: number): Uint8Array => {
    let inner = len(2, 'g');
    for (let level = 0; level < levels; level++) inner = bytesOf(len(1, len(5, len(6, inner))));
    return bytesOf(HEADER, len(7, inner));
  };

  test('graphs nested 40 deep are E_LIMIT, 30 deep are read', async () => {
    expect(await codeOf(nested(30))).toBe('opened');
    expect(await codeOf(nested(40))).toBe('E_LIMIT');
    expect(await codeOf(nested(2000))).toBe('E_LIMIT');
  });

  test('10 MB of empty nodes are E_LIMIT', async () => {
    const empty = new Uint8Array(10_000_000);
    for (let i = 0; i < empty.length; i += 2) empty[i] = 0x0a;
    expect(await codeOf(bytesOf(HEADER, len(7, empty)))).toBe('E_LIMIT');
  });

  test('packed attribute numbers, empty names and tiny unknown fields are charged by what they cost in memory', async () => {
    const limits = { heapBytes: 4_000_000 };
    const pairs = (tag: number): Uint8Array => {
      const bytes = new Uint8Array(500_000);
      for (let i = 0; i < bytes.length; i += 2) bytes[i] = tag;
      return bytes;
    };
    const numbers = len(1, len(5, len(8, new Uint8Array(500_000))));
    expect(await codeOf(bytesOf(HEADER, len(7, numbers)), limits)).toBe('E_LIMIT');
    expect(await codeOf(bytesOf(HEADER, len(7, len(1, pairs(0x0a)))), limits)).toBe('E_LIMIT');
    expect(await codeOf(bytesOf(HEADER, len(7, pairs(0x18))), limits)).toBe('E_LIMIT');
    expect(await codeOf(bytesOf(HEADER, len(7, pairs(0x18))))).toBe('opened');
  });

  test('10 MB of packed int64_data stay in the file', async () => {
    const data = len(5, int(1, 10_000_000), int(2, 7), len(7, new Uint8Array(10_000_000)), len(8, 'w'));
    expect(await codeOf(bytesOf(HEADER, len(7, data)))).toBe('opened');
  });

  test('a text larger than the limit of what is held is E_LIMIT before it is read', async () => {
    expect(await codeOf(bytesOf(HEADER, len(6, new Uint8Array(200_000))), { skeletonBytes: 100_000 })).toBe(
      'E_LIMIT',
    );
  });

  test('many single elements and many pieces of one field cost no more than their limit', async () => {
    const single = bytesOf(...Array.from({ length: 5000 }, () => bytesOf(0x25, 0, 0, 0x80, 0x3f)));
    const bytes = bytesOf(HEADER, len(7, len(5, single, varint(8), varint(5000), int(2, 1), len(8, 'w'))));
    const opened = await openOnnx(memorySource(bytes));
    const values = await opened.readTensor(opened.weights()[0]!.tensor);
    expect(new Float32Array(values.buffer)).toEqual(new Float32Array(5000).fill(1));
    const pieces = bytesOf(...Array.from({ length: 5000 }, () => len(4, 0, 0, 0x80, 0x3f)));
    const inPieces = bytesOf(HEADER, len(7, len(5, pieces, int(1, 5000), int(2, 1), len(8, 'w'))));
    expect(await codeOf(inPieces, { skeletonBytes: 1_000_000 })).toBe('E_LIMIT');
  });
});

describe('tensors whose parts do not agree', () => {
  const inline = (size: number) => ({ kind: 'inline', bytes: new Uint8Array(size) }) as const;
  const cases: [string, TensorProto, string][] = [
    ['raw_data too short', tensor('w', 'f32', [3], new Uint8Array(11)), 'E_TENSOR_SIZE'],
    ['raw_data too long', tensor('w', 'f32', [3], new Uint8Array(13)), 'E_TENSOR_SIZE'],
    ['no data', emptyTensor('w', 'f32', [3]), 'E_TENSOR_SIZE'],
    ['no data for no elements', emptyTensor('w', 'f32', [3, 0]), 'opened'],
    ['raw_data and float_data', { ...floats('w', [1]), floatData: inline(4) }, 'E_TENSOR_SIZE'],
    ['raw_data and external_data', { ...floats('w', [1]), dataLocation: 1 }, 'E_TENSOR_SIZE'],
    ['float_data for a double', { ...emptyTensor('w', 'f64', [1]), floatData: inline(8) }, 'E_TENSOR_SIZE'],
    ['int4 with an odd count, padded', tensor('w', 'int4', [3], new Uint8Array(2)), 'opened'],
    ['int4 with an odd count, cut', tensor('w', 'int4', [3], new Uint8Array(1)), 'E_TENSOR_SIZE'],
    ['uint2, five elements in two bytes', tensor('w', 'uint2', [5], new Uint8Array(2)), 'opened'],
    ['texts with raw_data', tensor('w', 'string', [1], new Uint8Array(1)), 'E_TENSOR_SIZE'],
    [
      'too few texts',
      { ...emptyTensor('w', 'string', [2]), stringData: [new Uint8Array(1)] },
      'E_TENSOR_SIZE',
    ],
    ['a negative dimension', { ...floats('w', [1]), dims: [-1] }, 'E_SHAPE'],
    ['the most negative dimension', { ...floats('w', [1]), dims: [-(2 ** 63)] }, 'E_SHAPE'],
    ['a dimension of 2^49', { ...floats('w', [1]), dims: [2 ** 49] }, 'E_SHAPE'],
    ['a product of 2^64', { ...floats('w', [1]), dims: [2 ** 32, 2 ** 32] }, 'E_SHAPE'],
    [
      'a product that wraps to 1 (2^42+1 trick)',
      { ...floats('w', [1]), dims: [2 ** 42 + 1, 2 ** 42] },
      'E_SHAPE',
    ],
    ['9 dimensions', { ...floats('w', [1]), dims: new Array(9).fill(1) }, 'E_SHAPE'],
    ['data_type 0: kept', { ...floats('w', [1]), dataType: 0 }, 'opened'],
    ['data_type 99: kept', { ...floats('w', [1]), dataType: 99 }, 'opened'],
    ['text as external data', external('w', 'string', [1], { location: 'd' }), 'E_TENSOR_SIZE'],
  ];
  test.each(cases)('%s', async (_, bad, code) => {
    expect(await codeOf(await encodeModel(model(graph({ initializers: [bad] }))))).toBe(code);
  });

  test('the same rules hold for tensors in attributes and in subgraphs', async () => {
    const bad = tensor('w', 'f32', [3], new Uint8Array(11));
    const constant = node('Constant', [], ['c'], { attributes: { value: { tensor: bad } } });
    expect(await codeOf(await encodeModel(model(graph({ nodes: [constant] }))))).toBe('E_TENSOR_SIZE');
    const branch = node('If', ['x'], ['y'], {
      attributes: { then_branch: { graph: graph({ initializers: [bad] }) } },
    });
    const main = graph({ nodes: [branch], inputs: [value('x', 'bool', [])] });
    expect(await codeOf(await encodeModel(model(main)))).toBe('E_TENSOR_SIZE');
  });

  test('an error names the tensor, what was expected and what was found', async () => {
    const bytes = await encodeModel(
      model(graph({ initializers: [tensor('w', 'f32', [3], new Uint8Array(11))] })),
    );
    await expect(openOnnx(memorySource(bytes, 'm.onnx'))).rejects.toMatchObject({
      details: { file: 'm.onnx', tensor: 'w', expected: '12 bytes (3)', found: '11 bytes' },
    });
  });

  test('the values of an unknown type are E_DTYPE only when they are asked for', async () => {
    const odd = { ...floats('w', [1]), dataType: 99 };
    const opened = await openOnnx(memorySource(await encodeModel(model(graph({ initializers: [odd] })))));
    expect(opened.weights()).toEqual([]);
    await expect(opened.tensorBytes(opened.proto.graph!.initializer[0]!)).rejects.toMatchObject({
      code: 'E_DTYPE',
      details: { tensor: 'w', found: 'data type 99' },
    });
  });

  test('varints that are fewer or more than the shape says are E_TENSOR_SIZE when they are read', async () => {
    for (const dims of [[3], [1]]) {
      const short: TensorProto = {
        ...emptyTensor('w', 'f16', dims),
        int32Data: { kind: 'inline', bytes: Uint8Array.of(1, 2) },
      };
      const opened = await openOnnx(memorySource(await encodeModel(model(graph({ initializers: [short] })))));
      await expect(opened.readTensor(opened.proto.graph!.initializer[0]!)).rejects.toMatchObject({
        code: 'E_TENSOR_SIZE',
      });
    }
  });
});

describe('broken graphs', () => {
  const x = value('x', 'f32', [1]);
  const y = value('y', 'f32', [1]);
  test.each([
    [
      'a node that reads what nothing produces',
      graph({ nodes: [node('Relu', ['x'], ['y'])], outputs: [y] }),
      'E_GRAPH',
    ],
    ['an output that nothing produces', graph({ inputs: [x], outputs: [y] }), 'E_GRAPH'],
    [
      'a cycle of two nodes',
      graph({ nodes: [node('Add', ['x', 'b'], ['a']), node('Relu', ['a'], ['b'])], inputs: [x] }),
      'E_GRAPH',
    ],
    ['a node that reads itself', graph({ nodes: [node('Add', ['x', 'a'], ['a'])], inputs: [x] }), 'E_GRAPH'],
    [
      'two producers of one name',
      graph({ nodes: [node('Relu', ['x'], ['y']), node('Neg', ['x'], ['y'])], inputs: [x] }),
      'E_GRAPH',
    ],
    [
      'a node that overwrites an initializer',
      graph({ nodes: [node('Relu', ['w'], ['w'])], initializers: [floats('w', [1])] }),
      'E_GRAPH',
    ],
    [
      'two initializers of one name',
      graph({ initializers: [floats('w', [1]), floats('w', [1])] }),
      'E_DUPLICATE',
    ],
    ['two inputs of one name', graph({ inputs: [x, x] }), 'E_DUPLICATE'],
    ['an initializer without a name', graph({ initializers: [floats('', [1])] }), 'E_GRAPH'],
    [
      'an initializer that is also an input',
      graph({ initializers: [floats('x', [1])], inputs: [x] }),
      'opened',
    ],
    [
      'absent optional inputs',
      graph({ nodes: [node('Clip', ['x', '', ''], ['y'])], inputs: [x], outputs: [y] }),
      'opened',
    ],
    [
      'an operator that nobody knows',
      graph({ nodes: [node('Nope', ['x'], ['y'], { domain: 'z' })], inputs: [x] }),
      'opened',
    ],
  ])('%s', async (_, main, code) => {
    expect(await codeOf(await encodeModel(model(main)))).toBe(code);
  });

  test('a cycle through a subgraph is E_GRAPH', async () => {
    const body = graph({ nodes: [node('Relu', ['late'], ['r'])], outputs: [value('r', 'f32', [1])] });
    const main = graph({
      nodes: [
        node('If', ['c'], ['i'], { attributes: { then_branch: { graph: body } } }),
        node('Neg', ['i'], ['late']),
      ],
      inputs: [value('c', 'bool', [])],
    });
    expect(await codeOf(await encodeModel(model(main)))).toBe('E_GRAPH');
  });

  test('nodes out of order, versions from the future and a missing operator set are notes', async () => {
    const main = graph({
      nodes: [node('Relu', ['a'], ['b']), node('Neg', ['x'], ['a'])],
      inputs: [x],
    });
    const proto = model(main, { ir: 99, opset: 99 });
    const opened = await openOnnx(memorySource(await encodeModel(proto)));
    expect(opened.notes.join('\n')).toMatch(/IR version 99.*ai\.onnx 99.*topological/s);
    proto.opsetImport = [];
    const without = await openOnnx(memorySource(await encodeModel(proto)));
    expect(without.notes.join('\n')).toMatch(/imports no ai\.onnx/);
  });
});

describe('damage of any kind ends in a model or in a coded error', () => {
  /** Opens, and reads every weight: nothing but a WhittleError may come out. */
  async function survives(bytes: Uint8Array): Promise<boolean> {
    try {
      const opened = await openOnnx(memorySource(bytes, 'bad.onnx'));
      for (const weight of opened.weights()) await opened.readTensor(weight.tensor);
      return true;
    } catch (error) {
      if (isWhittleError(error)) return false;
      throw error;
    }
  }

  const sample = async (): Promise<Uint8Array> => {
    const proto = linearModel(3, 2);
    proto.graph?.initializer.push({
      ...emptyTensor('h', 'f16', [2]),
      int32Data: { kind: 'inline', bytes: Uint8Array.of(0x80, 0x78, 1) },
    });
    proto.graph?.initializer.push(external('e', 'f32', [1], { location: 'data', offset: '0', length: '4' }));
    const branch = graph({ initializers: [floats('k', [1])], outputs: [value('k', 'f32', [1])] });
    proto.graph?.node.push(node('If', ['x'], ['z'], { attributes: { then_branch: { graph: branch } } }));
    return encodeModel(proto);
  };

  test('cut at every byte', async () => {
    const bytes = await sample();
    for (let size = 0; size < bytes.length; size++) {
      const whole = await survives(bytes.slice(0, size));
      // The graph is complete only where the cut is behind it.
      if (size < bytes.length - 20) expect(whole).toBe(false);
    }
  });

  test('every byte flipped: its lowest bit, its highest, all of it', async () => {
    const bytes = await sample();
    for (let at = 0; at < bytes.length; at++) {
      for (const mask of [0x01, 0x80, 0xff]) {
        const damaged = bytes.slice();
        damaged[at]! ^= mask;
        await survives(damaged);
      }
    }
  });

  test('bytes made by chance, and mutated models', async () => {
    const bytes = await sample();
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), (random) => survives(random).then(() => undefined)),
      { numRuns: 300 },
    );
    const edit = fc.record({
      at: fc.nat(bytes.length - 1),
      remove: fc.nat(8),
      insert: fc.uint8Array({ maxLength: 8 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 4 }), async (edits) => {
        let damaged = bytes;
        for (const { at, remove, insert } of edits) {
          damaged = bytesOf(damaged.slice(0, at), insert, damaged.slice(at + remove));
        }
        await survives(damaged);
      }),
      { numRuns: 500 },
    );
  });
});
