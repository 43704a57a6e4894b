import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { foldBehindProducts } from '../../../src/formats/onnx/fold/batchnorm.ts';
import { foldAheadOfProducts } from '../../../src/formats/onnx/fold/batchnorm-ahead.ts';
import type { ModelProto, NodeProto, TensorProto } from '../../../src/formats/onnx/messages.ts';
import { feed, normals, operators, weight } from '../../rewrite/run.ts';
import { floats, graph, model, node, value } from '../build-onnx.ts';
import { difference, foldable } from './foldable.ts';

const ALL = ['Conv', 'ConvTranspose', 'Gemm', 'MatMul'] as const;
const EXACT = 2e-6;

function statistics(name: string, channels: number, seed: number): TensorProto[] {
  const some = (part: string, of: (x: number) => number, at: number): TensorProto =>
    floats(`${name}.${part}`, [channels], normals(channels, seed + at).map(of));
  return [
    some('gamma', (x) => x, 0),
    some('beta', (x) => x, 1),
    some('mean', (x) => x, 2),
    some('variance', (x) => x * x + 0.01, 3),
  ];
}

const normalization = (name: string, input: string, output: string): NodeProto =>
  node(
    'BatchNormalization',
    [input, ...['gamma', 'beta', 'mean', 'variance'].map((part) => `${name}.${part}`)],
    [output],
  );

function net(nodes: NodeProto[], initializers: TensorProto[], input: number[], rank: number): ModelProto {
  return model(
    graph({
      nodes,
      initializers,
      inputs: [value('x', 'f32', input)],
      outputs: [
        value(
          'y',
          'f32',
          Array.from({ length: rank }, (_, i) => `d${i}`),
        ),
      ],
    }),
  );
}

describe('what stands behind a product', () => {
  test('a chain of BatchNormalization, Mul, Div, Add, Sub goes into any product, and the function stays', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...ALL),
        fc.array(fc.constantFrom('BatchNormalization', 'Mul', 'Div', 'Add', 'Sub', 'SubFrom'), {
          minLength: 1,
          maxLength: 4,
        }),
        fc.boolean(),
        fc.constantFrom(1, 2),
        fc.integer({ min: 1, max: 1000 }),
        async (operator, steps, hasBias, groups, seed) => {
          const isConv = operator === 'Conv' || operator === 'ConvTranspose';
          const shape = {
            Conv: [6, 4 / groups, 3, 3],
            ConvTranspose: [4, 6 / groups, 3, 3],
            Gemm: [6, 4],
            MatMul: [4, 6],
          };
          const initializers = [weight('w', shape[operator], seed)];
          if (hasBias && operator !== 'MatMul') initializers.push(weight('b', [6], seed + 1));
          const attributes = isConv
            ? { group: BigInt(groups), pads: [1n, 1n, 1n, 1n] }
            : operator === 'Gemm'
              ? { transB: 1n }
              : {};
          const inputs = ['x', 'w', ...(initializers.length > 1 ? ['b'] : [])];
          const nodes = [node(operator, inputs, ['v0'], { attributes })];
          for (const [i, step] of steps.entries()) {
            const [from, to] = [`v${i}`, i === steps.length - 1 ? 'y' : `v${i + 1}`];
            if (step === 'BatchNormalization') {
              initializers.push(...statistics(`n${i}`, 6, seed + i));
              nodes.push(normalization(`n${i}`, from, to));
            } else {
              const scalar = (seed + i) % 3 === 0;
              const dims = scalar ? [] : isConv ? [1, 6, 1, 1] : [6];
              const values = normals(scalar ? 1 : 6, seed + i).map((x) => x + Math.sign(x) * 0.2);
              initializers.push(floats(`c${i}`, dims, values));
              const [op, names] = step === 'SubFrom' ? ['Sub', [`c${i}`, from]] : [step, [from, `c${i}`]];
              nodes.push(node(op as string, names as string[], [to]));
            }
          }
          const input = isConv ? [2, 4, 5, 5] : [3, 4];
          const proto = net(nodes, initializers, input, input.length);
          const { copy, model: edited } = foldable(proto);
          const folded = await foldBehindProducts(edited, ALL);
          const onlySums = steps.every((step) => step === 'Add' || step === 'Sub' || step === 'SubFrom');
          if (operator === 'MatMul' && onlySums) expect(folded).toEqual([]);
          else {
            expect(folded.map(({ operators: gone }) => gone.length)).toEqual([steps.length]);
            expect(operators(copy).filter((op) => op !== operator && op !== 'Add')).toEqual([]);
          }
          expect(await difference(proto, copy, { x: feed(input, seed) })).toBeLessThan(1e-5);
        },
      ),
      { numRuns: 60 },
    );
  });

  const conv = node('Conv', ['x', 'w'], ['v']);
  const parts = [weight('w', [6, 4, 3, 3]), ...statistics('n', 6, 1)];
  test.each<[string, NodeProto[], TensorProto[]]>([
    [
      'another node reads the product',
      [conv, normalization('n', 'v', 't'), node('Add', ['t', 'v'], ['y'])],
      parts,
    ],
    [
      'another node reads the weight',
      [conv, normalization('n', 'v', 't'), node('Conv', ['x', 'w'], ['u']), node('Add', ['t', 'u'], ['y'])],
      parts,
    ],
    [
      'the factors vary along another axis',
      [conv, node('Mul', ['v', 'f'], ['y'])],
      [parts[0]!, floats('f', [6, 3, 3], normals(54))],
    ],
    [
      'the operand widens the result',
      [conv, node('Mul', ['v', 'f'], ['y'])],
      [parts[0]!, floats('f', [1, 1, 1, 1, 1], [2])],
    ],
    [
      'the operand is no constant',
      [
        conv,
        node('ReduceMean', ['v'], ['f'], { attributes: { axes: [2n, 3n] } }),
        node('Mul', ['v', 'f'], ['y']),
      ],
      parts,
    ],
    [
      'a constant is divided by it',
      [conv, node('Div', ['f', 'v'], ['y'])],
      [parts[0]!, floats('f', [], [2])],
    ],
    [
      'a fold would not be finite',
      [conv, node('Mul', ['v', 'f'], ['y'])],
      [parts[0]!, floats('f', [], [Infinity])],
    ],
  ])('stays where %s', async (_why, nodes, initializers) => {
    const { copy, model: edited } = foldable(net(nodes, initializers, [1, 4, 5, 5], 4));
    expect(await foldBehindProducts(edited, ALL)).toEqual([]);
    expect(operators(copy)).toEqual(nodes.map(({ opType }) => opType));
  });
});

