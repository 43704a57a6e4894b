import { describe, expect, test } from 'vitest';
import { compress } from '../../src/compress.ts';
import type { Recipe, Scheme } from '../../src/planning/recipe.ts';
import { graph, model, node, value, withFolder, writeModel } from '../formats/build-onnx.ts';
import { compare, feed, indices, plan, recipeFor, weight } from './run.ts';

function scheme(bits: 2 | 4, zeroPoints: 'integer' | 'real', accuracyLevel: 0 | 4 = 0): Scheme {
  return { as: 'matmul-nbits', bits, blockSize: 16, symmetric: false, accuracyLevel, zeroPoints };
}

const product = model(
  graph({
    nodes: [node('MatMul', ['x', 'w'], ['y'], { name: 'mm' })],
    initializers: [weight('w', [70, 40])],
    inputs: [value('x', 'f32', ['n', 70])],
    outputs: [value('y', 'f32', ['n', 40])],
  }),
);

describe('MatMulNBits with real zero points', () => {
  for (const bits of [2, 4] as const) {
    for (const level of [0, 4] as const) {
      test(`${bits} bits run in Node at accuracy level ${level}, ragged blocks too, closer than integer ones`, async () => {
        const feeds = { x: feed([3, 70]) };
        const real = await compare(product, recipeFor(scheme(bits, 'real', level)), feeds);
        const integer = await compare(product, recipeFor(scheme(bits, 'integer')), feeds);
        expect(real.cosine).toBeGreaterThan(integer.cosine);
        expect(real.cosine).toBeGreaterThan({ 2: 0.93, 4: 0.995 }[bits]);
      });
    }
  }

  test('there is one for each block, of the type of the scales', async () => {
    const zeros = async (extra: Partial<Recipe>) => {
      const { planned } = await plan(product, recipeFor(scheme(4, 'real'), extra));
      return planned.proto.graph?.initializer.find(({ name }) => name === 'w_zero_points');
    };
    expect(await zeros({})).toMatchObject({ dims: [40, 5], dataType: 1 });
    expect(await zeros({ fp16: { keepIoTypes: true } })).toMatchObject({ dims: [40, 5], dataType: 10 });
  });

  test.each([
    ['f32', undefined],
    ['f16', { keepIoTypes: true }],
  ] as const)('%s: proved in onnxruntime-web, every weight measured', async (_, fp16) => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, product);
      const recipe: Recipe = { ...recipeFor(scheme(4, 'real')), ...(fp16 && { fp16 }) };
      const { results } = await compress(file, {
        to: [recipe],
        verify: { runtime: 'onnxruntime-web', runs: 1 },
        measure: true,
        threads: 1,
      });
      expect(results[0]?.verification?.outputs[0]?.cosine).toBeGreaterThan(0.995);
      expect(results[0]?.weights[0]?.sqnr).toBeGreaterThan(20);
    });
  });

  test('a table that is tied to its head is stored twice: GatherBlockQuantized has no such zero points', async () => {
    const tied = model(
      graph({
        nodes: [
          node('Gather', ['table', 'ids'], ['e'], { name: 'embed' }),
          node('Gemm', ['e', 'table'], ['y'], { name: 'head', attributes: { transB: 1n } }),
        ],
        initializers: [weight('table', [64, 32])],
        inputs: [value('ids', 'int64', [3])],
        outputs: [value('y', 'f32', [3, 64])],
      }),
    );
    const table: Scheme = { as: 'gather-block', bits: 4, blockSize: 16, symmetric: true };
    const rules = [
      { match: { opType: 'Gather' }, scheme: table },
      { match: {}, scheme: scheme(4, 'real') },
    ];
    const { planned, cosine } = await compare(
      tied,
      { name: 'tied', rules },
      { ids: indices([1, 40, 63], [3]) },
    );
    expect(planned.plan.tensors.find(({ name }) => name === 'table')?.reason).toContain('stored twice');
    expect(cosine).toBeGreaterThan(0.98);
  });

  test('a target that cannot run them is not written for, and says why', async () => {
    const refused = plan(product, recipeFor(scheme(2, 'real')), { targets: ['transformers.js'] });
    await expect(refused).rejects.toMatchObject({
      code: 'E_NOTHING_TO_DO',
      details: { found: expect.stringContaining('no real zero points of 2-bit') },
    });
  });
});
