import { Tensor } from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { numberOfDtype } from '../../src/formats/onnx/data-types.ts';
import type { ModelProto } from '../../src/formats/onnx/messages.ts';
import { inferElementTypes } from '../../src/formats/onnx/types.ts';
import type { Recipe } from '../../src/planning/recipe.ts';
import { floats, graph, model, node, value } from '../formats/build-onnx.ts';
import { allNodes, compare, feed, operators, plan, weight } from './run.ts';

const fp16: Recipe = { name: 'fp16', rules: [], fp16: { keepIoTypes: true } };
const q2f16: Recipe = {
  name: 'q2f16',
  rules: [
    { match: {}, scheme: { as: 'matmul-nbits', bits: 2, blockSize: 32, symmetric: false, accuracyLevel: 0 } },
  ],
  fp16: { keepIoTypes: true },
};

function product(): ModelProto {
  return model(
    graph({
      nodes: [
        node('MatMul', ['x', 'w'], ['t'], { name: 'mm' }),
        node('Add', ['t', 'b'], ['y'], { name: 'add' }),
      ],
      initializers: [weight('w', [64, 32]), weight('b', [32], 4)],
      inputs: [value('x', 'f32', ['n', 64])],
      outputs: [value('y', 'f32', ['n', 32])],
      valueInfo: [value('t', 'f32', ['n', 32])],
    }),
  );
}

