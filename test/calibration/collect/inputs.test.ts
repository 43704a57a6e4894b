/** Statistics of products' inputs, collected inside onnxruntime, against the same sums in plain loops. */

import { expect, test } from 'vitest';
import { collectInputStatistics } from '../../../src/calibration/collect/collect-inputs.ts';
import { findProducts, findUncollected } from '../../../src/calibration/collect/find-products.ts';
import type { Collected } from '../../../src/calibration/collect/products.ts';
import type { ModelProto } from '../../../src/formats/onnx/messages.ts';
import { cloneModel } from '../../../src/formats/onnx/model.ts';
import { onnxruntimeNode } from '../../../src/runtime/onnxruntime-node.ts';
import { floats, graph, model, node, value } from '../../formats/build-onnx.ts';
import { dataset, difference, f32, modelOf, randomValues, statisticsOf } from './runs.ts';

const runtime = onnxruntimeNode();
const ALL: Collected[] = ['squares', 'magnitudes', 'sums', 'peaks', 'gram'];

/** x[b, t, 5] → MatMul w1 → Relu → Gemm w2 over [b·t, 4]. */
function twoLayers(opset = 17): ModelProto {
  return model(
    graph({
      nodes: [
        node('MatMul', ['x', 'w1'], ['a'], { name: 'first' }),
        node('Relu', ['a'], ['r']),
        node('Reshape', ['r', 'shape'], ['flat']),
        node('Gemm', ['flat', 'w2', 'b2'], ['y'], { name: 'second', attributes: { transB: 1n } }),
      ],
      initializers: [
        floats('w1', [5, 4], [...randomValues(20, 1)]),
        floats('w2', [3, 4], [...randomValues(12, 2)]),
        floats('b2', [3]),
        { ...floats('shape', [2]), dataType: 7, rawData: { kind: 'inline', bytes: int64(-1, 4) } },
      ],
      inputs: [value('x', 'f32', ['b', 't', 5])],
      outputs: [value('y', 'f32', ['n', 3])],
    }),
    { opset },
  );
}

function int64(...values: number[]): Uint8Array {
  return new Uint8Array(BigInt64Array.from(values.map(BigInt)).buffer);
}

const batches = [randomValues(2 * 3 * 5, 3), randomValues(1 * 7 * 5, 4)];
const twoBatches = dataset([{ x: f32([2, 3, 5], batches[0]!) }, { x: f32([1, 7, 5], batches[1]!) }]);

function rowsOf(values: Float32Array, length: number): Float32Array[] {
  return Array.from({ length: values.length / length }, (_, i) =>
    values.subarray(i * length, (i + 1) * length),
  );
}

test.each([8, 11, 13, 17, 21])(
  'MatMul and Gemm: every sum equals the definition, opset %i',
  async (opset) => {
    const proto = twoLayers(opset);
    const products = findProducts(proto);
    expect(products).toEqual([
      { weight: 'w1', input: 'x', inputs: 5, kind: 'rows' },
      { weight: 'w2', input: 'flat', inputs: 4, kind: 'rows' },
    ]);
    const found = await collectInputStatistics(modelOf(proto), twoBatches, products, {
      runtime,
      collect: ALL,
    });
    const x = batches.flatMap((batch) => rowsOf(batch, 5));
    const w1 = randomValues(20, 1);
    const hidden = x.map((row) =>
      Array.from({ length: 4 }, (_, j) =>
        Math.max(
          0,
          row.reduce((sum, v, i) => sum + v * w1[i * 4 + j]!, 0),
        ),
      ),
    );
    for (const [key, rows] of [
      ['w1', x],
      ['w2', hidden],
    ] as const) {
      const expected = statisticsOf(rows);
      const statistics = found.get(key);
      expect(statistics?.rows).toBe(13);
      for (const sum of ALL) {
        if (sum !== 'cross' && sum !== 'drift')
          expect(difference(statistics?.[sum], expected[sum]), `${key} ${sum}`).toBeLessThan(1e-6);
      }
    }
  },
);

