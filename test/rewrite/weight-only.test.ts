import { describe, expect, test } from 'vitest';
import type { ModelProto } from '../../src/formats/onnx/messages.ts';
import type { Scheme } from '../../src/planning/recipe.ts';
import { graph, model, node, value } from '../formats/build-onnx.ts';
import { compare, feed, indices, initializerNames, operators, plan, recipeFor, weight } from './run.ts';

type Qdq = Extract<Scheme, { as: 'qdq' }>;
const qdq = (type: Qdq['type'], granularity: Qdq['granularity'], blockSize = 0): Scheme => ({
  as: 'qdq',
  type,
  granularity,
  blockSize,
});

function net(opset: number, extra: { softmax?: bigint } = {}): ModelProto {
  const tail =
    extra.softmax === undefined
      ? []
      : [node('Softmax', ['t'], ['y'], { attributes: { axis: extra.softmax } })];
  return model(
    graph({
      nodes: [
        node('Conv', ['x', 'c'], ['f'], { name: 'conv' }),
        node('ConvTranspose', ['f', 'd'], ['g'], { name: 'deconv' }),
        node('MatMul', ['g', 'w'], [tail.length > 0 ? 't' : 'y'], { name: 'mm' }),
        ...tail,
      ],
      initializers: [weight('c', [8, 4, 1, 1], 1), weight('d', [8, 6, 1, 1], 2), weight('w', [70, 24], 3)],
      inputs: [value('x', 'f32', [1, 4, 'n', 70])],
      outputs: [value('y', 'f32', [1, 6, 'n', 24])],
    }),
    { opset },
  );
}

const feeds = { x: feed([1, 4, 5, 70]) };

