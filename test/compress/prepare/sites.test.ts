/** Fold sites: where factors may move across a graph, and that moving them changes nothing that the model computes. */

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ModelProto, NodeProto, TensorProto } from '../../../src/formats/onnx/messages.ts';
import { floats, graph, int64s, model, node, value } from '../../formats/build-onnx.ts';
import { difference } from '../../formats/fold/foldable.ts';
import { feed, normals, weight } from '../../rewrite/run.ts';
import { scaledAtRandom } from './prepared.ts';

/** Six decimal digits of f32, through a few layers. */
const ROUNDING = 2e-5;
const C = 6;

interface Case {
  readonly nodes: NodeProto[];
  readonly initializers: TensorProto[];
  readonly shape: readonly number[];
  readonly outputs?: readonly string[];
  readonly places: number;
}

function networkOf({ nodes, initializers, shape, outputs = ['y'] }: Omit<Case, 'places'>): ModelProto {
  const open = shape.map((_, axis) => `d${axis}`);
  return model(
    graph({
      nodes,
      initializers,
      inputs: [value('x', 'f32', [...shape])],
      outputs: outputs.map((name) => value(name, 'f32', open)),
    }),
  );
}

const w = (name: string, dims: number[]): TensorProto => weight(name, dims, name.charCodeAt(0) + name.length);
const tokens = [2, 3, C];
const picture = [1, C, 5, 5];
const same = { pads: [1n, 1n, 1n, 1n] };

