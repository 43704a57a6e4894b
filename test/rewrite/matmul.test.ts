import { Tensor } from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import type { ModelProto, TensorProto } from '../../src/formats/onnx/messages.ts';
import { rebuildPlan } from '../../src/planning/plan-onnx.ts';
import type { Scheme } from '../../src/planning/recipe.ts';
import { graph, model, node, tensor, value } from '../formats/build-onnx.ts';
import {
  allNodes,
  compare,
  feed,
  indices,
  initializerNames,
  operators,
  plan,
  recipeFor,
  weight,
} from './run.ts';

const q4: Scheme = { as: 'matmul-nbits', bits: 4, blockSize: 32, symmetric: true, accuracyLevel: 0 };
const nf4: Scheme = { as: 'bnb4', codebook: 'nf4', blockSize: 64 };
const table4: Scheme = { as: 'gather-block', bits: 4, blockSize: 32, symmetric: true };

function product(parts: {
  w: TensorProto;
  op?: string;
  bias?: TensorProto;
  attributes?: Record<string, bigint | number>;
  x: (number | string)[];
  y: (number | string)[];
  opset?: number;
}): ModelProto {
  const { w, op = 'MatMul', bias, attributes = {}, x, y, opset = 17 } = parts;
  return model(
    graph({
      nodes: [node(op, ['x', 'w', ...(bias ? ['b'] : [])], ['y'], { name: 'mm', attributes })],
      initializers: [w, ...(bias ? [bias] : [])],
      inputs: [value('x', 'f32', x)],
      outputs: [value('y', 'f32', y)],
    }),
    { opset },
  );
}

