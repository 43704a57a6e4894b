/** A sum whose other operand broadcasts the product is no goal for the product: it is compared with the float model's outputs alone. */

import { expect, test } from 'vitest';
import { collectInputStatistics } from '../../../src/calibration/collect/collect-inputs.ts';
import { findProducts } from '../../../src/calibration/collect/find-products.ts';
import { onnxruntimeNode } from '../../../src/runtime/onnxruntime-node.ts';
import { floats, graph, model, node, value } from '../../formats/build-onnx.ts';
import { dataset, f32, modelOf, randomValues } from './runs.ts';

const SIZE = 4;

/** x·w1 goes into a sum with `wide`; x·w2 into one with x. */
function twoSums(rows: string | number, wideRows: string | number, scale = 1) {
  const weight = (name: string, seed: number) =>
    floats(
      name,
      [SIZE, SIZE],
      [...randomValues(SIZE * SIZE, seed)].map((w) => w * scale),
    );
  return modelOf(
    model(
      graph({
        nodes: [
          node('MatMul', ['x', 'w0'], ['h']),
          node('MatMul', ['h', 'w1'], ['a']),
          node('Add', ['wide', 'a'], ['y']),
          node('MatMul', ['h', 'w2'], ['b']),
          node('Add', ['b', 'x'], ['z']),
        ],
        initializers: [
          weight('w0', 1),
          floats('w1', [SIZE, SIZE], [...randomValues(16, 2)]),
          floats('w2', [SIZE, SIZE], [...randomValues(16, 3)]),
        ],
        inputs: [value('x', 'f32', [rows, SIZE]), value('wide', 'f32', [wideRows, 'r', SIZE])],
        outputs: [value('y', 'f32', [wideRows, 'r', SIZE]), value('z', 'f32', [rows, SIZE])],
      }),
    ),
  );
}

function rows(wide: readonly number[]) {
  const count = wide.reduce((product, size) => product * size, 1);
  return { x: f32([2, SIZE], randomValues(2 * SIZE, 5)), wide: f32(wide, randomValues(count, 6)) };
}

test.each([
  ['shapes are fixed', 2, 3, [rows([3, 2, SIZE])]],
  ['only a later sample shows it', 'n', 'm', [rows([1, 2, SIZE]), rows([3, 2, SIZE])]],
] as const)('where %s', async (_, fixed, wide, samples) => {
  const reference = twoSums(fixed, wide);
  const products = findProducts(reference.proto).filter(({ weight }) => weight !== 'w0');
  expect(products.map(({ sum }) => sum?.name)).toEqual(['y', 'z']);
  const found = await collectInputStatistics(twoSums(fixed, wide, 1.25), dataset(samples), products, {
    runtime: onnxruntimeNode(),
    collect: ['gram', 'drift'],
    reference,
    threads: 1,
  });
  const [broadcast, plain] = [found.get('w1'), found.get('w2')];
  expect(broadcast?.drift).toBeUndefined();
  expect(broadcast?.cross).toHaveLength(SIZE * SIZE);
  expect(plain?.drift).toHaveLength(SIZE * SIZE);
  expect(broadcast?.rows).toBe(2 * samples.length);
  expect(plain?.rows).toBe(2 * samples.length);
});

test('what fails for another reason is told as it is', async () => {
  const reference = twoSums('n', 'm');
  const samples = [{ x: f32([2, SIZE], randomValues(8, 5)), wide: f32([1, 3, SIZE], randomValues(12, 6)) }];
  const run = collectInputStatistics(reference, dataset(samples), findProducts(reference.proto), {
    runtime: onnxruntimeNode(),
    collect: ['gram', 'drift'],
    reference,
    threads: 1,
  });
  await expect(run).rejects.toMatchObject({ code: 'E_RUNTIME' });
});

test('a weight that goes into a sum at one place only is compared by its outputs at both', async () => {
  const proto = (seed: number) =>
    modelOf(
      model(
        graph({
          nodes: [
            node('MatMul', ['x', 'w0'], ['h']),
            node('MatMul', ['h', 'w'], ['a']),
            node('Add', ['a', 'x'], ['s']),
            node('MatMul', ['s', 'w'], ['y']),
          ],
          initializers: [
            floats('w0', [SIZE, SIZE], [...randomValues(16, seed)]),
            floats('w', [SIZE, SIZE], [...randomValues(16, 3)]),
          ],
          inputs: [value('x', 'f32', ['n', SIZE])],
          outputs: [value('y', 'f32', ['n', SIZE])],
        }),
      ),
    );
  const reference = proto(1);
  const products = findProducts(reference.proto).filter(({ weight }) => weight === 'w');
  expect(products.map(({ sum }) => sum?.name)).toEqual(['s', undefined]);
  const samples = [{ x: f32([6, SIZE], randomValues(24, 5)) }];
  const options = { runtime: onnxruntimeNode(), collect: ['gram', 'drift'], reference, threads: 1 } as const;
  const found = (await collectInputStatistics(proto(2), dataset(samples), products, options)).get('w');
  expect(found?.cross).toHaveLength(SIZE * SIZE);
  expect(found?.rows).toBe(12);
});
