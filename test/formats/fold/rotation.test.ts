import { describe, expect, test } from 'vitest';
import { createRotation } from '../../../src/algorithms/hadamard.ts';
import { findResidualStreams } from '../../../src/formats/onnx/fold/rotation.ts';
import { applyRotation } from '../../../src/formats/onnx/fold/rotation-apply.ts';
import type { RotatableGraph } from '../../../src/formats/onnx/fold/rotation-walk.ts';
import type { ModelProto, NodeProto, TensorProto } from '../../../src/formats/onnx/messages.ts';
import { indices, normals, weight } from '../../rewrite/run.ts';
import { floats, graph, int64s, model, node, value } from '../build-onnx.ts';
import { difference, foldable, valuesOf } from './foldable.ts';

const C = 12;
const TOKENS = indices([1, 4, 0, 5, 2, 2], [2, 3]);

function rotatable(proto: ModelProto): { copy: ModelProto; edited: RotatableGraph } {
  const { copy, model: edited } = foldable(proto);
  const readInts = async ({ rawData }: TensorProto): Promise<number[]> => {
    if (rawData?.kind !== 'inline') throw new Error('the payload is in memory');
    return [...new BigInt64Array(rawData.bytes.slice().buffer)].map(Number);
  };
  return { copy, edited: { ...edited, readInts } };
}

async function rotated(proto: ModelProto) {
  const { copy, edited } = rotatable(proto);
  const { streams, blocked } = await findResidualStreams(edited);
  const results = [];
  for (const stream of streams) {
    const { channels, keepsMean } = stream;
    const rotation = createRotation(channels, { seed: 4, keepsMean });
    results.push(await applyRotation(edited, stream, (rows) => rotation.apply(rows)));
  }
  return { copy, streams, blocked, results };
}

/** A norm of x → y with scale `g` and offset `b`, in the forms in which models have them. */
type MakeNorm = (x: string, y: string, at: string) => NodeProto[];
const epsilon = floats('epsilon', [], [1e-6]);
const two = floats('two', [], [2]);
const last = int64s('last', [1], [-1]);
const NORMS: Record<string, { make: MakeNorm; keepsMean: boolean; offset: boolean }> = {
  LayerNormalization: {
    make: (x, y, at) => [node('LayerNormalization', [x, `${at}.g`, `${at}.b`], [y])],
    keepsMean: true,
    offset: true,
  },
  SimplifiedLayerNormalization: {
    make: (x, y, at) => [
      node('SimplifiedLayerNormalization', [x, `${at}.g`], [y], { attributes: { axis: -1n, epsilon: 1e-6 } }),
    ],
    keepsMean: false,
    offset: false,
  },
  'RMS written out': {
    make: (x, y, at) => [
      node('Pow', [x, 'two'], [`${at}.sq`]),
      node('ReduceMean', [`${at}.sq`, 'last'], [`${at}.mean`]),
      node('Add', [`${at}.mean`, 'epsilon'], [`${at}.eps`]),
      node('Sqrt', [`${at}.eps`], [`${at}.root`]),
      node('Div', [x, `${at}.root`], [`${at}.n`]),
      node('Mul', [`${at}.g`, `${at}.n`], [y]),
    ],
    keepsMean: false,
    offset: false,
  },
  'LayerNorm written out': {
    make: (x, y, at) => [
      node('ReduceMean', [x, 'last'], [`${at}.mu`]),
      node('Sub', [x, `${at}.mu`], [`${at}.c`]),
      node('Mul', [`${at}.c`, `${at}.c`], [`${at}.sq`]),
      node('ReduceMean', [`${at}.sq`, 'last'], [`${at}.mean`]),
      node('Add', [`${at}.mean`, 'epsilon'], [`${at}.eps`]),
      node('Sqrt', [`${at}.eps`], [`${at}.root`]),
      node('Reciprocal', [`${at}.root`], [`${at}.r`]),
      node('Mul', [`${at}.c`, `${at}.r`], [`${at}.n`]),
      node('Mul', [`${at}.n`, `${at}.g`], [`${at}.s`]),
      node('Add', [`${at}.s`, `${at}.b`], [y]),
    ],
    keepsMean: true,
    offset: true,
  },
};

const vector = (name: string, seed: number, size = C): TensorProto =>
  floats(
    name,
    [size],
    normals(size, seed).map((x) => x * 0.3 + 1),
  );

interface Parts {
  readonly norm: MakeNorm;
  readonly tied?: boolean;
  readonly extra?: readonly NodeProto[];
}