describe('MatMulNBits', () => {
  test('takes the names, attributes and order of onnxruntime’s quantizer', async () => {
    const proto = product({ w: weight('w', [64, 48]), x: ['n', 64], y: ['n', 48] });
    const { planned } = await plan(proto, recipeFor({ ...q4, symmetric: false, accuracyLevel: 4 }));
    const [made] = planned.proto.graph?.node ?? [];
    expect(made).toMatchObject({ opType: 'MatMulNBits', name: 'mm_Q4', domain: 'com.microsoft' });
    expect(made?.input).toEqual(['x', 'w_Q4', 'w_scales', 'w_zero_points']);
    expect(made?.attribute.map((a) => [a.name, Number(a.i)])).toEqual([
      ['K', 64],
      ['N', 48],
      ['bits', 4],
      ['block_size', 32],
      ['accuracy_level', 4],
    ]);
    expect(initializerNames(planned.proto.graph)).toEqual(['w_Q4', 'w_scales', 'w_zero_points']);
    expect(planned.proto.opsetImport.map((o) => o.domain)).toContain('com.microsoft');
    expect(planned.proto.opsetImport[0]?.version).toBe(17n);
  });

  for (const bits of [2, 4, 8] as const) {
    test(`${bits} bits run and stay close, also where K is no whole number of blocks`, async () => {
      const proto = product({ w: weight('w', [70, 40]), x: ['n', 70], y: ['n', 40] });
      const scheme: Scheme = {
        as: 'matmul-nbits',
        bits,
        blockSize: 16,
        symmetric: bits !== 2,
        accuracyLevel: 0,
      };
      const { cosine } = await compare(proto, recipeFor(scheme), { x: feed([3, 70]) });
      expect(cosine).toBeGreaterThan({ 2: 0.9, 4: 0.99, 8: 0.9999 }[bits]);
    });
  }

  test('Gemm with transB and a bias becomes a product and an Add', async () => {
    const proto = product({
      op: 'Gemm',
      w: weight('w', [40, 64]),
      bias: weight('b', [40], 9),
      attributes: { transB: 1n },
      x: ['n', 64],
      y: ['n', 40],
    });
    const { cosine, planned } = await compare(proto, recipeFor(q4), { x: feed([3, 64]) });
    expect(operators(planned.proto)).toEqual(['MatMulNBits', 'Add']);
    expect(cosine).toBeGreaterThan(0.99);
  });

  test('Gemm with alpha stays, and the reason says so', async () => {
    const proto = product({
      op: 'Gemm',
      w: weight('w', [64, 40]),
      attributes: { alpha: 0.5 },
      x: ['n', 64],
      y: ['n', 40],
    });
    await expect(plan(proto, recipeFor(q4))).rejects.toMatchObject({ code: 'E_NOTHING_TO_DO' });
    await expect(plan(proto, recipeFor(q4))).rejects.toHaveProperty(
      'details.found',
      expect.stringContaining('alpha other than 1'),
    );
  });

  test('unit leading dimensions of the weight keep the rank of the result', async () => {
    const proto = product({ w: weight('w', [1, 1, 64, 40]), x: ['n', 64], y: [1, 1, 'n', 40] });
    const { cosine, planned } = await compare(proto, recipeFor(q4), { x: feed([3, 64]) });
    expect(operators(planned.proto)).toEqual(['Expand', 'MatMulNBits']);
    expect(cosine).toBeGreaterThan(0.99);
  });

  test('a vector as activation gives a vector', async () => {
    const proto = product({ w: weight('w', [64, 40]), x: [64], y: [40] });
    const { cosine } = await compare(proto, recipeFor(q4), { x: feed([64]) });
    expect(cosine).toBeGreaterThan(0.98);
  });

  test('a vector against a weight with unit dimensions gives one dimension less', async () => {
    const proto = product({ w: weight('w', [1, 1, 64, 40]), x: [64], y: [1, 1, 40] });
    const x = feed([64]);
    const { planned, cosine } = await compare(proto, recipeFor(q4), { x });
    expect(operators(planned.proto)).toEqual(['Expand', 'MatMulNBits']);
    expect(planned.proto.graph?.initializer.find((t) => t.name === 'y_rank_shape')?.dims).toEqual([3]);
    expect(cosine).toBeGreaterThan(0.98);
  });

  test('batched weights stay, with a reason', async () => {
    const proto = product({ w: weight('w', [2, 64, 40]), x: [2, 'n', 64], y: [2, 'n', 40] });
    await expect(plan(proto, recipeFor(q4))).rejects.toHaveProperty(
      'details.found',
      expect.stringContaining('batched weights (2×64×40)'),
    );
  });

  test('a name that is taken already is not taken again', async () => {
    const proto = product({ w: weight('w', [64, 32]), x: ['n', 64], y: ['n', 32] });
    proto.graph?.node.push(node('Relu', ['y'], ['w_scales'], { name: 'mm_Q4' }));
    const { planned } = await plan(proto, recipeFor(q4));
    expect(planned.proto.graph?.node[0]).toMatchObject({
      name: 'mm_Q4_1',
      input: ['x', 'w_Q4', 'w_scales_1'],
    });
  });

  test('a weight in a Constant node, cast from f16 and transposed, is seen through', async () => {
    const half = tensor('', 'f16', [40, 64], halves(40 * 64));
    const proto = model(
      graph({
        nodes: [
          node('Constant', [], ['w16'], { attributes: { value: { tensor: half } } }),
          node('Cast', ['w16'], ['w32'], { name: 'cast', attributes: { to: 1n } }),
          node('Transpose', ['w32'], ['w'], { name: 'turn', attributes: { perm: [1n, 0n] } }),
          node('MatMul', ['x', 'w'], ['y'], { name: 'mm' }),
        ],
        inputs: [value('x', 'f32', ['n', 64])],
        outputs: [value('y', 'f32', ['n', 40])],
      }),
    );
    const { cosine, planned } = await compare(proto, recipeFor(q4), { x: feed([3, 64]) });
    expect(operators(planned.proto)).toEqual(['MatMulNBits']);
    expect(planned.tasks[0]?.operation).toMatchObject({
      from: 'f16',
      rows: 64,
      columns: 40,
      transposed: true,
    });
    expect(cosine).toBeGreaterThan(0.99);
  });

  test('one set of parts serves all nodes that share a weight, also inside an If', async () => {
    const branch = (name: string, op: string) =>
      graph({
        name,
        nodes: [
          node('MatMul', ['x', 'w'], [`${name}_t`], { name: `${name}_mm` }),
          node(op, [`${name}_t`], [`${name}_y`]),
        ],
        outputs: [value(`${name}_y`, 'f32', ['n', 64])],
      });
    const proto = model(
      graph({
        nodes: [
          node('MatMul', ['x', 'w'], ['a'], { name: 'mm' }),
          node('If', ['c'], ['b'], {
            name: 'if',
            attributes: {
              then_branch: { graph: branch('then', 'Relu') },
              else_branch: { graph: branch('else', 'Neg') },
            },
          }),
          node('Add', ['a', 'b'], ['y']),
        ],
        initializers: [weight('w', [64, 64])],
        inputs: [value('x', 'f32', ['n', 64]), value('c', 'bool', [])],
        outputs: [value('y', 'f32', ['n', 64])],
      }),
    );
    const feeds = { x: feed([2, 64]), c: new Tensor('bool', Uint8Array.of(1), []) };
    const { cosine, planned } = await compare(proto, recipeFor(q4), feeds);
    const made = allNodes(planned.proto).filter((n) => n.opType === 'MatMulNBits');
    expect(made.map((n) => n.input[1])).toEqual(['w_Q4', 'w_Q4', 'w_Q4']);
    expect(planned.tasks).toHaveLength(1);
    expect(planned.plan.tensors[0]?.reason).toContain('one copy for 3 uses');
    expect(cosine).toBeGreaterThan(0.99);
  });

  test('f64 weights are computed in f32 between casts', async () => {
    const values = Float64Array.from({ length: 64 * 32 }, (_, i) => Math.sin(i));
    const proto = model(
      graph({
        nodes: [
          node('Cast', ['x'], ['x64'], { attributes: { to: 11n } }),
          node('MatMul', ['x64', 'w'], ['y64'], { name: 'mm' }),
          node('Cast', ['y64'], ['y'], { attributes: { to: 1n } }),
        ],
        initializers: [tensor('w', 'f64', [64, 32], new Uint8Array(values.buffer))],
        inputs: [value('x', 'f32', ['n', 64])],
        outputs: [value('y', 'f32', ['n', 32])],
      }),
    );
    const { cosine } = await compare(proto, recipeFor(q4), { x: feed([3, 64]) });
    expect(cosine).toBeGreaterThan(0.99);
  });
});

