/**
 * Models as other tools write them: patterns are known by structure, not by name. Each is run in onnxruntime-node before and
 * after. What cannot be restored stays, and the notes name it.
 */

import { expect, test } from 'vitest';
import { dequantizeModel } from '../../src/compress/dequantize.ts';
import type { DType } from '../../src/core/dtype.ts';
import { f32ToF16Bits } from '../../src/core/floats.ts';
import type { ModelProto, NodeProto, TensorProto } from '../../src/formats/onnx/messages.ts';
import { openOnnx } from '../../src/formats/onnx/open.ts';
import { type RestoredGraph, restoreGraph } from '../../src/formats/onnx/restore/restore.ts';
import { originalName } from '../../src/formats/onnx/restore/stored-weight.ts';
import {
  floats,
  graph,
  int64s,
  model,
  node,
  sourceOf,
  tensor,
  value,
  withFolder,
  writeModel,
} from '../formats/build-onnx.ts';
import { type Answers, answers, type Feeds, float, int64, maxAbs } from '../models/engine.ts';
import { normals } from './networks.ts';

const MS = { domain: 'com.microsoft' };

function bytes(name: string, dtype: DType, dims: number[], next: (i: number) => number): TensorProto {
  const count = dims.reduce((product, dim) => product * dim, 1);
  return tensor(
    name,
    dtype,
    dims,
    Uint8Array.from({ length: count }, (_, i) => next(i) & 255),
  );
}

function halves(name: string, dims: number[], values: readonly number[]): TensorProto {
  return tensor(name, 'f16', dims, new Uint8Array(Uint16Array.from(values, f32ToF16Bits).buffer));
}

function xModel(
  nodes: NodeProto[],
  initializers: TensorProto[],
  opset = 21,
  type: DType = 'f32',
): ModelProto {
  return model(
    graph({
      nodes,
      initializers,
      inputs: [value('x', type, ['n', 32])],
      outputs: [value('y', type, ['n', 16])],
    }),
    { opset, ir: 10, domains: { 'com.microsoft': 1 } },
  );
}

const X: Feeds[] = [{ x: float(Float32Array.from(normals(5 * 32, 1)), [5, 32]) }];

/** Answers before and after, and the restored graph. */
async function restore(
  proto: ModelProto,
  feeds: readonly Feeds[],
  to: 'f32' | 'f16' = 'f32',
): Promise<{ before: Answers; after: Answers; restored: RestoredGraph; operators: string[] }> {
  return withFolder(async (folder) => {
    const file = await writeModel(folder, proto);
    const { files } = await dequantizeModel(file, { to, threads: 1 });
    const source = await openOnnx(file);
    const restored = await restoreGraph(source, { to });
    await source.close();
    return {
      before: await answers(file, feeds),
      after: await answers(files[0]?.path ?? '', feeds),
      restored,
      operators: (restored.proto.graph?.node ?? []).map(({ opType }) => opType ?? ''),
    };
  });
}

function difference(before: Answers, after: Answers): number {
  return Math.max(
    ...[...before].map(([name, values]) => maxAbs(values, after.get(name) ?? new Float32Array())),
  );
}

const nbitsAttributes = { K: 32n, N: 16n, bits: 4n, block_size: 32n };
const packed = bytes('p', 'uint8', [16, 1, 16], (i) => i * 37 + 11);
const scales = floats('s', [16], normals(16, 0.05));

test('MatMulNBits with zero points and a bias gives MatMul and Add', async () => {
  const zero = bytes('z', 'uint8', [16], (i) => i);
  const bias = floats('bias', [16], normals(16, 1));
  const nodes = [
    node('MatMulNBits', ['x', 'p', 's', 'z', '', 'bias'], ['y'], { ...MS, attributes: nbitsAttributes }),
  ];
  const { before, after, operators } = await restore(xModel(nodes, [packed, scales, zero, bias]), X);
  expect(operators).toEqual(['MatMul', 'Add']);
  expect(difference(before, after)).toBeLessThan(1e-5);
});