/** Embedding and positions → two layers with a norm in front, one with biases → norm → head. */
function transformer({ norm, tied = false, extra = [] }: Parts): ModelProto {
  const nodes: NodeProto[] = [
    node('Gather', ['table', 'ids'], ['e']),
    node('Add', ['e', 'positions'], ['p']),
    node('Mul', ['p', 'two'], ['h0']),
    ...norm('h0', 'n0', 'norm0'),
    node('MatMul', ['n0', 'w1'], ['a1']),
    node('Relu', ['a1'], ['r1']),
    node('MatMul', ['r1', 'w2'], ['o1']),
    node('Add', ['b2', 'o1'], ['ob1']),
    node('Add', ['h0', 'ob1'], ['h1']),
    ...norm('h1', 'n1', 'norm1'),
    node('MatMul', ['n1', 'w3'], ['a2']),
    node('Add', ['a2', 'b3'], ['ab2']),
    node('Tanh', ['ab2'], ['r2']),
    node('Reshape', ['r2', 'flat'], ['r2f']),
    node('Gemm', ['r2f', 'w4', 'b4'], ['o2f'], { attributes: { transB: 1n } }),
    node('Reshape', ['o2f', 'back'], ['o2']),
    // Reads the norm and writes the stream.
    node('MatMul', ['n1', 'w5'], ['o3']),
    node('Add', ['o2', 'o3'], ['o23']),
    node('Add', ['o23', 'h1'], ['h2']),
    node('Gather', ['h2', 'first'], ['picked'], { attributes: { axis: 1n } }),
    ...norm('picked', 'n2', 'norm2'),
    ...(tied ? [node('Transpose', ['table'], ['head'], { attributes: { perm: [1n, 0n] } })] : []),
    node('MatMul', ['n2', 'head'], ['y']),
    ...extra,
  ];
  const initializers = [
    weight('table', [6, C], 1),
    weight('positions', [1, 3, C], 2),
    weight('w1', [C, 8], 3),
    weight('w2', [8, C], 4),
    vector('b2', 5),
    weight('w3', [C, 8], 6),
    vector('b3', 7, 8),
    weight('w4', [C, 8], 8),
    vector('b4', 9),
    weight('w5', [C, C], 10),
    ...(tied ? [] : [weight('head', [C, 6], 11)]),
    ...[0, 1, 2].flatMap((i) => [vector(`norm${i}.g`, 12 + i), vector(`norm${i}.b`, 15 + i)]),
    int64s('first', [1], [1]),
    int64s('flat', [2], [-1, 8]),
    int64s('back', [3], [2, 3, C]),
    epsilon,
    two,
    last,
  ];
  return model(
    graph({
      nodes,
      initializers,
      inputs: [value('ids', 'int64', [2, 3])],
      outputs: [value('y', 'f32', [2, 1, 6])],
    }),
    { opset: 18 },
  );
}