const CASES: Record<string, Case> = {
  'a LayerNormalization and the products behind it': {
    nodes: [
      node('LayerNormalization', ['x', 'g', 'b'], ['n']),
      node('MatMul', ['n', 'wa'], ['p']),
      node('Gelu', ['p'], ['q'], { domain: 'com.microsoft' }),
      node('MatMul', ['n', 'wb'], ['r']),
      node('Add', ['q', 'r'], ['y']),
    ],
    initializers: [w('g', [C]), w('b', [C]), w('wa', [C, 4]), w('wb', [C, 4])],
    shape: tokens,
    places: 1,
  },
  'a norm that ends in a factor and an offset': {
    nodes: [
      node('Softmax', ['x'], ['s']),
      node('Mul', ['g', 's'], ['m']),
      node('Add', ['m', 'b'], ['n']),
      node('MatMul', ['n', 'wa'], ['y']),
    ],
    initializers: [w('g', [C]), w('b', [C]), w('wa', [C, 4])],
    shape: tokens,
    places: 1,
  },
  'two convolutions with Relu and pooling between them': {
    nodes: [
      node('Conv', ['x', 'wa', 'ba'], ['c'], { attributes: same }),
      node('Relu', ['c'], ['r']),
      node('MaxPool', ['r'], ['p'], { attributes: { kernel_shape: [2n, 2n] } }),
      node('Conv', ['p', 'wb'], ['y'], { attributes: same }),
    ],
    initializers: [w('wa', [8, C, 3, 3]), w('ba', [8]), w('wb', [C, 8, 3, 3])],
    shape: picture,
    places: 1,
  },
  'depthwise and grouped convolutions, each a place of its own': {
    nodes: [
      node('Conv', ['x', 'wa'], ['a']),
      node('LeakyRelu', ['a'], ['ar'], { attributes: { alpha: 0.1 } }),
      node('Conv', ['ar', 'wd', 'bd'], ['d'], { attributes: { group: 8n, ...same } }),
      node('PRelu', ['d', 'slope'], ['dr']),
      node('Conv', ['dr', 'wg'], ['g'], { attributes: { group: 2n } }),
      node('Clip', ['g', 'zero'], ['gr']),
      node('Conv', ['gr', 'wb'], ['y']),
    ],
    initializers: [
      w('wa', [8, C, 1, 1]),
      w('wd', [8, 1, 3, 3]),
      w('bd', [8]),
      w('slope', [8, 1, 1]),
      w('wg', [4, 4, 1, 1]),
      floats('zero', [], [0]),
      w('wb', [C, 4, 1, 1]),
    ],
    shape: picture,
    places: 3,
  },
  'a residual stream that two layers write into': {
    nodes: [
      node('Conv', ['x', 'wa', 'ba'], ['a']),
      node('Conv', ['a', 'wb'], ['b']),
      node('Sigmoid', ['b'], ['bs']),
      node('Conv', ['bs', 'wc'], ['c']),
      node('Add', ['a', 'c'], ['s']),
      node('Conv', ['s', 'wd'], ['y']),
    ],
    initializers: [
      w('wa', [8, C, 1, 1]),
      w('ba', [8]),
      w('wb', [4, 8, 1, 1]),
      w('wc', [8, 4, 1, 1]),
      w('wd', [C, 8, 1, 1]),
    ],
    shape: picture,
    places: 1,
  },
  'a gate, whose other side stays': {
    nodes: [
      node('MatMul', ['x', 'gate'], ['a']),
      node('Sigmoid', ['a'], ['s']),
      node('Mul', ['a', 's'], ['silu']),
      node('MatMul', ['x', 'up'], ['u']),
      node('Mul', ['silu', 'u'], ['m']),
      node('MatMul', ['m', 'down'], ['y']),
    ],
    initializers: [w('gate', [C, 8]), w('up', [C, 8]), w('down', [8, C])],
    shape: tokens,
    places: 1,
  },
  'values of attention, through heads': {
    nodes: [
      node('MatMul', ['x', 'wv'], ['v']),
      node('Add', ['bv', 'v'], ['vb']),
      node('Reshape', ['vb', 'heads'], ['vh']),
      node('Transpose', ['vh'], ['vt'], { attributes: { perm: [0n, 2n, 1n, 3n] } }),
      node('MatMul', ['p', 'vt'], ['o']),
      node('Transpose', ['o'], ['ot'], { attributes: { perm: [0n, 2n, 1n, 3n] } }),
      node('Reshape', ['ot', 'whole'], ['ow']),
      node('MatMul', ['ow', 'wo'], ['y']),
      node('MatMul', ['x', 'wp'], ['pp']),
      node('Softmax', ['pp'], ['ps']),
      node('Unsqueeze', ['ps', 'one'], ['p']),
    ],
    initializers: [
      w('wv', [C, C]),
      w('bv', [C]),
      int64s('heads', [4], [0, -1, 2, 3]),
      int64s('whole', [3], [2, 3, C]),
      int64s('one', [1], [1]),
      w('wo', [C, C]),
      w('wp', [C, 3]),
    ],
    shape: tokens,
    places: 1,
  },
  'Gemm stored either way round, with its bias': {
    nodes: [
      node('Gemm', ['x', 'wa', 'ba'], ['a'], { attributes: { transB: 1n } }),
      node('Relu', ['a'], ['r']),
      node('Gemm', ['r', 'wb', 'bb'], ['y'], { attributes: { alpha: 0.5, beta: 2 } }),
    ],
    initializers: [w('wa', [8, C]), w('ba', [8]), w('wb', [8, 4]), w('bb', [4])],
    shape: [3, C],
    places: 1,
  },
  'a transposed convolution on both sides': {
    nodes: [
      node('ConvTranspose', ['x', 'wa', 'ba'], ['a']),
      node('Relu', ['a'], ['r']),
      node('ConvTranspose', ['r', 'wb'], ['y']),
    ],
    initializers: [w('wa', [C, 8, 2, 2]), w('ba', [8]), w('wb', [8, 4, 2, 2])],
    shape: picture,
    places: 1,
  },
  'a scale that two norms share gets a copy': {
    nodes: [
      node('LayerNormalization', ['x', 'g'], ['n']),
      node('MatMul', ['n', 'wa'], ['a']),
      node('LayerNormalization', ['a', 'g'], ['m']),
      node('MatMul', ['m', 'wb'], ['y']),
    ],
    initializers: [w('g', [C]), w('wa', [C, C]), w('wb', [C, C])],
    shape: tokens,
    places: 2,
  },
};

const REFUSED: Record<string, Omit<Case, 'places'>> = {
  'what lies between is not scale-free': {
    nodes: [
      node('MatMul', ['x', 'wa'], ['a']),
      node('Tanh', ['a'], ['t']),
      node('MatMul', ['t', 'wb'], ['y']),
    ],
    initializers: [w('wa', [C, C]), w('wb', [C, C])],
    shape: tokens,
  },
  'a clip with a bound': {
    nodes: [
      node('Conv', ['x', 'wa'], ['a']),
      node('Clip', ['a', 'zero', 'six'], ['t']),
      node('Conv', ['t', 'wb'], ['y']),
    ],
    initializers: [
      w('wa', [C, C, 1, 1]),
      floats('zero', [], [0]),
      floats('six', [], [6]),
      w('wb', [C, C, 1, 1]),
    ],
    shape: picture,
  },
  'the value is an output of the model': {
    nodes: [node('MatMul', ['x', 'wa'], ['a']), node('MatMul', ['a', 'wb'], ['y'])],
    initializers: [w('wa', [C, C]), w('wb', [C, C])],
    shape: tokens,
    outputs: ['y', 'a'],
  },
  'one of its readers is a norm': {
    nodes: [
      node('LayerNormalization', ['x', 'g'], ['n']),
      node('MatMul', ['n', 'wa'], ['a']),
      node('Add', ['n', 'a'], ['s']),
      node('LayerNormalization', ['s', 'g'], ['y']),
    ],
    initializers: [w('g', [C]), w('wa', [C, C])],
    shape: tokens,
  },
  'an operand is a square of the value': {
    nodes: [
      node('MatMul', ['x', 'wa'], ['a']),
      node('Mul', ['a', 'a'], ['s']),
      node('MatMul', ['s', 'wb'], ['y']),
    ],
    initializers: [w('wa', [C, C]), w('wb', [C, C])],
    shape: tokens,
  },
  'a large weight that others read': {
    nodes: [
      node('MatMul', ['x', 'wa'], ['a']),
      node('MatMul', ['a', 'wb'], ['b']),
      node('Slice', ['wb', 'zero', 'two', 'zero'], ['part']),
      node('Transpose', ['part'], ['turned'], { attributes: { perm: [1n, 0n] } }),
      node('MatMul', ['b', 'turned'], ['y']),
    ],
    initializers: [w('wa', [C, 300]), w('wb', [300, 300]), int64s('zero', [1], [0]), int64s('two', [1], [2])],
    shape: tokens,
  },
};