test('two products of one packed weight read one float weight', async () => {
  const nodes = [
    node('MatMulNBits', ['x', 'p', 's'], ['u'], { ...MS, attributes: nbitsAttributes }),
    node('MatMulNBits', ['x', 'p', 's'], ['v'], { ...MS, attributes: nbitsAttributes }),
    node('Add', ['u', 'v'], ['y']),
  ];
  const { before, after, restored } = await restore(xModel(nodes, [packed, scales]), X);
  expect(restored.weights.map(({ name, shape }) => [name, shape])).toEqual([['p', [32, 16]]]);
  expect(restored.proto.graph?.initializer.length).toBe(1);
  expect(difference(before, after)).toBeLessThan(1e-5);
});

test('a table that Gather and the head share stays one table', async () => {
  const head = { K: 32n, N: 16n, bits: 4n, block_size: 32n };
  const proto = model(
    graph({
      nodes: [
        node('Reshape', ['emb_Q4', 'rows'], ['flat']),
        node('GatherBlockQuantized', ['flat', 'ids', 'es'], ['e'], {
          ...MS,
          attributes: { gather_axis: 0n, quantize_axis: 1n, block_size: 32n, bits: 4n },
        }),
        node('MatMulNBits', ['e', 'emb_Q4', 'es'], ['y'], { ...MS, attributes: head }),
      ],
      initializers: [
        bytes('emb_Q4', 'uint8', [16, 1, 16], (i) => i * 29 + 3),
        floats('es', [16, 1], normals(16, 0.05)),
        int64s('rows', [2], [16, 16]),
      ],
      inputs: [value('ids', 'int64', ['n'])],
      outputs: [value('y', 'f32', ['n', 16])],
    }),
    { opset: 21, ir: 10, domains: { 'com.microsoft': 1 } },
  );
  const feeds = [{ ids: int64([0, 7, 15], [3]) }];
  const { before, after, restored, operators } = await restore(proto, feeds);
  expect(operators).toEqual(['Transpose', 'Gather', 'MatMul']);
  expect(restored.weights.map(({ name, shape }) => [name, shape])).toEqual([['emb', [16, 32]]]);
  expect(difference(before, after)).toBeLessThan(1e-5);
});

test('GatherBlockQuantized of INT4 with a negative axis and no name that tells anything', async () => {
  const proto = model(
    graph({
      nodes: [
        node('GatherBlockQuantized', ['t', 'ids', 'ts'], ['y'], {
          ...MS,
          attributes: { quantize_axis: -1n, block_size: 16n },
        }),
      ],
      initializers: [
        tensor(
          't',
          'int4',
          [8, 32],
          Uint8Array.from({ length: 128 }, (_, i) => (i * 53) & 255),
        ),
        floats('ts', [8, 2], normals(16, 0.1)),
      ],
      inputs: [value('ids', 'int64', ['n'])],
      outputs: [value('y', 'f32', ['n', 32])],
    }),
    { opset: 21, ir: 10, domains: { 'com.microsoft': 1 } },
  );
  const { before, after, operators } = await restore(proto, [{ ids: int64([7, 0], [2]) }]);
  expect(operators).toEqual(['Gather']);
  expect(difference(before, after)).toBe(0);
});