describe('a BatchNormalization in front of products', () => {
  test.each<[string, NodeProto[], TensorProto[], number[]]>([
    [
      'two convolutions without padding',
      [
        normalization('n', 'x', 'v'),
        node('Conv', ['v', 'w', 'b'], ['s']),
        node('Conv', ['v', 'u'], ['t'], { attributes: { group: 2n } }),
        node('Add', ['s', 't'], ['y']),
      ],
      [weight('w', [6, 4, 3, 3]), weight('u', [6, 2, 3, 3], 3), weight('b', [6])],
      [2, 4, 5, 5],
    ],
    [
      'Gemm with a bias',
      [
        normalization('n', 'x', 'v'),
        node('Gemm', ['v', 'w', 'b'], ['y'], { attributes: { transB: 1n, alpha: 0.5 } }),
      ],
      [weight('w', [6, 4]), weight('b', [6])],
      [3, 4],
    ],
    [
      'MatMul, which gets an addition',
      [normalization('n', 'x', 'v'), node('MatMul', ['v', 'w'], ['y'])],
      [weight('w', [4, 6])],
      [3, 4],
    ],
  ])('goes into %s, and the function stays', async (_what, nodes, initializers, input) => {
    const proto = net(nodes, [...initializers, ...statistics('n', 4, 5)], input, input.length);
    const { copy, model: edited } = foldable(proto);
    expect((await foldAheadOfProducts(edited)).length).toBe(
      initializers.filter(({ dims }) => dims.length > 1).length,
    );
    expect(operators(copy)).not.toContain('BatchNormalization');
    expect(await difference(proto, copy, { x: feed(input) })).toBeLessThan(EXACT);
  });

  test.each<[string, NodeProto[]]>([
    [
      'the convolution pads',
      [
        normalization('n', 'x', 'v'),
        node('Conv', ['v', 'w'], ['y'], { attributes: { pads: [1n, 1n, 1n, 1n] } }),
      ],
    ],
    [
      'something else reads it',
      [
        normalization('n', 'x', 'v'),
        node('Conv', ['v', 'w'], ['s']),
        node('Relu', ['v'], ['r']),
        node('Conv', ['r', 'u'], ['t']),
        node('Add', ['s', 't'], ['y']),
      ],
    ],
  ])('stays where %s', async (_why, nodes) => {
    const initializers = [weight('w', [6, 4, 3, 3]), weight('u', [6, 4, 3, 3]), ...statistics('n', 4, 5)];
    const { copy, model: edited } = foldable(net(nodes, initializers, [1, 4, 5, 5], 4));
    expect(await foldAheadOfProducts(edited)).toEqual([]);
    expect(operators(copy)).toContain('BatchNormalization');
  });
});
