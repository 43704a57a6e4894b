import { describe, expect, test } from 'vitest';
import type { DType } from '../../src/core/dtype.ts';
import type { TensorProto } from '../../src/formats/onnx/messages.ts';
import {
  cloneModel,
  encodeModel,
  findWeights,
  normalizeConstants,
  pruneUnused,
  uniqueName,
} from '../../src/formats/onnx/model.ts';
import { openOnnx } from '../../src/formats/onnx/open.ts';
import { memorySource } from '../../src/io/memory-source.ts';
import { emptyTensor, floats, graph, int64s, linearModel, model, node, tensor, value } from './build-onnx.ts';

const x = value('x', 'f32', ['n', 2]);
const cond = value('c', 'bool', []);

function constant(name: string, attributes: Parameters<typeof node>[3]): ReturnType<typeof node> {
  return node('Constant', [], [name], attributes ?? {});
}

describe('findWeights', () => {
  test('initializers of f32, f16, bf16 and f64 are weights; other types are not', () => {
    const types: [DType, number][] = [
      ['f32', 4],
      ['f16', 2],
      ['bf16', 2],
      ['f64', 8],
      ['int64', 8],
      ['uint8', 1],
      ['f8_e4m3fn', 1],
    ];
    const initializers = types.map(([dtype, size]) => tensor(dtype, dtype, [1], new Uint8Array(size)));
    expect(findWeights(model(graph({ initializers }))).map((weight) => weight.name)).toEqual([
      'f32',
      'f16',
      'bf16',
      'f64',
    ]);
  });

  test('Constant nodes are weights in the forms value, value_float and value_floats; texts, ints, sparse are not', async () => {
    const nodes = [
      constant('a', { attributes: { value: { tensor: floats('ignored name', [2]) } } }),
      constant('b', { attributes: { value_float: 1.5 } }),
      constant('c', { attributes: { value_floats: [1, 2, 3] } }),
      constant('d', { attributes: { value_int: 3n } }),
      constant('e', { attributes: { value_ints: [3n] } }),
      constant('f', { attributes: { value_string: 's' } }),
      node('Constant', [], ['g'], { domain: 'other', attributes: { value_float: 1 } }),
    ];
    const opened = await openOnnx(memorySource(await encodeModel(model(graph({ nodes })))));
    const weights = opened.weights();
    expect(weights.map((weight) => [weight.name, weight.shape, weight.origin.kind])).toEqual([
      ['a', [2], 'constant'],
      ['b', [], 'constant'],
      ['c', [3], 'constant'],
    ]);
    const values = await opened.readTensor(weights[2]!.tensor);
    expect(new Float32Array(values.buffer)).toEqual(Float32Array.of(1, 2, 3));
  });

  test('every reader is a use, with the index of its input', () => {
    const nodes = [node('MatMul', ['x', 'w'], ['a']), node('Gemm', ['w', 'a', 'w'], ['b'])];
    const proto = model(graph({ nodes, initializers: [floats('w', [2, 2])], inputs: [x] }));
    expect(findWeights(proto)[0]?.uses.map((use) => [use.node.opType, use.input, use.path])).toEqual([
      ['MatMul', 1, ''],
      ['Gemm', 0, ''],
      ['Gemm', 2, ''],
    ]);
  });

  test('weights in If, Loop and Scan bodies are found at any depth, with unique keys', () => {
    const inner = graph({ initializers: [floats('w', [1])], outputs: [value('w', 'f32', [1])] });
    const middle = graph({
      nodes: [node('Loop', ['', 'c'], ['l'], { attributes: { body: { graph: inner } } })],
      initializers: [floats('w', [2])],
    });
    const nodes = [
      node('If', ['c'], ['i'], {
        attributes: { then_branch: { graph: middle }, else_branch: { graph: inner } },
      }),
      node('Scan', ['x'], ['s'], { name: 'scan', attributes: { bodies: { graphs: [inner, inner] } } }),
    ];
    const proto = model(graph({ nodes, initializers: [floats('w', [3])], inputs: [x, cond] }));
    expect(findWeights(proto).map((weight) => weight.key)).toEqual([
      'w',
      'If_0.then_branch/w',
      'If_0.then_branch/Loop_0.body/w',
      'If_0.else_branch/w',
      'scan.bodies[0]/w',
      'scan.bodies[1]/w',
    ]);
  });

  test('a subgraph reads the outer weight unless it has its own of that name', () => {
    const reads = graph({ nodes: [node('MatMul', ['x', 'w'], ['r'])], outputs: [value('r', 'f32', [1])] });
    const shadows = graph({
      nodes: [node('MatMul', ['x', 'w'], ['r'])],
      initializers: [floats('w', [2, 2])],
      outputs: [value('r', 'f32', [1])],
    });
    const hides = graph({
      nodes: [node('Relu', ['x'], ['w']), node('Neg', ['w'], ['r'])],
      outputs: [value('r', 'f32', [1])],
    });
    const nodes = [
      node('If', ['c'], ['i'], {
        attributes: { then_branch: { graph: reads }, else_branch: { graph: shadows } },
      }),
      node('If', ['c'], ['j'], { attributes: { then_branch: { graph: hides } } }),
    ];
    const weights = findWeights(
      model(graph({ nodes, initializers: [floats('w', [2, 2])], inputs: [x, cond] })),
    );
    expect(weights.map((weight) => [weight.key, weight.uses.map((use) => use.path)])).toEqual([
      ['w', ['If_0.then_branch']],
      ['If_0.else_branch/w', ['If_0.else_branch']],
    ]);
  });

  test('weights that are inputs or outputs, also of a subgraph, say so', () => {
    const branch = graph({ outputs: [value('outer', 'f32', [1])] });
    const proto = model(
      graph({
        nodes: [node('If', ['c'], ['i'], { attributes: { then_branch: { graph: branch } } })],
        initializers: [floats('in', [1]), floats('out', [1]), floats('outer', [1])],
        inputs: [cond, value('in', 'f32', [1])],
        outputs: [value('out', 'f32', [1])],
      }),
    );
    expect(findWeights(proto).map((w) => [w.name, w.isGraphInput, w.isGraphOutput])).toEqual([
      ['in', true, false],
      ['out', false, true],
      ['outer', false, true],
    ]);
  });
});