test('static quantization: weights and int32 biases come back, activations are held to their range by Clip', async () => {
  const nodes = [
    node('QuantizeLinear', ['x', 'xs', 'xz'], ['xq']),
    node('DequantizeLinear', ['xq', 'xs', 'xz'], ['xd']),
    node('DequantizeLinear', ['w_quantized', 'ws', 'wz'], ['w_DequantizeLinear_Output'], {
      attributes: { axis: -1n },
    }),
    node('DequantizeLinear', ['b_quantized', 'bs'], ['bd'], { attributes: { axis: 0n } }),
    node('Gemm', ['xd', 'w_DequantizeLinear_Output', 'bd'], ['y']),
  ];
  const weightScales = normals(16, 0.02).map(Math.abs);
  const initializers = [
    floats('xs', [], [0.03]),
    bytes('xz', 'uint8', [], () => 120),
    bytes('w_quantized', 'int8', [32, 16], (i) => i * 7),
    floats('ws', [16], weightScales),
    bytes('wz', 'int8', [16], () => 0),
    tensor(
      'b_quantized',
      'int32',
      [16],
      new Uint8Array(Int32Array.from({ length: 16 }, (_, i) => i * 100 - 800).buffer),
    ),
    floats(
      'bs',
      [16],
      weightScales.map((scale) => scale * 0.03),
    ),
  ];
  const { before, after, restored, operators } = await restore(xModel(nodes, initializers), X);
  expect(operators).toEqual(['Clip', 'Gemm']);
  expect(restored.weights.map(({ name }) => name)).toEqual(['w', 'b']);
  expect(restored.notes.join(' ')).toMatch(/in 1 place are float again/);
  expect(restored.proto.graph?.initializer.map(({ name }) => name).sort()).toEqual([
    'b',
    'range_end',
    'range_end_1',
    'w',
  ]);
  // Half a step of 0.03 for each of 32 inputs at most, each by a weight below 128 steps of its own.
  const bound = 32 * 0.015 * 128 * Math.max(...weightScales);
  expect(difference(before, after)).toBeGreaterThan(0);
  expect(difference(before, after)).toBeLessThan(bound);
});

/** x → Q → DQ → y, both [n, 32], with the given ends of a pair. */
function pairModel(
  initializers: TensorProto[],
  zero: readonly string[],
  { opset = 21, type = 'f32' as DType, domain = '' } = {},
): ModelProto {
  const more = domain === '' ? {} : { domain };
  return model(
    graph({
      nodes: [
        node('QuantizeLinear', ['x', 's', ...zero], ['q'], more),
        node('DequantizeLinear', ['q', 's', ...zero], ['y'], more),
      ],
      initializers,
      inputs: [value('x', type, ['n', 32])],
      outputs: [value('y', type, ['n', 32])],
    }),
    { opset, ir: opset < 11 ? 5 : 10, domains: { 'com.microsoft': 1 } },
  );
}

test('a pair around an activation keeps the ends of its range and loses its rounding, whatever its type and version', async () => {
  const step = 0.01;
  const x = X[0]?.x;
  if (x === undefined) throw new Error('no input');
  const given = Float32Array.from(x.data as Float32Array);
  const cases = [
    {
      name: 'uint8 that cuts as Relu does',
      model: pairModel([floats('s', [], [step]), bytes('z', 'uint8', [], () => 0)], ['z']),
      low: 0,
      high: 2.55,
    },
    {
      name: 'int8',
      model: pairModel([floats('s', [1], [step]), bytes('z', 'int8', [1], () => 28)], ['z']),
      low: -1.56,
      high: 0.99,
    },
    { name: 'no zero point', model: pairModel([floats('s', [], [step])], []), low: 0, high: 2.55 },
    {
      name: 'a Clip with attributes',
      model: pairModel([floats('s', [], [step]), bytes('z', 'uint8', [], () => 128)], ['z'], { opset: 10 }),
      low: -1.28,
      high: 1.27,
    },
    {
      name: 'int16 of com.microsoft',
      model: pairModel([floats('s', [], [1e-4]), tensor('z', 'int16', [], new Uint8Array(2))], ['z'], {
        domain: 'com.microsoft',
      }),
      low: -3.2768,
      high: 3.2767,
    },
  ];
  for (const { name, model: proto, low, high } of cases) {
    const { after, operators } = await restore(proto, X);
    expect(operators, name).toEqual(['Clip']);
    const wanted = given.map((each) => Math.min(Math.max(each, low), high));
    expect(maxAbs(wanted, after.get('y') ?? new Float32Array()), name).toBeLessThan(1e-6);
  }
});

test('a pair in float16 becomes a Clip in float16, and one in float32 where the graph is widened', async () => {
  const proto = pairModel([halves('s', [], [0.0625]), bytes('z', 'uint8', [], () => 16)], ['z'], {
    type: 'f16',
  });
  await withFolder(async (folder) => {
    const source = await openOnnx(await writeModel(folder, proto));
    const wide = await restoreGraph(source, { to: 'f32' });
    const same = await restoreGraph(source, { to: 'f16' });
    await source.close();
    expect(wide.proto.graph?.initializer.map(({ dataType }) => dataType)).toEqual([1, 1]);
    expect(same.proto.graph?.initializer.map(({ dataType }) => dataType)).toEqual([10, 10]);
    expect(same.restorations).toEqual([]);
  });
});

