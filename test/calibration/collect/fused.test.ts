/**
 * Values that the runtime would fuse away: tapped, they are computed all the same, since ranges are collected with optimizations
 * off and a tap's value is an output; a runtime that does not deliver one is told by the name of the value.
 */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { collectInputStatistics } from '../../../src/calibration/collect/collect-inputs.ts';
import { findProducts } from '../../../src/calibration/collect/find-products.ts';
import { collectRanges } from '../../../src/calibration/collect/ranges.ts';
import { encodeModel } from '../../../src/formats/onnx/layout.ts';
import { openOnnx } from '../../../src/formats/onnx/open.ts';
import { onnxruntimeNode } from '../../../src/runtime/onnxruntime-node.ts';
import type { Runtime } from '../../../src/runtime/runtime.ts';
import { floats, graph, model, node, value, withFolder } from '../../formats/build-onnx.ts';
import { dataset, f32, modelOf, randomValues, statisticsOf } from './runs.ts';

const SIZE = 4;
const weight = randomValues(SIZE * SIZE, 1);
const bias = randomValues(SIZE, 2);

/** x·w + b, then GELU in the five nodes that exporters write, then a product: onnxruntime makes a few nodes of all that. */
const proto = model(
  graph({
    nodes: [
      node('MatMul', ['x', 'w'], ['h']),
      node('Add', ['h', 'b'], ['a']),
      node('Div', ['a', 'root'], ['d']),
      node('Erf', ['d'], ['e']),
      node('Add', ['e', 'one'], ['p']),
      node('Mul', ['a', 'p'], ['m']),
      node('Mul', ['m', 'half'], ['g']),
      node('MatMul', ['g', 'v'], ['y']),
    ],
    initializers: [
      floats('w', [SIZE, SIZE], [...weight]),
      floats('b', [SIZE], [...bias]),
      floats('root', [], [Math.SQRT2]),
      floats('one', [], [1]),
      floats('half', [], [0.5]),
      floats('v', [SIZE, SIZE], [...randomValues(SIZE * SIZE, 3)]),
    ],
    inputs: [value('x', 'f32', ['n', SIZE])],
    outputs: [value('y', 'f32', ['n', SIZE])],
  }),
  { opset: 17 },
);

const ROWS = 30;
const x = randomValues(ROWS * SIZE, 4).map((each) => each * 3);
const data = dataset([{ x: f32([ROWS, SIZE], x) }]);

/** Abramowitz and Stegun 7.1.26, |error| ≤ 1.5e−7. */
function erf(z: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(z));
  const sum = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592].reduce(
    (all, factor) => all * t + factor,
  );
  return Math.sign(z) * (1 - sum * t * Math.exp(-z * z));
}

function expected(): Record<'h' | 'a' | 'd' | 'e' | 'p' | 'm' | 'g', number[]> {
  const h = Array.from({ length: ROWS * SIZE }, (_, at) => {
    const [row, column] = [Math.floor(at / SIZE), at % SIZE];
    return Array.from({ length: SIZE }, (_, k) => x[row * SIZE + k]! * weight[k * SIZE + column]!).reduce(
      (sum, each) => sum + each,
    );
  });
  const a = h.map((each, at) => each + bias[at % SIZE]!);
  const d = a.map((each) => each / Math.SQRT2);
  const e = d.map(erf);
  const p = e.map((each) => each + 1);
  const m = a.map((each, at) => each * p[at]!);
  return { h, a, d, e, p, m, g: m.map((each) => each / 2) };
}

test('the runtime does fuse these values away where nothing asks for them', async () => {
  await withFolder(async (folder) => {
    const [file, fused] = [join(folder, 'model.onnx'), join(folder, 'fused.onnx')];
    await writeFile(file, await encodeModel(proto));
    const session = await InferenceSession.create(file, {
      optimizedModelFilePath: fused,
      graphOptimizationLevel: 'extended',
    });
    await session.release();
    await using optimized = await openOnnx(fused);
    const made = (optimized.proto.graph?.node ?? []).flatMap(({ output }) => output);
    for (const name of ['h', 'd', 'e', 'p', 'm']) expect(made).not.toContain(name);
  });
});

test('their ranges are those of the graph as written, with optimizations off or on', async () => {
  const wanted = expected();
  for (const optimize of [false, true]) {
    const options = { runtime: onnxruntimeNode(), observer: 'min-max', optimize } as const;
    const ranges = await collectRanges(modelOf(proto), data, Object.keys(wanted), options);
    for (const [name, values] of Object.entries(wanted)) {
      expect(ranges.get(name)?.min, name).toBeCloseTo(Math.min(...values), 4);
      expect(ranges.get(name)?.max, name).toBeCloseTo(Math.max(...values), 4);
    }
  }
});

test('sums over the input of a product behind such nodes are those of the graph as written', async () => {
  const { g } = expected();
  const rows = Array.from({ length: ROWS }, (_, row) => g.slice(row * SIZE, (row + 1) * SIZE));
  const wanted = statisticsOf(rows);
  for (const optimize of [false, true]) {
    const options = { runtime: onnxruntimeNode(), collect: ['gram'] as const, optimize };
    const found = await collectInputStatistics(modelOf(proto), data, findProducts(proto), options);
    const own = found.get('v');
    for (const [i, each] of wanted.gram.entries()) expect(own?.gram?.[i]).toBeCloseTo(each, 3);
  }
});

test('a tap that a runtime does not deliver is E_RUNTIME with the name of the value', async () => {
  const real = onnxruntimeNode();
  let lost = '';
  const forgetful: Runtime = {
    ...real,
    async load(file, options) {
      const session = await real.load(file, options);
      return {
        inputs: session.inputs,
        outputs: session.outputs,
        close: () => session.close(),
        async run(inputs, settings) {
          const outputs = await session.run(inputs, settings);
          lost = session.outputs.at(-1)?.name ?? '';
          return new Map([...outputs].filter(([name]) => name !== lost));
        },
      };
    },
  };
  const error = await collectRanges(modelOf(proto), data, ['e'], {
    runtime: forgetful,
    observer: 'min-max',
  }).catch((reason: unknown) => reason);
  expect(lost).not.toBe('');
  expect(error).toMatchObject({
    code: 'E_RUNTIME',
    details: { tensor: lost, hint: expect.stringContaining('fused') },
  });
});