test('without a Gram matrix the squares are the same, and nothing that was not asked for is there', async () => {
  const proto = twoLayers();
  const found = await collectInputStatistics(modelOf(proto), twoBatches, findProducts(proto), {
    runtime,
    collect: ['squares'],
    optimize: false,
  });
  const expected = statisticsOf(batches.flatMap((batch) => rowsOf(batch, 5)));
  const { squares, ...rest } = found.get('w1')!;
  expect(difference(squares, expected.squares)).toBeLessThan(1e-6);
  expect(Object.entries(rest).filter(([, there]) => there !== undefined)).toEqual([
    ['inputs', 5],
    ['rows', 13],
  ]);
});

test('cross is Σ (x_float − x) xᵀ of the two versions on the same sample', async () => {
  const float = twoLayers();
  const edited = cloneModel(float);
  const w1 = edited.graph!.initializer.find(({ name }) => name === 'w1')!;
  const changed = randomValues(20, 1).map((v) => Math.round(v * 2) / 2);
  w1.rawData = { kind: 'inline', bytes: new Uint8Array(changed.buffer) };
  const products = findProducts(edited).filter(({ weight }) => weight === 'w2');
  const found = await collectInputStatistics(modelOf(edited), twoBatches, products, {
    runtime,
    collect: ['gram', 'cross'],
    reference: modelOf(float),
  });
  const x = batches.flatMap((batch) => rowsOf(batch, 5));
  const hidden = (w: Float32Array) =>
    x.map((row) =>
      Array.from({ length: 4 }, (_, j) =>
        Math.max(
          0,
          row.reduce((sum, v, i) => sum + v * w[i * 4 + j]!, 0),
        ),
      ),
    );
  const after = hidden(changed);
  const before = hidden(randomValues(20, 1));
  const cross = new Float64Array(16);
  after.forEach((row, t) => {
    for (let i = 0; i < 4; i++)
      for (let j = 0; j < 4; j++) cross[i * 4 + j]! += (before[t]![i]! - row[i]!) * row[j]!;
  });
  expect(difference(found.get('w2')?.cross, cross)).toBeLessThan(1e-5);
  expect(difference(found.get('w2')?.gram, statisticsOf(after).gram)).toBeLessThan(1e-5);
});

test('drift is Σ (t_float − t) xᵀ of the sum that a product goes into, and cross stands in for it elsewhere', async () => {
  // t = x + b + relu(x·w1)·w2: what w1 lost is still missing in the sum, though w2 is as it was.
  const made = (first: Float32Array) =>
    model(
      graph({
        nodes: [
          node('MatMul', ['x', 'w1'], ['h']),
          node('Relu', ['h'], ['a']),
          node('MatMul', ['a', 'w2'], ['m']),
          node('Add', ['m', 'b'], ['c']),
          node('Add', ['x', 'c'], ['t']),
        ],
        initializers: [
          floats('w1', [5, 4], [...first]),
          floats('w2', [4, 5], [...randomValues(20, 2)]),
          floats('b', [5], [1, 2, 3, 4, 5]),
        ],
        inputs: [value('x', 'f32', ['n', 's', 5])],
        outputs: [value('t', 'f32', ['n', 's', 5])],
      }),
    );
  const before = randomValues(20, 1);
  const after = before.map((v) => Math.round(v * 2) / 2);
  const products = findProducts(made(after));
  expect(products.map(({ weight, sum }) => [weight, sum])).toEqual([
    ['w1', undefined],
    ['w2', { name: 't', outputs: 5 }],
  ]);
  const found = await collectInputStatistics(modelOf(made(after)), twoBatches, products, {
    runtime,
    collect: ['gram', 'drift'],
    reference: modelOf(made(before)),
  });
  const second = randomValues(20, 2);
  const drift = new Float64Array(20);
  for (const x of batches.flatMap((batch) => rowsOf(batch, 5))) {
    const hidden = (w: Float32Array) =>
      Array.from({ length: 4 }, (_, j) =>
        Math.max(
          0,
          x.reduce((sum, v, i) => sum + v * w[i * 4 + j]!, 0),
        ),
      );
    const now = hidden(after);
    const lost = hidden(before).map((v, j) => v - now[j]!);
    for (let o = 0; o < 5; o++) {
      const missing = lost.reduce((sum, v, j) => sum + v * second[j * 5 + o]!, 0);
      for (let j = 0; j < 4; j++) drift[o * 4 + j]! += missing * now[j]!;
    }
  }
  expect(difference(found.get('w2')?.drift, drift)).toBeLessThan(1e-4);
  expect(found.get('w2')?.cross).toBeUndefined();
  expect(found.get('w1')?.cross).toHaveLength(25);
});