describe('fp16', () => {
  test('inputs and outputs stay f32 under their names; everything between is f16', async () => {
    const { planned, cosine } = await compare(product(), fp16, { x: feed([3, 64]) });
    const main = planned.proto.graph!;
    expect(operators(planned.proto)).toEqual(['Cast', 'MatMul', 'Add', 'Cast']);
    expect(main.input[0]).toMatchObject({ name: 'x', type: { tensorType: { elemType: 1 } } });
    expect(main.output[0]).toMatchObject({ name: 'y', type: { tensorType: { elemType: 1 } } });
    expect(main.valueInfo[0]?.type?.tensorType?.elemType).toBe(numberOfDtype('f16'));
    expect(main.initializer.map((t) => [t.name, t.dataType])).toEqual([
      ['w', 10],
      ['b', 10],
    ]);
    expect(cosine).toBeGreaterThan(0.99999);
  });

  test('a constant that is itself an output stays f32, whatever its size', async () => {
    for (const rows of [8, 64]) {
      const proto = model(
        graph({
          nodes: [node('MatMul', ['x', 'w'], ['t']), node('MatMul', ['t', 'v'], ['y'])],
          initializers: [weight('w', [rows, 24]), weight('v', [24, 7])],
          inputs: [value('x', 'f32', [3, rows])],
          outputs: [value('w', 'f32', [rows, 24]), value('y', 'f32', [3, 7])],
        }),
      );
      const { cosine } = await compare(proto, fp16, { x: feed([3, rows]) });
      expect(cosine).toBe(1);
    }
  });

  test('keepIoTypes false makes inputs and outputs f16', async () => {
    const { planned } = await plan(product(), { ...fp16, fp16: { keepIoTypes: false } });
    expect(operators(planned.proto)).toEqual(['MatMul', 'Add']);
    const main = planned.proto.graph!;
    expect(main.input[0]?.type?.tensorType?.elemType).toBe(10);
    expect(main.output[0]?.type?.tensorType?.elemType).toBe(10);
  });

  test('Resize stays f32 between casts, its scales too', async () => {
    const proto = model(
      graph({
        nodes: [
          node('Conv', ['x', 'w'], ['t'], { name: 'conv' }),
          node('Resize', ['t', '', 'scales'], ['r'], { name: 'resize' }),
          node('Relu', ['r'], ['y'], { name: 'relu' }),
        ],
        initializers: [weight('w', [4, 3, 1, 1]), floats('scales', [4], [1, 1, 2, 2])],
        inputs: [value('x', 'f32', [1, 3, 4, 4])],
        outputs: [value('y', 'f32', [1, 4, 8, 8])],
      }),
      { opset: 13 },
    );
    const { planned, cosine } = await compare(proto, fp16, { x: feed([1, 3, 4, 4]) });
    expect(operators(planned.proto)).toEqual(['Cast', 'Conv', 'Cast', 'Resize', 'Cast', 'Relu', 'Cast']);
    expect(planned.proto.graph?.initializer.find((t) => t.name === 'scales')?.dataType).toBe(1);
    expect(planned.plan.notes.join()).toContain('1 Resize');
    expect(cosine).toBeGreaterThan(0.9999);
  });

  test('both branches of an If hand over f16, also where one ends in a blocked operator', async () => {
    const then = graph({
      name: 'then',
      nodes: [node('CumSum', ['x', 'axis'], ['p'], { name: 'sum' })],
      outputs: [value('p', 'f32', ['n', 8])],
    });
    const otherwise = graph({
      name: 'else',
      nodes: [node('Mul', ['x', 'k'], ['q'], { name: 'mul' })],
      initializers: [weight('k', [8])],
      outputs: [value('q', 'f32', ['n', 8])],
    });
    const proto = model(
      graph({
        nodes: [
          node('If', ['c'], ['r'], {
            attributes: { then_branch: { graph: then }, else_branch: { graph: otherwise } },
          }),
          node('Add', ['r', 'x'], ['y'], { name: 'add' }),
        ],
        initializers: [
          {
            ...floats('axis', []),
            dataType: 6,
            rawData: { kind: 'inline', bytes: Uint8Array.of(1, 0, 0, 0) },
          },
        ],
        inputs: [value('x', 'f32', ['n', 8]), value('c', 'bool', [])],
        outputs: [value('y', 'f32', ['n', 8])],
      }),
    );
    for (const c of [0, 1]) {
      const feeds = { x: feed([3, 8]), c: new Tensor('bool', Uint8Array.of(c), []) };
      const { cosine } = await compare(proto, fp16, feeds);
      expect(cosine).toBeGreaterThan(0.9999);
    }
  });

  test('a Loop carries its state in f16', async () => {
    const body = graph({
      name: 'body',
      nodes: [
        node('Identity', ['go'], ['go_on']),
        node('MatMul', ['state', 'w'], ['next'], { name: 'step' }),
      ],
      inputs: [value('i', 'int64', []), value('go', 'bool', []), value('state', 'f32', ['n', 8])],
      outputs: [value('go_on', 'bool', []), value('next', 'f32', ['n', 8])],
    });
    const proto = model(
      graph({
        nodes: [node('Loop', ['turns', '', 'x'], ['y'], { attributes: { body: { graph: body } } })],
        initializers: [
          weight('w', [8, 8]),
          {
            ...floats('turns', []),
            dataType: 7,
            rawData: { kind: 'inline', bytes: Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0) },
          },
        ],
        inputs: [value('x', 'f32', ['n', 8])],
        outputs: [value('y', 'f32', ['n', 8])],
      }),
    );
    const { cosine } = await compare(proto, fp16, { x: feed([3, 8]) });
    expect(cosine).toBeGreaterThan(0.9999);
  });

  test('an output that is read inside the graph too keeps its name, and readers get f16', async () => {
    const proto = product();
    proto.graph?.node.push(node('Relu', ['y'], ['z'], { name: 'relu' }));
    proto.graph?.output.push(value('z', 'f32', ['n', 32]));
    const { planned, cosine } = await compare(proto, fp16, { x: feed([3, 64]) });
    expect(planned.proto.graph?.output.map((o) => o.name)).toEqual(['y', 'z']);
    expect(cosine).toBeGreaterThan(0.9999);
  });

  test('Range, ConstantOfShape and int → float casts end up in the right types', async () => {
    const proto = model(
      graph({
        nodes: [
          node('Shape', ['x'], ['shape']),
          node('ConstantOfShape', ['shape'], ['zeros']),
          node('Cast', ['shape'], ['dims'], { attributes: { to: 1n } }),
          node('ReduceMean', ['dims'], ['mean'], { attributes: { keepdims: 0n } }),
          node('Range', ['from', 'mean', 'one'], ['range']),
          node('ReduceSum', ['range'], ['total']),
          node('Add', ['zeros', 'total'], ['sum']),
          node('Mul', ['sum', 'x'], ['z']),
          node('Mul', ['z', 'k'], ['y']),
        ],
        initializers: [floats('from', [], [0]), floats('one', [], [1]), weight('k', [8])],
        inputs: [value('x', 'f32', ['n', 8])],
        outputs: [value('y', 'f32', ['n', 8])],
      }),
    );
    const { cosine } = await compare(proto, { ...fp16, name: 'half' }, { x: feed([6, 8]) });
    expect(cosine).toBeGreaterThan(0.999);
  });

  test('BatchNormalization with statistics beyond f16 stays f32, with the product in front of it', async () => {
    const proto = model(
      graph({
        nodes: [
          node('Conv', ['x', 'w'], ['t'], { name: 'conv' }),
          node('BatchNormalization', ['t', 's', 'o', 'm', 'v'], ['y'], { name: 'norm' }),
        ],
        initializers: [
          floats('w', [2, 2, 1, 1], [9000, -8000, 7000, 6000]),
          floats('s', [2], [1, 1]),
          floats('o', [2], [0, 0]),
          floats('m', [2], [100, -50]),
          floats('v', [2], [1e8, 5e7]),
        ],
        inputs: [value('x', 'f32', [1, 2, 3, 3])],
        outputs: [value('y', 'f32', [1, 2, 3, 3])],
      }),
    );
    proto.graph?.node.push(node('Mul', ['y', 'k'], ['z'], { name: 'mul' }));
    proto.graph?.initializer.push(floats('k', [1], [0.5]));
    proto.graph!.output = [value('z', 'f32', [1, 2, 3, 3])];
    const { cosine, planned } = await compare(proto, fp16, { x: feed([1, 2, 3, 3]) });
    expect(planned.plan.notes.join()).toContain('1 BatchNormalization with statistics beyond 10000');
    expect(cosine).toBeGreaterThan(0.99999);
  });

  test('2-bit MatMulNBits computes in f16, but stays f32 for a target that has no f16 form', async () => {
    const modern = await compare(product(), q2f16, { x: feed([3, 64]) });
    const scales = (planned: ModelProto) =>
      planned.graph?.initializer.find((t) => t.name === 'w_scales')?.dataType;
    expect(scales(modern.planned.proto)).toBe(10);
    const older = await compare(product(), q2f16, { x: feed([3, 64]) }, { targets: ['transformers.js'] });
    expect(scales(older.planned.proto)).toBe(1);
    expect(older.planned.plan.notes.join()).toContain('transformers.js runs only 4 and 8 bits in f16');
    expect(older.cosine).toBeGreaterThan(0.85);
    expect(modern.cosine).toBeGreaterThan(0.85);
  });

  test('dynamic int8 with fp16 keeps integer sums in f32', async () => {
    const recipe: Recipe = {
      name: 'q8f16',
      rules: [
        {
          match: {},
          scheme: { as: 'dynamic-int8', weightType: 'auto', perChannel: true, reduceRange: false },
        },
      ],
      fp16: { keepIoTypes: true },
    };
    const { cosine } = await compare(product(), recipe, { x: feed([3, 64]) });
    expect(cosine).toBeGreaterThan(0.999);
  });

  test('a model in f16 already has nothing to do', async () => {
    const { planned } = await plan(product(), { ...fp16, fp16: { keepIoTypes: false } });
    const half = planned.proto;
    for (const t of half.graph?.initializer ?? []) {
      t.rawData = { kind: 'inline', bytes: new Uint8Array(t.dims.reduce((a, b) => a * b, 2)) };
    }
    await expect(plan(half, fp16)).rejects.toMatchObject({ code: 'E_NOTHING_TO_DO' });
  });
});