describe('tensor bytes', () => {
  async function read(proto: TensorProto): Promise<Uint8Array> {
    const opened = await openOnnx(memorySource(await encodeModel(model(graph({ initializers: [proto] })))));
    return opened.readTensor(opened.proto.graph!.initializer[0]!);
  }
  const packed = (...bytes: number[]) => ({ kind: 'inline', bytes: Uint8Array.from(bytes) }) as const;

  test('float_data and double_data are raw already', async () => {
    const f = new Uint8Array(Float32Array.of(1, -2).buffer);
    expect(await read({ ...emptyTensor('w', 'f32', [2]), floatData: { kind: 'inline', bytes: f } })).toEqual(
      f,
    );
    const d = new Uint8Array(Float64Array.of(Math.PI).buffer);
    expect(await read({ ...emptyTensor('w', 'f64', [1]), doubleData: { kind: 'inline', bytes: d } })).toEqual(
      d,
    );
    const c = new Uint8Array(Float32Array.of(1, 2).buffer);
    expect(
      await read({ ...emptyTensor('w', 'complex64', [1]), floatData: { kind: 'inline', bytes: c } }),
    ).toEqual(c);
  });

  test.each([
    ['f16', [2], packed(0x80, 0x78, 0x81, 0x78), [0x00, 0x3c, 0x01, 0x3c]],
    ['bf16', [1], packed(0x80, 0x7f), [0x80, 0x3f]],
    ['int8', [2], packed(1, ...new Array(9).fill(0xff), 1), [1, 0xff]],
    ['uint8', [1], packed(0xff, 1), [0xff]],
    ['bool', [2], packed(1, 0), [1, 0]],
    ['int16', [1], packed(...new Array(9).fill(0xff), 1), [0xff, 0xff]],
    ['int32', [1], packed(...new Array(9).fill(0xff), 1), [0xff, 0xff, 0xff, 0xff]],
    ['int4', [3], packed(0x21, 3), [0x21, 3]],
    ['uint2', [5], packed(0xe4, 1, 2), [0xe4, 2]],
    ['f8_e4m3fn', [1], packed(0x7e), [0x7e]],
  ] as const)(
    'int32_data of %s becomes raw little-endian bytes',
    async (dtype, dims, int32Data, expected) => {
      const bytes = dtype === 'uint2' ? packed(0xe4, 1, 2) : int32Data;
      expect([...(await read({ ...emptyTensor('w', dtype, [...dims]), int32Data: bytes }))]).toEqual([
        ...expected,
      ]);
    },
  );

  test('int64_data and uint64_data become raw bytes', async () => {
    const minusOne = packed(...new Array(9).fill(0xff), 1, 5);
    const raw = await read({ ...emptyTensor('w', 'int64', [2]), int64Data: minusOne });
    expect(new BigInt64Array(raw.buffer)).toEqual(BigInt64Array.of(-1n, 5n));
    const large = await read({
      ...emptyTensor('w', 'uint32', [1]),
      uint64Data: packed(0xff, 0xff, 0xff, 0xff, 0x0f),
    });
    expect([...large]).toEqual([0xff, 0xff, 0xff, 0xff]);
  });

  test('a tensor larger than the limit of what is held at once is E_LIMIT to read, not to locate', async () => {
    const bytes = await encodeModel(
      model(graph({ initializers: [tensor('w', 'uint8', [9000], new Uint8Array(9000))] })),
    );
    const opened = await openOnnx(memorySource(bytes), { limits: { tensorBytes: 8000 } });
    const proto = opened.proto.graph!.initializer[0]!;
    expect(await opened.tensorBytes(proto)).toMatchObject({ kind: 'range', length: 9000 });
    await expect(opened.readTensor(proto)).rejects.toMatchObject({ code: 'E_LIMIT' });
  });
});