describe('a residual stream', () => {
  test.each(Object.entries(NORMS))(
    'behind %s is rotated, and the function stays',
    async (_name, { make, keepsMean, offset }) => {
      const proto = transformer({ norm: make });
      const { copy, streams, results } = await rotated(proto);
      expect(streams.map(({ channels, keepsMean: keeps }) => [channels, keeps])).toEqual([[C, keepsMean]]);
      const [stream] = streams;
      expect(stream?.matrices.filter(({ writes }) => writes).length).toBe(4);
      expect(stream?.matrices.filter(({ reads }) => reads !== undefined).length).toBe(4);
      // Offsets of norms: one reader has a bias to put it into, three have none.
      expect(results[0]?.additions).toBe(offset ? 3 : 0);
      expect(results[0]?.copies).toEqual([]);
      expect(await difference(proto, copy, { ids: TOKENS })).toBeLessThan(3e-6);
      const table = (of: ModelProto): Float32Array =>
        valuesOf(of.graph!.initializer.find(({ name }) => name === 'table')!);
      expect(table(copy)).not.toEqual(table(proto));
    },
  );

  test('whose embedding is the head as well gets a second table where the last norm has a scale', async () => {
    const proto = transformer({ norm: NORMS['RMS written out']!.make, tied: true });
    const { copy, results } = await rotated(proto);
    expect(results[0]?.copies).toEqual([{ name: 'table', bytes: 6 * C * 4 }]);
    expect(await difference(proto, copy, { ids: TOKENS })).toBeLessThan(3e-6);
    const plain = transformer({ norm: NORMS['RMS written out']!.make, tied: true });
    const scale = plain.graph!.initializer.find(({ name }) => name === 'norm2.g')!;
    scale.rawData = { kind: 'inline', bytes: new Uint8Array(new Float32Array(C).fill(1).buffer) };
    const shared = await rotated(plain);
    expect(shared.results[0]?.copies).toEqual([]);
    expect(await difference(plain, shared.copy, { ids: TOKENS })).toBeLessThan(3e-6);
  });

  test('with the additions inside the norms, as onnxruntime fuses them', async () => {
    for (const op of ['SkipSimplifiedLayerNormalization', 'SkipLayerNormalization']) {
      const isPlain = op === 'SkipLayerNormalization';
      const domain = 'com.microsoft';
      const norm = (x: string, s: string, y: string, sum: string, at: string): NodeProto =>
        node(op, [x, s, `${at}.g`, ...(isPlain ? [`${at}.b`] : []), 'added'], [y, '', '', sum], { domain });
      const proto = model(
        graph({
          nodes: [
            node('Gather', ['table', 'ids'], ['e']),
            node('MatMul', ['e', 'w1'], ['o0']),
            norm('o0', 'e', 'n0', 'h0', 'norm0'),
            node('MatMul', ['n0', 'w2'], ['a']),
            node('MatMul', ['a', 'w3'], ['o1']),
            norm('o1', 'h0', 'n1', '', 'norm1'),
            node('MatMul', ['n1', 'head'], ['y']),
          ],
          initializers: [
            weight('table', [6, C], 1),
            weight('w1', [C, C], 2),
            weight('w2', [C, 8], 3),
            weight('w3', [8, C], 4),
            weight('head', [C, 6], 5),
            vector('added', 6),
            ...[0, 1].flatMap((i) => [vector(`norm${i}.g`, 7 + i), vector(`norm${i}.b`, 9 + i)]),
          ],
          inputs: [value('ids', 'int64', [2, 3])],
          outputs: [value('y', 'f32', [2, 3, 6])],
        }),
        { domains: { 'com.microsoft': 1 } },
      );
      const { copy, streams } = await rotated(proto);
      expect(streams.map(({ keepsMean }) => keepsMean)).toEqual([isPlain]);
      expect(await difference(proto, copy, { ids: TOKENS })).toBeLessThan(3e-6);
    }
  });

  const rms = NORMS.SimplifiedLayerNormalization!.make;
  const output = (name: string) => (proto: ModelProto) => {
    proto.graph!.output.push(value(name, 'f32', ['a', 'b', 'c']));
    return proto;
  };
  test.each<[string, ModelProto, RegExp]>([
    ['is an output of the graph', output('h1')(transformer({ norm: rms })), /h1 is an output of the graph/],
    [
      'is an output behind its norm',
      output('n2')(transformer({ norm: rms })),
      /n2 is an output of the graph/,
    ],
    [
      'is read by something nonlinear',
      output('z')(transformer({ norm: rms, extra: [node('Relu', ['h1'], ['z'])] })),
      /z \(Relu\) is in the way at h1/,
    ],
    [
      'is read along its channels',
      output('z')(
        transformer({
          norm: rms,
          extra: [node('Transpose', ['h1'], ['z'], { attributes: { perm: [0n, 2n, 1n] } })],
        }),
      ),
      /z \(Transpose\) is in the way at h1/,
    ],
    [
      'is cut along its channels',
      output('z')(
        transformer({
          norm: rms,
          extra: [node('Gather', ['h1', 'first'], ['z'], { attributes: { axis: 2n } })],
        }),
      ),
      /z \(Gather\) is in the way at h1/,
    ],
  ])('that %s is left, and what is in the way is named', async (_what, proto, reason) => {
    const { streams, blocked } = await rotated(proto);
    expect(streams).toEqual([]);
    expect(blocked.map(({ reason: found }) => found).join('\n')).toMatch(reason);
  });

  test('that is normalized behind the additions is left: the scale goes on with it', async () => {
    const proto = model(
      graph({
        nodes: [
          node('Gather', ['table', 'ids'], ['e']),
          node('LayerNormalization', ['e', 'g', 'b'], ['h0']),
          node('MatMul', ['h0', 'w'], ['o']),
          node('Add', ['o', 'h0'], ['h1']),
          node('LayerNormalization', ['h1', 'g', 'b'], ['y']),
        ],
        initializers: [weight('table', [6, C]), weight('w', [C, C]), vector('g', 1), vector('b', 2)],
        inputs: [value('ids', 'int64', [2, 3])],
        outputs: [value('y', 'f32', [2, 3, C])],
      }),
    );
    const { streams, blocked } = await rotated(proto);
    expect(streams).toEqual([]);
    expect(blocked[0]?.reason).toMatch(/norms behind the additions/);
  });

  test('is seen through the casts of half-precision constants', async () => {
    const proto = transformer({ norm: rms });
    const table = proto.graph!.initializer.find(({ name }) => name === 'table')!;
    table.name = 'table16';
    table.dataType = 10;
    proto.graph!.node.unshift(node('Cast', ['table16'], ['table'], { attributes: { to: 1n } }));
    const { streams } = await findResidualStreams(rotatable(proto).edited);
    const use = streams[0]?.matrices.find(({ use: { name } }) => name === 'table16')?.use;
    expect(use).toMatchObject({ direct: false, dtype: 'f32' });
  });
});