describe('element types', () => {
  test('are those of the operators, through subgraphs', () => {
    const inner = graph({
      name: 'b',
      nodes: [node('Cast', ['s'], ['o'], { attributes: { to: 10n } })],
      outputs: [],
    });
    inner.output.push({ name: 'o', metadataProps: [], unknown: [] });
    const proto = model(
      graph({
        nodes: [
          node('Shape', ['x'], ['s']),
          node('Greater', ['x', 'x'], ['g']),
          node('If', ['g'], ['i'], {
            attributes: { then_branch: { graph: inner }, else_branch: { graph: inner } },
          }),
          node('TopK', ['x', 's'], ['v', 'k']),
          node('DynamicQuantizeLinear', ['x'], ['q', 'qs', 'qz']),
        ],
        inputs: [value('x', 'f32', ['n'])],
      }),
    );
    const types = inferElementTypes(proto);
    const names = ['s', 'g', 'i', 'v', 'k', 'q', 'qs', 'qz', 'nothing'];
    expect(names.map((name) => types.typeOf(proto.graph!, name))).toEqual([
      'int64',
      'bool',
      'f16',
      'f32',
      'int64',
      'uint8',
      'f32',
      'uint8',
      undefined,
    ]);
    expect(allNodes(proto)).toHaveLength(7);
  });
});
