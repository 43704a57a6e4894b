/** Comparing: names, layouts, running both; and models that cannot be run. */

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compareModels } from '../../src/compress/compare.ts';
import { compress } from '../../src/compress.ts';
import { floats, graph, model, node, value, withFolder, writeModel } from '../formats/build-onnx.ts';
import { everyOperator, normals, productModel } from './networks.ts';

test('a model compared with itself: nothing differs, in the weights and at the outputs', async () => {
  await withFolder(async (folder) => {
    const file = await writeModel(folder, everyOperator());
    const { weights, a, b, onlyInA, onlyInB, notes, verification } = await compareModels(file, file, {
      verify: { runs: 1 },
    });
    expect(weights.map(({ name }) => name)).toEqual([
      'table',
      'w1',
      'lw',
      'lr',
      'lb',
      'w2',
      'b2',
      'cw',
      'cb',
    ]);
    for (const { sqnr, cosine, maxAbs, rmse, formA, formB } of weights) {
      expect({ sqnr, maxAbs, rmse, formA, formB }).toEqual({
        sqnr: Infinity,
        maxAbs: 0,
        rmse: 0,
        formA: 'f32',
        formB: 'f32',
      });
      expect(cosine).toBeCloseTo(1, 12);
    }
    expect([...onlyInA, ...onlyInB, ...notes]).toEqual([]);
    expect(a).toEqual(b);
    expect(verification).toMatchObject({ cosine: 1, sqnr: Infinity, runtime: 'onnxruntime-node' });
  });
});

test('a square weight that is stored the other way round is recognised by its values', async () => {
  await withFolder(async (folder) => {
    const values = normals(64 * 64, 0.3);
    const square = (transB: bigint) =>
      model(
        graph({
          nodes: [node('Gemm', ['x', 'w'], ['y'], { attributes: { transB } })],
          initializers: [floats('w', [64, 64], values)],
          inputs: [value('x', 'f32', ['n', 64])],
          outputs: [value('y', 'f32', ['n', 64])],
        }),
      );
    const file = await writeModel(folder, square(1n));
    const packed = join(folder, 'packed.onnx');
    await compress(file, { to: ['q4'], output: packed, verify: false, threads: 1 });
    const forward = await compareModels(file, packed, { verify: false });
    const backward = await compareModels(packed, file, { verify: false });
    expect(forward.weights).toMatchObject([{ name: 'w', formA: 'f32', formB: '4-bit blocks of 32' }]);
    expect(backward.weights).toMatchObject([{ name: 'w', formA: '4-bit blocks of 32', formB: 'f32' }]);
    for (const { weights } of [forward, backward]) expect(weights[0]?.sqnr).toBeGreaterThan(15);
  });
});

test('two quantized models are compared by what they stand for', async () => {
  await withFolder(async (folder) => {
    const file = await writeModel(folder, everyOperator());
    const { results } = await compress(file, { to: ['q4', 'q8'], verify: false, threads: 1 });
    const [four = '', eight = ''] = results.map(({ files }) => files[0]?.path ?? '');
    const { weights, onlyInA, onlyInB } = await compareModels(four, eight, { verify: false });
    const w1 = weights.find(({ name }) => name === 'w1');
    expect(w1).toMatchObject({ formA: '4-bit blocks of 32', formB: 'uint8 per channel' });
    expect(w1?.sqnr).toBeGreaterThan(15);
    expect(w1?.sqnr).toBeLessThan(40);
    expect([...onlyInA, ...onlyInB]).toEqual([]);
  });
});

test('weights without a counterpart are listed; models with other inputs are not run, and the note says so', async () => {
  await withFolder(async (folder) => {
    const a = await writeModel(folder, productModel(8, 6), { name: 'a.onnx' });
    const b = await writeModel(folder, everyOperator(), { name: 'b.onnx' });
    const { weights, onlyInA, onlyInB, verification, notes } = await compareModels(a, b);
    expect(weights).toEqual([]);
    expect(onlyInA).toEqual(['w']);
    expect(onlyInB).toContain('w1');
    expect(verification).toBeUndefined();
    expect(notes.join()).toMatch(/outputs were not compared/);
    const bare = await compareModels(a, b, { weights: false, verify: false });
    expect([...bare.weights, ...bare.onlyInA, ...bare.onlyInB, ...bare.notes]).toEqual([]);
  });
});

test('infinities that both sides have are no difference; one that only one side has is the largest', async () => {
  await withFolder(async (folder) => {
    const masked = (mask: number[]) =>
      model(
        graph({
          nodes: [node('Add', ['x', 'mask'], ['y'])],
          initializers: [floats('mask', [4], mask)],
          inputs: [value('x', 'f32', ['n', 4])],
          outputs: [value('y', 'f32', ['n', 4])],
        }),
      );
    const a = await writeModel(folder, masked([0, 1, -Infinity, Number.NaN]), { name: 'a.onnx' });
    const b = await writeModel(folder, masked([0, 1, -65504, Number.NaN]), { name: 'b.onnx' });
    const same = await compareModels(a, a, { verify: false });
    expect(same.weights).toMatchObject([{ sqnr: Infinity, cosine: 1, maxAbs: 0 }]);
    const other = await compareModels(a, b, { verify: false });
    expect(other.weights).toMatchObject([{ sqnr: -Infinity, cosine: 0, maxAbs: Infinity }]);
  });
});

test('comparing stops when it is told to', async () => {
  await withFolder(async (folder) => {
    const file = await writeModel(folder, productModel(8, 6));
    const signal = AbortSignal.abort();
    await expect(compareModels(file, file, { signal, verify: false })).rejects.toMatchObject({
      code: 'E_ABORTED',
    });
  });
});