describe('normalizeConstants', () => {
  test('numeric Constant nodes become initializers with the name of their output, in every graph', () => {
    const branch = graph({
      nodes: [constant('k', { attributes: { value_float: 2 } }), node('Add', ['x', 'k'], ['r'])],
      outputs: [value('r', 'f32', [1])],
    });
    const proto = model(
      graph({
        nodes: [
          constant('w', { attributes: { value: { tensor: floats('', [2, 2]) } } }),
          constant('s', { attributes: { value_ints: [1n, 2n] } }),
          constant('t', { attributes: { value_string: 'text' } }),
          constant('out', { attributes: { value_float: 1 } }),
          node('MatMul', ['x', 'w'], ['y']),
          node('If', ['c'], ['i'], { attributes: { then_branch: { graph: branch } } }),
        ],
        inputs: [x, cond],
        outputs: [value('out', 'f32', [])],
      }),
    );
    const before = cloneModel(proto);
    const copy = cloneModel(proto);
    normalizeConstants(copy);
    expect(proto).toEqual(before);
    expect(copy.graph?.initializer.map((t) => [t.name, t.dims])).toEqual([
      ['w', [2, 2]],
      ['s', [2]],
    ]);
    expect(copy.graph?.node.map((n) => n.output[0])).toEqual(['t', 'out', 'y', 'i']);
    expect(branch.initializer).toEqual([]);
    const weights = findWeights(copy);
    expect(weights.map((weight) => weight.key)).toEqual(['w', 'out', 'If_3.then_branch/k']);
    expect(weights[2]?.uses.length).toBe(1);
  });

  test('IR 3 is raised to 4, where inputs that only repeat initializers go; without constants nothing changes', () => {
    const initializers = [floats('b', [2])];
    const inputs = [x, value('b', 'f32', [2])];
    const nodes = [
      constant('w', { attributes: { value_floats: [1, 2] } }),
      node('Sum', ['x', 'b', 'w'], ['y']),
    ];
    const proto = model(graph({ nodes, initializers, inputs }), { ir: 3 });
    normalizeConstants(proto);
    expect(proto.irVersion).toBe(4n);
    expect(proto.graph?.input.map((input) => input.name)).toEqual(['x']);
    const without = model(graph({ nodes: [node('Add', ['x', 'b'], ['y'])], initializers, inputs }), {
      ir: 3,
    });
    normalizeConstants(without);
    expect(without.irVersion).toBe(3n);
    expect(without.graph?.input.length).toBe(2);
  });
});

describe('pruneUnused and uniqueName', () => {
  test('unused initializers go; those that subgraphs, outputs or inputs use stay', () => {
    const branch = graph({
      nodes: [node('MatMul', ['x', 'inner'], ['r'])],
      initializers: [floats('dead', [1])],
      outputs: [value('r', 'f32', [1]), value('kept as inner output', 'f32', [1])],
    });
    const names = ['inner', 'dead', 'input', 'output', 'kept as inner output', 'used'];
    const proto = model(
      graph({
        nodes: [
          node('If', ['c'], ['i'], { attributes: { then_branch: { graph: branch } } }),
          node('Neg', ['used'], ['n']),
        ],
        initializers: names.map((name) => floats(name, [1])),
        inputs: [x, cond, value('input', 'f32', [1])],
        outputs: [value('output', 'f32', [1])],
        valueInfo: [value('dead', 'f32', [1]), value('n', 'f32', [1])],
      }),
    );
    expect(pruneUnused(proto)).toEqual(['dead', 'dead']);
    expect(proto.graph?.initializer.map((t) => t.name)).toEqual(names.filter((name) => name !== 'dead'));
    expect(proto.graph?.valueInfo.map((info) => info.name)).toEqual(['n']);
    expect(branch.initializer).toEqual([]);
  });

  test('names are new in the whole model and stay new', () => {
    const proto = linearModel();
    const name = uniqueName(proto);
    expect([name('w'), name('w'), name('mm'), name('free'), name('free'), name('')]).toEqual([
      'w_1',
      'w_2',
      'mm_1',
      'free',
      'free_1',
      '_1',
    ]);
  });

  test('a clone may be edited without touching the original, and shares payloads', () => {
    const proto = linearModel();
    proto.graph?.initializer.push(int64s('s', [1], [1]));
    const copy = cloneModel(proto);
    expect(copy).toEqual(proto);
    expect(copy.graph?.initializer[0]?.rawData).toBe(proto.graph?.initializer[0]?.rawData);
    copy.graph?.node[0]?.input.push('new');
    copy.graph?.initializer[0]?.dims.push(7);
    copy.opsetImport[0]!.version = 99n;
    expect(proto).toEqual({
      ...linearModel(),
      graph: { ...linearModel().graph, initializer: proto.graph?.initializer },
    });
    expect(proto.graph?.initializer[0]?.dims).toEqual([4, 3]);
  });
});