test('what is no pair stays and is counted: other scales, integer readers, channels, constants, integers read as such', async () => {
  const scale = floats('s', [], [0.01]);
  const zero = bytes('z', 'uint8', [], () => 128);
  const ends = [node('Relu', ['d'], ['y'])];
  const channels = { attributes: { axis: 1n } };
  const stays: [string, NodeProto[], TensorProto[]][] = [
    [
      'other scales',
      [
        node('QuantizeLinear', ['x', 's', 'z'], ['q']),
        node('DequantizeLinear', ['q', 't', 'z'], ['d']),
        ...ends,
      ],
      [scale, zero, floats('t', [], [0.02])],
    ],
    [
      'an integer reader',
      [
        node('QuantizeLinear', ['x', 's', 'z'], ['q']),
        node('DequantizeLinear', ['q', 's', 'z'], ['d']),
        node('Cast', ['q'], ['c'], { attributes: { to: 1n } }),
        node('Add', ['d', 'c'], ['y']),
      ],
      [scale, zero],
    ],
    [
      'channels',
      [
        node('QuantizeLinear', ['x', 's', 'z'], ['q'], channels),
        node('DequantizeLinear', ['q', 's', 'z'], ['d'], channels),
        ...ends,
      ],
      [floats('s', [32], normals(32, 1).map(Math.abs)), bytes('z', 'uint8', [32], () => 128)],
    ],
    [
      'a constant',
      [
        node('QuantizeLinear', ['w', 's', 'z'], ['q']),
        node('DequantizeLinear', ['q', 's', 'z'], ['v']),
        node('Add', ['x', 'v'], ['y']),
      ],
      [scale, zero, floats('w', [32], normals(32, 1))],
    ],
  ];
  for (const [name, nodes, initializers] of stays) {
    const proto = model(
      graph({
        nodes,
        initializers,
        inputs: [value('x', 'f32', ['n', 32])],
        outputs: [value('y', 'f32', ['n', 32])],
      }),
      { opset: 21, ir: 10 },
    );
    await withFolder(async (folder) => {
      const source = await openOnnx(await writeModel(folder, proto));
      await expect(restoreGraph(source, { to: 'f32' }), name).rejects.toMatchObject({
        code: 'E_NOTHING_TO_DO',
        details: { found: expect.stringMatching(/still quantized while the model runs in 1 place /) },
      });
      await source.close();
    });
  }
});

test('fused dynamic products of com.microsoft become MatMul, with their bias', async () => {
  const weight = bytes('w_quantized', 'int8', [32, 16], (i) => i * 11);
  const scale = floats('ws', [16], normals(16, 0.01).map(Math.abs));
  const zero = bytes('wz', 'int8', [16], () => 0);
  const bias = floats('bias', [16], normals(16, 1));
  const fused = [node('DynamicQuantizeMatMul', ['x', 'w_quantized', 'ws', 'wz', 'bias'], ['y'], MS)];
  const split = [
    node('DynamicQuantizeLinear', ['x'], ['xq', 'xs', 'xz']),
    node('MatMulIntegerToFloat', ['xq', 'w_quantized', 'xs', 'ws', 'xz', 'wz', 'bias'], ['y'], MS),
  ];
  for (const nodes of [fused, split]) {
    const { before, after, restored, operators } = await restore(
      xModel(nodes, [weight, scale, zero, bias]),
      X,
    );
    expect(operators).toEqual(['MatMul', 'Add']);
    expect(restored.notes.join(' ')).toMatch(/float again/);
    expect(difference(before, after)).toBeLessThan(2);
  }
});

