/** Evaluating in WebAssembly: the same figures as natively, and what a model costs there. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { evaluateModel } from '../../src/compress/evaluate.ts';
import { costProcess, measureCost } from '../../src/compress/evaluate-cost.ts';
import { encodeModel } from '../../src/formats/onnx/layout.ts';
import { hasOnnxruntimeNode } from '../../src/runtime/onnxruntime-node.ts';
import { onnxruntimeWeb } from '../../src/runtime/onnxruntime-web.ts';
import { f32, randomValues } from '../calibration/collect/runs.ts';
import { floats, graph, model, node, value, withFolder } from '../formats/build-onnx.ts';

const hasWeb = await onnxruntimeWeb()
  .version()
  .then(
    () => true,
    () => false,
  );
const hasBoth = hasWeb && (await hasOnnxruntimeNode());
const SIZE = 16;

function classifier(factor: number) {
  return model(
    graph({
      nodes: [node('MatMul', ['x', 'w'], ['logits'])],
      initializers: [floats('w', [SIZE, 3], [...randomValues(SIZE * 3, 1).map((x) => x * factor)])],
      inputs: [value('x', 'f32', ['n', SIZE])],
      outputs: [value('logits', 'f32', ['n', 3])],
    }),
  );
}

async function withModels<T>(use: (file: string, against: string, rows: string) => Promise<T>): Promise<T> {
  return withFolder(async (folder) => {
    const [file, against, rows] = ['b.onnx', 'a.onnx', 'rows.json'].map((name) => join(folder, name));
    if (file === undefined || against === undefined || rows === undefined) throw new Error('no names');
    await writeFile(file, await encodeModel(classifier(0.9)));
    await writeFile(against, await encodeModel(classifier(1)));
    const x = [2, 3, 4, 5, 6, 7].map((seed) => [...randomValues(SIZE, seed)]);
    await writeFile(rows, JSON.stringify({ x, labels: [0, 1, 2, 0, 1, 2] }));
    return use(file, against, rows);
  });
}

describe.skipIf(!hasBoth)('in onnxruntime-web (skipped where an engine is not installed)', () => {
  test('accuracy, divergence and layers are those of onnxruntime-node', async () => {
    const [web, native] = await withModels(async (file, against, rows) => {
      const run = (runtime: 'onnxruntime-web' | 'onnxruntime-node') =>
        evaluateModel(file, { against, data: { source: rows }, runtime, cost: false, threads: 1 });
      return [await run('onnxruntime-web'), await run('onnxruntime-node')];
    });
    expect(web?.quality.scores?.result?.accuracy).toBe(native?.quality.scores?.result?.accuracy);
    const [a, b] = [web, native].map((found) => found?.quality.scores?.distance?.klDivergence ?? Number.NaN);
    expect(a).toBeGreaterThan(0);
    expect(Math.abs((a ?? 0) / (b ?? 1) - 1)).toBeLessThan(1e-3);
  });
});

describe.skipIf(!hasWeb || costProcess() === undefined)(
  'costs in WebAssembly (skipped before a build, or without onnxruntime-web)',
  () => {
    test('load time, latency and peak memory of a process of its own', async () => {
      const cost = await withModels((file) =>
        measureCost(file, new Map([['x', f32([1, SIZE], randomValues(SIZE, 1))]]), {
          runtime: 'onnxruntime-web',
          threads: 1,
          runs: 2,
        }),
      );
      expect(cost.runtime).toBe('onnxruntime-web');
      expect(cost.runs).toBeGreaterThanOrEqual(2);
      expect(cost.loadMs).toBeGreaterThan(0);
      expect(cost.runMs).toBeGreaterThan(0);
      expect(cost.peakBytes).toBeGreaterThanOrEqual(cost.engineBytes);
    });

    test('a model that WebAssembly cannot run is E_RUNTIME with its name', async () => {
      const strange = model(
        graph({
          nodes: [node('NoSuchOperator', ['x'], ['y'])],
          inputs: [value('x', 'f32', [1])],
          outputs: [value('y', 'f32', [1])],
        }),
      );
      await withFolder(async (folder) => {
        const file = join(folder, 'strange.onnx');
        await writeFile(file, await encodeModel(strange));
        const inputs = new Map([['x', f32([1], randomValues(1, 1))]]);
        await expect(measureCost(file, inputs, { runtime: 'onnxruntime-web' })).rejects.toMatchObject({
          code: 'E_RUNTIME',
          details: { file },
        });
      });
    });
  },
);
