/** A stage whose matrices are too large for memory is collected in parts, and the result has the same bytes. */

import { expect, test } from 'vitest';
import { matrixBytes } from '../../../src/calibration/collect/matrix-bytes.ts';
import { createCollector } from '../../../src/compress/solve/collector.ts';
import { findLayers, type Layer } from '../../../src/compress/solve/layers.ts';
import { METHODS, roundToNearest } from '../../../src/compress/solve/methods.ts';
import { inParts } from '../../../src/compress/solve/parts.ts';
import { solveLayers } from '../../../src/compress/solve/solve.ts';
import { referenceKernels } from '../../../src/kernels/index.ts';
import { onnxruntimeNode } from '../../../src/runtime/onnxruntime-node.ts';
import { dataset, f32, modelOf, randomValues } from '../../calibration/collect/runs.ts';
import { floats, graph, model, node, value } from '../../formats/build-onnx.ts';

const SIZE = 8;
const NAMES = ['w1', 'w2', 'w3', 'w4', 'w5', 'w6', 'w7'];

/** w1, w2 and w3 share an input; w4 and w5 of one stage go into one sum; so do w6 and w7, which follow. */
function branches() {
  return model(
    graph({
      nodes: [
        node('MatMul', ['x', 'w1'], ['a1']),
        node('MatMul', ['x', 'w2'], ['a2']),
        node('MatMul', ['x', 'w3'], ['a3']),
        node('Tanh', ['a1'], ['t1']),
        node('Mul', ['a2', 'a3'], ['m']),
        node('MatMul', ['t1', 'w4'], ['a4']),
        node('MatMul', ['m', 'w5'], ['a5']),
        node('Add', ['a4', 'a5'], ['h']),
        node('Relu', ['h'], ['r']),
        node('MatMul', ['h', 'w6'], ['a6']),
        node('MatMul', ['r', 'w7'], ['a7']),
        node('Add', ['a6', 'a7'], ['y']),
      ],
      initializers: NAMES.map((name, i) => floats(name, [SIZE, SIZE], [...weightOf(i)])),
      inputs: [value('x', 'f32', ['b', 't', SIZE])],
      outputs: [value('y', 'f32', ['b', 't', SIZE])],
    }),
  );
}

function weightOf(index: number): Float32Array {
  return randomValues(SIZE * SIZE, index + 1);
}

async function solve(name: string, limit: number | undefined) {
  const method = METHODS.get(name);
  if (method === undefined) throw new Error(`no method ${name}`);
  const float = modelOf(branches());
  const layers = findLayers(float.proto);
  const data = dataset([1, 2, 3].map((b) => ({ x: f32([b, 6, SIZE], randomValues(b * 6 * SIZE, 20 + b)) })));
  const options = { runtime: onnxruntimeNode(), kernels: referenceKernels(), threads: 1 };
  await using collector = createCollector(float, data, layers, options);
  const runs: string[] = [];
  const solved = await solveLayers(layers, {
    method,
    baseline: roundToNearest,
    gridOf: () => ({ bits: 3, groupSize: 4, symmetric: false }),
    read: async (layer: Layer) => weightOf(NAMES.indexOf(layer.name)),
    collect: (products, replaced, collect) => {
      const now = products.map(({ weight }) => weight).join('+');
      runs.push(`${now} after ${[...replaced.keys()].join()}`);
      return collector.collect(products, replaced, collect);
    },
    matrixBytes: limit,
  });
  const bytes = NAMES.map((key) => {
    const { values, quantized, report } = solved.get(key)!;
    return { key, values: Buffer.from(values.buffer).toString('base64'), quantized, report };
  });
  return { runs, bytes };
}

test.each(['gptq', 'gptaq', 'best', 'awq'])('%s: the same codes, values and reports', async (name) => {
  const whole = await solve(name, undefined);
  const parts = await solve(name, 1);
  expect(parts.bytes).toEqual(whole.bytes);
  expect(parts.runs.length).toBeGreaterThan(whole.runs.length);
  if (name === 'awq') expect(whole.runs).toHaveLength(1);
  if (name === 'best') {
    expect(parts.runs).toEqual([
      'w1+w2+w3 after ',
      'w4 after w1,w2,w3',
      'w5 after w1,w2,w3',
      'w6 after w1,w2,w3,w4,w5',
      'w7 after w1,w2,w3,w4,w5',
    ]);
  }
});

test('layers that share an input share its matrix, and stay together', () => {
  const layers = findLayers(branches());
  const products = (names: readonly string[]) =>
    layers.filter(({ name }) => names.includes(name)).flatMap((layer) => layer.products);
  const square = 4 * SIZE * SIZE;
  expect(matrixBytes(products(['w1', 'w2', 'w3']), ['gram'])).toBe(square);
  expect(matrixBytes(products(['w1', 'w2', 'w3']), ['gram', 'drift'])).toBe(2 * square);
  expect(matrixBytes(products(['w4', 'w5']), ['gram'])).toBe(2 * square);
  expect(matrixBytes(products(['w4', 'w5']), ['gram', 'drift'])).toBe(4 * square);
  expect(matrixBytes(products(NAMES), ['squares', 'magnitudes'])).toBe(0);
  const named = (limit: number) =>
    inParts(layers, (layer) => layer, ['gram'], limit).map((part) => part.map(({ name }) => name).join('+'));
  expect(named(5 * square)).toEqual(['w1+w2+w3+w4+w5+w6+w7']);
  expect(named(2 * square)).toEqual(['w1+w2+w3+w4', 'w5+w6', 'w7']);
  expect(named(1)).toEqual(['w1+w2+w3', 'w4', 'w5', 'w6', 'w7']);
});
