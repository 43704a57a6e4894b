import { Tensor } from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import type { ModelProto } from '../../src/formats/onnx/messages.ts';
import type { Scheme } from '../../src/planning/recipe.ts';
import { graph, model, node, tensor, value } from '../formats/build-onnx.ts';
import { allNodes, compare, feed, operators, plan, recipeFor, weight } from './run.ts';

const dynamic: Scheme = { as: 'dynamic-int8', weightType: 'auto', perChannel: true, reduceRange: false };

function conv(opset = 13): ModelProto {
  return model(
    graph({
      nodes: [node('Conv', ['x', 'w', 'b'], ['y'], { name: 'conv', attributes: { pads: [1n, 1n, 1n, 1n] } })],
      initializers: [weight('w', [8, 4, 3, 3]), weight('b', [8], 5)],
      inputs: [value('x', 'f32', [1, 4, 'h', 'w_'])],
      outputs: [value('y', 'f32', [1, 8, 'h', 'w_'])],
    }),
    { opset },
  );
}

describe('dynamic int8', () => {
  test('MatMul takes the nodes and names of onnxruntime’s quantizer', async () => {
    const proto = model(
      graph({
        nodes: [node('MatMul', ['x', 'w'], ['y'], { name: 'mm' })],
        initializers: [weight('w', [64, 32])],
        inputs: [value('x', 'f32', ['n', 64])],
        outputs: [value('y', 'f32', ['n', 32])],
      }),
    );
    const { planned, cosine } = await compare(proto, recipeFor(dynamic), { x: feed([3, 64]) });
    const nodes = planned.proto.graph?.node ?? [];
    expect(nodes.map((n) => n.opType)).toEqual([
      'DynamicQuantizeLinear',
      'MatMulInteger',
      'Cast',
      'Mul',
      'Mul',
    ]);
    expect(nodes[0]?.output).toEqual(['x_quantized', 'x_scale', 'x_zero_point']);
    expect(nodes[1]).toMatchObject({
      name: 'mm_quant',
      input: ['x_quantized', 'w_quantized', 'x_zero_point', 'w_zero_point'],
      output: ['y_output_quantized'],
    });
    expect(nodes[2]?.output).toEqual(['y_output_quantized_cast_output']);
    expect(nodes[3]?.name).toBe('mm_quant_scales_mul');
    expect(nodes[4]).toMatchObject({ name: 'mm_quant_output_scale_mul', output: ['y'] });
    expect(planned.tasks[0]?.operation).toMatchObject({ type: 'int8', axis: 1 });
    expect(cosine).toBeGreaterThan(0.999);
  });

  test('Conv gets uint8 weights, one zero point, and its bias back', async () => {
    const { planned, cosine } = await compare(conv(), recipeFor(dynamic), { x: feed([1, 4, 6, 5]) });
    expect(planned.tasks[0]?.operation).toMatchObject({ type: 'uint8', axis: null });
    expect(operators(planned.proto)).toContain('ConvInteger');
    expect(cosine).toBeGreaterThan(0.999);
  });

  test('an opset below that of DynamicQuantizeLinear is raised, not more than needed', async () => {
    const { planned, cosine } = await compare(conv(9), recipeFor(dynamic), { x: feed([1, 4, 6, 5]) });
    expect(planned.proto.opsetImport[0]?.version).toBe(11n);
    expect(cosine).toBeGreaterThan(0.999);
  });

  test('one DynamicQuantizeLinear serves all readers of an activation; a subgraph has its own', async () => {
    const branch = (name: string) =>
      graph({
        name,
        nodes: [node('MatMul', ['x', 'w3'], [`${name}_y`], { name: `${name}_mm` })],
        outputs: [value(`${name}_y`, 'f32', ['n', 64])],
      });
    const proto = model(
      graph({
        nodes: [
          node('MatMul', ['x', 'w1'], ['a'], { name: 'm1' }),
          node('MatMul', ['x', 'w2'], ['b'], { name: 'm2' }),
          node('If', ['c'], ['d'], {
            attributes: { then_branch: { graph: branch('then') }, else_branch: { graph: branch('else') } },
          }),
          node('Sum', ['a', 'b', 'd'], ['y']),
        ],
        initializers: [weight('w1', [64, 64], 1), weight('w2', [64, 64], 2), weight('w3', [64, 64], 3)],
        inputs: [value('x', 'f32', ['n', 64]), value('c', 'bool', [])],
        outputs: [value('y', 'f32', ['n', 64])],
      }),
    );
    const feeds = { x: feed([2, 64]), c: new Tensor('bool', Uint8Array.of(0), []) };
    const { planned, cosine } = await compare(proto, recipeFor(dynamic), feeds);
    const dql = allNodes(planned.proto).filter((n) => n.opType === 'DynamicQuantizeLinear');
    expect(dql).toHaveLength(3);
    const names = allNodes(planned.proto).flatMap((n) => n.output);
    expect(new Set(names).size).toBe(names.length);
    expect(cosine).toBeGreaterThan(0.999);
  });

  test('activations of another type are cast to f32 and the result back', async () => {
    const w = tensor(
      'w',
      'f16',
      [64, 32],
      new Uint8Array(
        Uint16Array.from({ length: 2048 }, (_, i) => ((i * 7919) % 0x3c00) | ((((i * 31) >> 2) % 2) << 15))
          .buffer,
      ),
    );
    const proto = model(
      graph({
        nodes: [
          node('Cast', ['x'], ['x16'], { attributes: { to: 10n } }),
          node('MatMul', ['x16', 'w'], ['y16'], { name: 'mm' }),
          node('Cast', ['y16'], ['y'], { attributes: { to: 1n } }),
        ],
        initializers: [w],
        inputs: [value('x', 'f32', ['n', 64])],
        outputs: [value('y', 'f32', ['n', 32])],
      }),
    );
    const { cosine } = await compare(proto, recipeFor(dynamic), { x: feed([3, 64]) });
    expect(cosine).toBeGreaterThan(0.99);
  });

  test('LSTM becomes DynamicQuantizeLSTM with transposed int8 weights', async () => {
    const proto = lstm('LSTM', 4);
    const { planned, cosine } = await compare(proto, recipeFor(dynamic), { x: feed([5, 1, 16]) });
    const [made] = planned.proto.graph?.node ?? [];
    expect(made).toMatchObject({ opType: 'DynamicQuantizeLSTM', domain: 'com.microsoft' });
    expect(made?.input.slice(0, 3)).toEqual(['x', 'w_quantized', 'r_quantized']);
    expect(made?.input.slice(8)).toEqual(['w_scale', 'w_zero_point', 'r_scale', 'r_zero_point']);
    const stored = planned.proto.graph?.initializer.find((t) => t.name === 'w_quantized');
    expect(stored?.dims).toEqual([1, 16, 64]);
    expect(cosine).toBeGreaterThan(0.999);
  });

  test('an LSTM of which one matrix is excluded keeps both', async () => {
    const recipe = recipeFor(dynamic, { exclude: { tensor: 'r' } });
    await expect(plan(lstm('LSTM', 4), recipe)).rejects.toHaveProperty(
      'details.found',
      expect.stringContaining('the other matrix of the LSTM'),
    );
  });

  test('GRU stays, and the reason says why', async () => {
    await expect(plan(lstm('GRU', 3), recipeFor(dynamic))).rejects.toHaveProperty(
      'details.found',
      expect.stringContaining('onnxruntime has no integer GRU'),
    );
  });
});

function lstm(op: string, gates: number): ModelProto {
  return model(
    graph({
      nodes: [node(op, ['x', 'w', 'r'], ['y'], { name: 'rnn', attributes: { hidden_size: 16n } })],
      initializers: [weight('w', [1, gates * 16, 16], 1), weight('r', [1, gates * 16, 16], 2)],
      inputs: [value('x', 'f32', ['t', 1, 16])],
      outputs: [value('y', 'f32', ['t', 1, 1, 16])],
    }),
    { opset: 14 },
  );
}