test('a weight that is multiplied twice has the sums of both places; a weight inside a branch is named, not an error', async () => {
  const proto = model(
    graph({
      nodes: [
        node('MatMul', ['x', 'w'], ['a']),
        node('MatMul', ['a', 'w'], ['y']),
        node('If', ['flag'], ['z'], {
          name: 'choice',
          attributes: {
            then_branch: { graph: branch('inner') },
            else_branch: {
              graph: graph({
                nodes: [node('Identity', ['y'], ['e'])],
                outputs: [value('e', 'f32', ['n', 3])],
              }),
            },
          },
        }),
      ],
      initializers: [floats('w', [3, 3], [1, 0, 0, 0, 2, 0, 0, 0, 3])],
      inputs: [value('x', 'f32', ['n', 3]), value('flag', 'bool', [])],
      outputs: [value('z', 'f32', ['n', 3])],
    }),
  );
  expect(findUncollected(proto)).toEqual([
    { weight: 'choice.then_branch/inner', reason: expect.stringContaining('inside a branch') },
  ]);
  const x = Float32Array.of(1, 2, 3);
  const found = await collectInputStatistics(
    modelOf(proto),
    dataset([{ x: f32([1, 3], x) }]),
    findProducts(proto),
    {
      runtime,
      collect: [],
    },
  );
  expect([...found.keys()]).toEqual(['w']);
  expect(found.get('w')?.rows).toBe(2);
  expect([...found.get('w')!.squares]).toEqual([1 + 1, 4 + 16, 9 + 81]);
});

function branch(weight: string) {
  return graph({
    nodes: [node('MatMul', ['y', weight], ['t'])],
    initializers: [floats(weight, [3, 3])],
    outputs: [value('t', 'f32', ['n', 3])],
  });
}

test('NaN in the data names the input; infinity that the model makes names the tensor where it begins', async () => {
  const proto = twoLayers();
  const bad = randomValues(10, 5);
  bad[3] = Number.NaN;
  const options = { runtime, collect: ALL };
  await expect(
    collectInputStatistics(
      modelOf(proto),
      dataset([{ x: f32([1, 2, 5], bad) }]),
      findProducts(proto),
      options,
    ),
  ).rejects.toMatchObject({ code: 'E_NONFINITE', details: { tensor: 'x' } });
  const overflowing = model(
    graph({
      nodes: [
        node('Mul', ['x', 'x'], ['sq']),
        node('Mul', ['sq', 'sq'], ['fourth']),
        node('Tanh', ['fourth'], ['t']),
        node('Sub', ['fourth', 'fourth'], ['nan']),
        node('Add', ['nan', 't'], ['sum']),
        node('MatMul', ['sum', 'w'], ['y']),
      ],
      initializers: [floats('w', [2, 2])],
      inputs: [value('x', 'f32', ['n', 2])],
      outputs: [value('y', 'f32', ['n', 2])],
    }),
  );
  await expect(
    collectInputStatistics(
      modelOf(overflowing),
      dataset([{ x: f32([1, 2], Float32Array.of(1, 1e15)) }]),
      findProducts(overflowing),
      options,
    ),
  ).rejects.toMatchObject({ code: 'E_NONFINITE', details: { tensor: 'fourth' } });
});

test('values whose squares overflow, an input without values and an empty data set are said as such', async () => {
  const proto = twoLayers();
  const products = findProducts(proto);
  const options = { runtime, collect: ALL };
  const large = f32([1, 1, 5], new Float32Array(5).fill(1e25));
  await expect(
    collectInputStatistics(modelOf(proto), dataset([{ x: large }]), products, options),
  ).rejects.toMatchObject({ code: 'E_NONFINITE', message: expect.stringContaining('overflow') });
  await expect(
    collectInputStatistics(modelOf(proto), dataset([{ z: large }]), products, options),
  ).rejects.toMatchObject({ code: 'E_USAGE', details: { tensor: 'x', found: 'z' } });
  await expect(collectInputStatistics(modelOf(proto), dataset([]), products, options)).rejects.toMatchObject({
    code: 'E_USAGE',
  });
});