describe('DequantizeLinear in front of any operator', () => {
  const cases: [Scheme, number][] = [
    [qdq('int8', 'tensor'), 0.999],
    [qdq('uint8', 'tensor'), 0.999],
    [qdq('int8', 'channel'), 0.9995],
    [qdq('int4', 'channel'), 0.97],
    [qdq('uint4', 'channel'), 0.97],
    [qdq('int4', 'block', 32), 0.97],
    [qdq('uint4', 'block', 32), 0.97],
  ];
  for (const [scheme, floor] of cases) {
    for (const opset of [17, 21]) {
      test(`${JSON.stringify(scheme)} at opset ${opset} runs and stays close`, async () => {
        const { cosine, planned } = await compare(net(opset), recipeFor(scheme), feeds);
        expect(operators(planned.proto).filter((op) => op === 'DequantizeLinear')).toHaveLength(3);
        expect(cosine).toBeGreaterThan(floor);
      });
    }
  }

  // onnxruntime 1.30 aborts the process on DequantizeLinear (with an axis) → Transpose (without perm).
  test('a Transpose behind a dequantized weight has its axes spelled out', async () => {
    const matrix = model(
      graph({
        nodes: [
          node('Identity', ['w'], ['i']),
          node('Transpose', ['i'], ['t']),
          node('MatMul', ['x', 't'], ['y']),
        ],
        initializers: [weight('w', [48, 64])],
        inputs: [value('x', 'f32', [3, 64])],
        outputs: [value('y', 'f32', [3, 48])],
      }),
    );
    const filter = model(
      graph({
        nodes: [node('Transpose', ['w'], ['t']), node('Conv', ['x', 't'], ['y'])],
        initializers: [weight('w', [5, 16, 24])],
        inputs: [value('x', 'f32', [2, 16, 20])],
        outputs: [value('y', 'f32', [2, 24, 16])],
      }),
    );
    const recipe = recipeFor(qdq('int8', 'channel'), {
      rules: [{ match: { tensor: 'w' }, scheme: qdq('int8', 'channel') }],
    });
    for (const [proto, x, perm] of [
      [matrix, feed([3, 64]), [1n, 0n]],
      [filter, feed([2, 16, 20]), [2n, 1n, 0n]],
    ] as const) {
      const { planned } = await plan(proto, recipe);
      const turn = planned.proto.graph?.node.find(({ opType }) => opType === 'Transpose');
      expect(turn?.attribute.map(({ name, ints }) => [name, ints])).toEqual([['perm', perm]]);
      const { cosine } = await compare(proto, recipe, { x });
      expect(cosine).toBeGreaterThan(0.999);
    }
  });

  test('scales follow the output channels of each operator', async () => {
    const { planned } = await plan(net(17), recipeFor(qdq('int8', 'channel')));
    expect(planned.tasks.map(({ operation }) => 'axis' in operation && operation.axis)).toEqual([0, 1, 1]);
  });

  test('uses keep the weight’s name; parts are named as onnxruntime names them', async () => {
    const { planned } = await plan(net(17), recipeFor(qdq('int8', 'channel')));
    expect(planned.proto.graph?.node.at(-1)?.input).toEqual(['g', 'w']);
    expect(initializerNames(planned.proto.graph)).toEqual(
      expect.arrayContaining(['w_quantized', 'w_scale', 'w_zero_point']),
    );
    expect(initializerNames(planned.proto.graph)).not.toContain('w');
  });

  test('the opset is raised only as far as the type needs, IR with int4 to 10', async () => {
    const eight = (await plan(net(11), recipeFor(qdq('int8', 'channel')))).planned.proto;
    expect(eight.opsetImport[0]?.version).toBe(13n);
    expect(eight.irVersion).toBe(8n);
    const four = (await plan(net(11), recipeFor(qdq('int4', 'channel')))).planned.proto;
    expect(four.opsetImport[0]?.version).toBe(21n);
    expect(four.irVersion).toBe(10n);
  });

  test('where raising would change an operator, com.microsoft serves and blocks become channels', async () => {
    const proto = net(17);
    proto.graph?.node.unshift(node('RoiAlign', ['x', 'rois', 'which'], ['unused'], {}));
    proto.graph?.input.push(value('rois', 'f32', [1, 4]), value('which', 'int64', [1]));
    proto.opsetImport[0]!.version = 12n;
    const { planned } = await plan(proto, recipeFor(qdq('int4', 'block', 32)));
    expect(planned.proto.opsetImport[0]?.version).toBe(12n);
    expect(planned.plan.notes.join()).toContain('RoiAlign means something else from opset 16 on');
    const dequantize = planned.proto.graph?.node.filter((n) => n.opType === 'DequantizeLinear') ?? [];
    expect(dequantize.map((n) => n.domain)).toEqual(['com.microsoft', 'com.microsoft', 'com.microsoft']);
    expect(planned.plan.tensors.find((t) => t.name === 'w')?.reason).toContain('blocks need opset 21');
  });

  test('com.microsoft DequantizeLinear of int4 runs at an old opset', async () => {
    const proto = net(17);
    // A local function stops every raise.
    proto.functions.push({
      name: 'F',
      domain: 'local',
      input: ['a'],
      output: ['b'],
      attribute: [],
      node: [node('Identity', ['a'], ['b'])],
      opsetImport: [...proto.opsetImport],
      unknown: [],
    });
    proto.opsetImport.push({ domain: 'local', version: 1n, unknown: [] });
    const { cosine, planned } = await compare(proto, recipeFor(qdq('int4', 'channel')), feeds);
    expect(planned.proto.opsetImport[0]?.version).toBe(17n);
    expect(cosine).toBeGreaterThan(0.97);
  });

  test('a Softmax over an inner axis means the same after the opset is raised', async () => {
    const { cosine, planned } = await compare(
      net(11, { softmax: 2n }),
      recipeFor(qdq('int8', 'channel')),
      feeds,
    );
    expect(planned.proto.opsetImport[0]?.version).toBe(13n);
    expect(operators(planned.proto)).toContain('Flatten');
    expect(cosine).toBeGreaterThan(0.999);
  });

  test('an int8 table is looked up before it is dequantized', async () => {
    const proto = model(
      graph({
        nodes: [node('Gather', ['t', 'ids'], ['y'], { name: 'embed' })],
        initializers: [weight('t', [50, 64])],
        inputs: [value('ids', 'int64', ['n'])],
        outputs: [value('y', 'f32', ['n', 64])],
      }),
    );
    const { cosine, planned } = await compare(proto, recipeFor(qdq('int8', 'channel')), {
      ids: indices([0, 49, 3], [3]),
    });
    expect(operators(planned.proto)).toEqual(['Gather', 'Gather', 'Cast', 'Mul']);
    expect(cosine).toBeGreaterThan(0.999);
  });
});

describe('narrow floats with Cast', () => {
  const cases: [Scheme, number][] = [
    [{ as: 'cast', type: 'f16', scale: 'none' }, 0.99999],
    [{ as: 'cast', type: 'bf16', scale: 'none' }, 0.9999],
    [{ as: 'cast', type: 'f8_e4m3fn', scale: 'tensor' }, 0.99],
    [{ as: 'cast', type: 'f8_e4m3fn', scale: 'channel' }, 0.99],
    [{ as: 'cast', type: 'f8_e5m2', scale: 'none' }, 0.98],
  ];
  for (const [scheme, floor] of cases) {
    test(`${JSON.stringify(scheme)} runs and stays close`, async () => {
      const { cosine } = await compare(net(17), recipeFor(scheme), feeds);
      expect(cosine).toBeGreaterThan(floor);
    });
  }

  test('float8 is refused where the opset cannot reach 19', async () => {
    const proto = net(17);
    proto.functions.push({
      name: 'F',
      domain: 'local',
      input: [],
      output: [],
      attribute: [],
      node: [],
      opsetImport: [],
      unknown: [],
    });
    await expect(
      plan(proto, recipeFor({ as: 'cast', type: 'f8_e5m2', scale: 'none' })),
    ).rejects.toHaveProperty('details.found', expect.stringContaining('since opset 19'));
  });
});