test('scales that are multiplied one after the other are found too', async () => {
  const nodes = [
    node('DynamicQuantizeLinear', ['x'], ['xq', 'xs', 'xz']),
    node('MatMulInteger', ['xq', 'w_quantized', 'xz'], ['i']),
    node('Cast', ['i'], ['c'], { attributes: { to: 1n } }),
    node('Mul', ['ws', 'c'], ['m']),
    node('Mul', ['m', 'xs'], ['y']),
  ];
  const weight = bytes('w_quantized', 'uint8', [32, 16], (i) => (i * 11) % 90);
  const { operators } = await restore(xModel(nodes, [weight, floats('ws', [], [0.01])]), X);
  expect(operators).toEqual(['MatMul']);
});

test('integer products whose result is used otherwise stay, and the note says why', async () => {
  const nodes = [
    node('DynamicQuantizeLinear', ['x'], ['xq', 'xs', 'xz']),
    node('MatMulInteger', ['xq', 'w_quantized', 'xz'], ['i']),
    node('Cast', ['i'], ['y'], { attributes: { to: 1n } }),
  ];
  const weight = bytes('w_quantized', 'uint8', [32, 16], (i) => i);
  const source = await openOnnx(await sourceOf(xModel(nodes, [weight])));
  await expect(restoreGraph(source, { to: 'f32' })).rejects.toMatchObject({
    code: 'E_NOTHING_TO_DO',
    details: { found: expect.stringMatching(/MatMulInteger \(its result is not scaled back/) },
  });
});

test.each([
  ['reordered rows', ['x', 'p', 's', '', 'g'], nbitsAttributes, /g_idx/],
  ['sizes that disagree', ['x', 'p', 's'], { ...nbitsAttributes, N: 17n }, /other sizes/],
  ['a block size of zero', ['x', 'p', 's'], { ...nbitsAttributes, block_size: 0n }, /other sizes/],
  ['three bits', ['x', 'p', 's'], { ...nbitsAttributes, bits: 3n }, /3 bits/],
  ['a weight that is computed', ['x', 'x', 's'], nbitsAttributes, /no constant/],
])('MatMulNBits with %s stays as it is', async (_, inputs, attributes, reason) => {
  const order = tensor('g', 'int32', [32], new Uint8Array(128));
  const nodes = [node('MatMulNBits', inputs, ['y'], { ...MS, attributes })];
  const source = await openOnnx(await sourceOf(xModel(nodes, [packed, scales, order])));
  await expect(restoreGraph(source, { to: 'f32' })).rejects.toMatchObject({
    code: 'E_NOTHING_TO_DO',
    details: { found: expect.stringMatching(reason) },
  });
});

test('weights of an outer graph are restored for branches that dequantize them', async () => {
  const branch = (name: string, data: string) =>
    graph({
      name,
      nodes: [
        // onnxruntime does not load a product that reads such a weight directly.
        node('DequantizeLinear', [data, 'ws'], [`${name}_t`]),
        node('Abs', [`${name}_t`], [`${name}_w`]),
        node('MatMul', ['x', `${name}_w`], [`${name}_y`]),
      ],
      outputs: [value(`${name}_y`, 'f32', ['n', 16])],
    });
  const nodes = [
    node('ReduceMax', ['x'], ['m'], { attributes: { keepdims: 0n } }),
    node('Greater', ['m', 'zero'], ['c']),
    node('If', ['c'], ['y'], {
      attributes: {
        then_branch: { graph: branch('then', 'w_quantized') },
        else_branch: { graph: branch('else', 'v_quantized') },
      },
    }),
  ];
  const proto = xModel(nodes, [
    floats('zero', [], [0]),
    bytes('w_quantized', 'int8', [32, 16], (i) => i * 3),
    bytes('v_quantized', 'int8', [32, 16], (i) => i * 5),
    floats('ws', [], [0.02]),
  ]);
  const { before, after, restored } = await restore(proto, X);
  expect(restored.weights.map(({ name }) => name)).toEqual(['w', 'v']);
  expect(difference(before, after)).toBe(0);
});

test('a dequantized weight that is an output keeps its name there', async () => {
  const proto = model(
    graph({
      nodes: [node('DequantizeLinear', ['w_quantized', 's'], ['y'])],
      initializers: [bytes('w_quantized', 'int8', [4], (i) => i - 2), floats('s', [], [0.5])],
      outputs: [value('y', 'f32', [4])],
    }),
    { opset: 17, ir: 8 },
  );
  const { before, after, operators } = await restore(proto, [{}]);
  expect(operators).toEqual(['Identity']);
  expect(difference(before, after)).toBe(0);
});

test('a table that is gathered, then dequantized for the whole tensor', async () => {
  const proto = model(
    graph({
      nodes: [
        node('Gather', ['t_quantized', 'ids'], ['q'], { name: 'emb_quant' }),
        node('DequantizeLinear', ['q', 's', 'z'], ['y']),
      ],
      initializers: [
        bytes('t_quantized', 'uint8', [9, 6], (i) => i * 4),
        floats('s', [], [0.1]),
        bytes('z', 'uint8', [], () => 100),
      ],
      inputs: [value('ids', 'int64', ['n'])],
      outputs: [value('y', 'f32', ['n', 6])],
    }),
    { opset: 13, ir: 7 },
  );
  const { before, after, operators, restored } = await restore(proto, [{ ids: int64([8, 1], [2]) }]);
  expect(operators).toEqual(['Gather']);
  expect(restored.weights[0]?.form).toBe('uint8 per tensor');
  expect(difference(before, after)).toBe(0);
});

test('a graph in float16 is widened: constants, casts, types and attributes; names stay', async () => {
  const proto = model(
    graph({
      nodes: [
        node('Cast', ['x'], ['h'], { attributes: { to: 10n } }),
        node('MatMul', ['h', 'w'], ['m']),
        node('Shape', ['m'], ['shape']),
        node('ConstantOfShape', ['shape'], ['ones'], {
          attributes: { value: { tensor: halves('', [1], [1.5]) } },
        }),
        node('Add', ['m', 'ones'], ['a']),
        node('Cast', ['a'], ['y'], { attributes: { to: 1n } }),
      ],
      initializers: [halves('w', [32, 16], normals(512, 0.2))],
      inputs: [value('x', 'f32', ['n', 32])],
      outputs: [value('y', 'f32', ['n', 16])],
      valueInfo: [value('m', 'f16', ['n', 16])],
    }),
    { opset: 17, ir: 8 },
  );
  const { before, after, operators } = await restore(proto, X);
  expect(operators).toEqual(['MatMul', 'Shape', 'ConstantOfShape', 'Add']);
  expect(difference(before, after)).toBeLessThan(0.02);
});

test('inputs and outputs in float16 become float32, and the note names them', async () => {
  const nodes = [node('DequantizeLinear', ['q', 's'], ['w']), node('MatMul', ['x', 'w'], ['y'])];
  const parts = [bytes('q', 'int8', [32, 16], (i) => i), halves('s', [], [0.01])];
  const source = await openOnnx(await sourceOf(xModel(nodes, parts, 19, 'f16')));
  const wide = await restoreGraph(source, { to: 'f32' });
  expect(wide.notes).toEqual(['Now float32 instead of float16: x, y.']);
  const half = await restoreGraph(source, { to: 'f16' });
  expect(half.notes).toEqual([]);
  expect(half.proto.graph?.node.map(({ opType }) => opType)).toEqual(['MatMul']);
  expect(half.proto.graph?.initializer.map(({ dataType }) => dataType)).toEqual([10]);
});

test('names lose what quantizers put behind them, and nothing else', () => {
  const names: [string, string | undefined][] = [
    ['w_quantized', 'w'],
    ['w_Q4', 'w'],
    ['w_DQ_Q8', 'w'],
    ['w_Q4G128', 'w'],
    ['w_Bnb4', 'w'],
    ['w_f8_e4m3fn', 'w'],
    ['w_f8_e5m2fnuz', 'w'],
    ['w_bf16_2', 'w'],
    ['a.qweight', 'a.weight'],
    ['layer_4', undefined],
    ['_Q4', undefined],
    ['weight', undefined],
  ];
  for (const [stored, name] of names) expect(originalName(stored)).toBe(name);
});