test('MatMulBnb4 runs and stays close', async () => {
  const proto = product({ w: weight('w', [70, 40]), x: ['n', 70], y: ['n', 40] });
  const { cosine, planned } = await compare(proto, recipeFor(nf4), { x: feed([3, 70]) });
  expect(planned.proto.graph?.node[0]).toMatchObject({
    opType: 'MatMulBnb4',
    input: ['x', 'w_Bnb4', 'w_absmax'],
  });
  expect(cosine).toBeGreaterThan(0.99);
});

describe('embeddings', () => {
  function tied(columns = 64): ModelProto {
    return model(
      graph({
        nodes: [
          node('Gather', ['table', 'ids'], ['e'], { name: 'embed' }),
          node('Transpose', ['table'], ['turned'], { name: 'turn' }),
          node('MatMul', ['e', 'turned'], ['y'], { name: 'head' }),
        ],
        initializers: [weight('table', [50, columns])],
        inputs: [value('ids', 'int64', [1, 'n'])],
        outputs: [value('y', 'f32', [1, 'n', 50])],
      }),
    );
  }
  const feeds = { ids: indices([0, 49, 7], [1, 3]) };

  for (const bits of [4, 8] as const) {
    for (const symmetric of [true, false]) {
      test(`a ${bits}-bit ${symmetric ? 'symmetric' : 'asymmetric'} table runs as GatherBlockQuantized`, async () => {
        const proto = model(
          graph({
            nodes: [node('Gather', ['table', 'ids'], ['y'], { name: 'embed' })],
            initializers: [weight('table', [50, 96])],
            inputs: [value('ids', 'int64', [1, 'n'])],
            outputs: [value('y', 'f32', [1, 'n', 96])],
          }),
        );
        const scheme: Scheme = { as: 'gather-block', bits, blockSize: 32, symmetric };
        const { cosine } = await compare(proto, recipeFor(scheme), feeds);
        expect(cosine).toBeGreaterThan(bits === 4 ? 0.99 : 0.9999);
      });
    }
  }

  test('a table tied to its head keeps one packed copy for both', async () => {
    const rules = [
      { match: { opType: 'Gather' }, scheme: table4 },
      { match: { opType: 'MatMul' }, scheme: q4 },
    ];
    const { planned, cosine } = await compare(tied(), { name: 'tied', rules }, feeds);
    expect(operators(planned.proto)).toEqual(['Reshape', 'GatherBlockQuantized', 'MatMulNBits']);
    expect(planned.tasks).toHaveLength(1);
    expect(planned.plan.tensors[0]?.reason).toContain('one copy for both');
    expect(cosine).toBeGreaterThan(0.98);
  });

  for (const columns of [64, 48]) {
    test(`the plan of a tied table with rows of ${columns} can be followed`, async () => {
      const rules = [
        { match: { opType: 'Gather' }, scheme: table4 },
        { match: { opType: 'MatMul' }, scheme: q4 },
      ];
      const { planned, model: source } = await plan(tied(columns), { name: 'tied', rules });
      const followed = await rebuildPlan(source, planned.plan);
      expect(followed.tasks.map(({ operation }) => operation)).toEqual(
        planned.tasks.map(({ operation }) => operation),
      );
      expect(operators(followed.proto)).toEqual(operators(planned.proto));
    });
  }

  test('where only the head would be quantized, the tied table stays whole and the reason tells', async () => {
    const recipe = { name: 'q4', rules: [{ match: { opType: 'MatMul' }, scheme: q4 }] };
    await expect(plan(tied(), recipe)).rejects.toHaveProperty(
      'details.found',
      expect.stringContaining('tied: Gather'),
    );
  });

  test('rows that are no whole blocks are stored twice, and the reason tells', async () => {
    const rules = [
      { match: { opType: 'Gather' }, scheme: table4 },
      { match: { opType: 'MatMul' }, scheme: q4 },
    ];
    const { planned, cosine } = await compare(tied(48), { name: 'tied', rules }, feeds);
    expect(planned.tasks).toHaveLength(2);
    expect(planned.plan.tensors[0]?.reason).toContain('stored twice');
    expect(cosine).toBeGreaterThan(0.98);
  });

  test('dynamic int8 reads one copy of a tied table', async () => {
    const scheme: Scheme = { as: 'dynamic-int8', weightType: 'auto', perChannel: true, reduceRange: false };
    const { planned, cosine } = await compare(tied(), recipeFor(scheme), feeds);
    expect(planned.tasks).toHaveLength(1);
    expect(cosine).toBeGreaterThan(0.99);
  });
});

/** f16 bytes of values between -1 and 1. */
function halves(count: number): Uint8Array {
  const bits = Uint16Array.from({ length: count }, (_, i) => ((i * 7919) % 0x3c00) | ((i % 2) << 15));
  return new Uint8Array(bits.buffer);
}