describe('factors moved across a place leave every output as it was', () => {
  for (const [name, { places, ...parts }] of Object.entries(CASES)) {
    test(name, async () => {
      const original = networkOf(parts);
      for (const seed of [1, 2]) {
        const { sites, proto } = await scaledAtRandom(original, seed);
        expect(sites).toHaveLength(places);
        expect(await difference(original, proto, { x: feed([...parts.shape], seed) })).toBeLessThan(ROUNDING);
      }
    });
  }
});

describe('there is no place where', () => {
  for (const [name, parts] of Object.entries(REFUSED)) {
    test(name, async () => {
      const { sites } = await scaledAtRandom(networkOf(parts), 1);
      expect(sites).toEqual([]);
    });
  }
});

/** One step of a convolutional network: nodes from `from` to `to`. */
type Step = (from: string, to: string) => { nodes: NodeProto[]; initializers: TensorProto[] };
const plain =
  (op: string, attributes = {}): Step =>
  (from, to) => ({ nodes: [node(op, [from], [to], { attributes })], initializers: [] });
const conv =
  (group: number): Step =>
  (from, to) => ({
    nodes: [
      node('Conv', [from, `${to}.w`, `${to}.b`], [to], { attributes: { group: BigInt(group), ...same } }),
    ],
    initializers: [
      floats(`${to}.w`, [C, C / group, 3, 3], normals((C * C * 9) / group, to.length, 0.3)),
      floats(`${to}.b`, [C], normals(C, to.length + 1)),
    ],
  });
const vector =
  (op: string): Step =>
  (from, to) => ({
    nodes: [node(op, [from, `${to}.v`], [to])],
    initializers: [floats(`${to}.v`, [C, 1, 1], normals(C, to.length))],
  });
const skip: Step = (from, to) => ({ nodes: [node('Add', [from, 'x0'], [to])], initializers: [] });
const squeeze: Step = (from, to) => ({
  nodes: [
    node('GlobalAveragePool', [from], [`${to}.p`]),
    node('HardSigmoid', [`${to}.p`], [`${to}.h`]),
    node('Mul', [from, `${to}.h`], [to]),
  ],
  initializers: [],
});
const STEPS: readonly Step[] = [
  conv(1),
  conv(1),
  conv(2),
  conv(C),
  plain('Relu'),
  plain('Relu'),
  plain('LeakyRelu'),
  plain('Sigmoid'),
  plain('Neg'),
  plain('AveragePool', { kernel_shape: [3n, 3n], ...same }),
  vector('Mul'),
  vector('Add'),
  vector('Sub'),
  vector('Div'),
  vector('PRelu'),
  skip,
  squeeze,
];

test('networks made at random compute the same after every place got factors', async () => {
  let found = 0;
  const drawn = fc.array(fc.constantFrom(...STEPS), { minLength: 3, maxLength: 9 });
  await fc.assert(
    fc.asyncProperty(drawn, fc.nat(1000), async (steps, seed) => {
      const made = [conv(1), ...steps, conv(1)].map((step, i, all) =>
        step(i === 0 ? 'x' : `x${i - 1}`, i === all.length - 1 ? 'y' : `x${i}`),
      );
      const original = networkOf({
        nodes: made.flatMap(({ nodes }) => nodes),
        initializers: made.flatMap(({ initializers }) => initializers),
        shape: picture,
      });
      const { sites, proto } = await scaledAtRandom(original, seed);
      found += sites.length;
      expect(await difference(original, proto, { x: feed(picture, seed) })).toBeLessThan(ROUNDING * 5);
    }),
    { numRuns: 40, seed: 7 },
  );
  expect(found).toBeGreaterThan(20);
});
