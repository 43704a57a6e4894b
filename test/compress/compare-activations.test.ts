/** Inner values of two models: which are the same, whatever form the weights have, and how far they are apart. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { compareModels } from '../../src/compress/compare.ts';
import { pairTensors } from '../../src/compress/tensor-pairs.ts';
import { compress } from '../../src/compress.ts';
import { encodeModel } from '../../src/formats/onnx/layout.ts';
import type { ModelProto } from '../../src/formats/onnx/messages.ts';
import { openOnnx } from '../../src/formats/onnx/open.ts';
import { hasOnnxruntimeNode } from '../../src/runtime/onnxruntime-node.ts';
import { randomValues } from '../calibration/collect/runs.ts';
import { floats, graph, model, node, value, withFolder } from '../formats/build-onnx.ts';

const ready = await hasOnnxruntimeNode();
const SIZE = 64;

interface Names {
  readonly first?: string;
  readonly node?: string;
  readonly weight?: string;
}

/** x → MatMul → Relu → MatMul → y; the inner names as given. */
function network(names: Names = {}, change = (values: Float32Array) => values): ModelProto {
  const { first = 'h', node: called = 'first', weight = 'w' } = names;
  const matrix = (name: string, seed: number) =>
    floats(name, [SIZE, SIZE], [...change(randomValues(SIZE * SIZE, seed))]);
  return model(
    graph({
      nodes: [
        node('MatMul', ['x', weight], [first], { name: called }),
        node('Relu', [first], ['r'], { name: 'relu' }),
        node('MatMul', ['r', 'v'], ['y'], { name: 'second' }),
      ],
      initializers: [matrix(weight, 1), matrix('v', 2)],
      inputs: [value('x', 'f32', ['n', SIZE])],
      outputs: [value('y', 'f32', ['n', SIZE])],
    }),
  );
}

async function inFolder<T>(
  protos: readonly ModelProto[],
  use: (files: string[], folder: string) => Promise<T>,
): Promise<T> {
  return withFolder(async (folder) => {
    const files = protos.map((_, index) => join(folder, `${index}.onnx`));
    for (const [index, proto] of protos.entries()) {
      await writeFile(files[index] ?? '', await encodeModel(proto));
    }
    await writeFile(
      join(folder, 'rows.json'),
      JSON.stringify({ x: [3, 4, 5].map((seed) => [...randomValues(SIZE, seed)]) }),
    );
    return use(files, folder);
  });
}

const data = (folder: string) => ({ data: { source: join(folder, 'rows.json') } });

describe('which values are the same', () => {
  const pairsOf = (a: ModelProto, b: ModelProto) =>
    inFolder([a, b], async ([x = '', y = '']) => {
      await using one = await openOnnx(x);
      await using other = await openOnnx(y);
      return pairTensors(one, other).map(({ a, b, weight }) => [a, b, weight]);
    });

  test('values of one name, each with the weight that it is a product with', async () => {
    expect(await pairsOf(network(), network())).toEqual([
      ['h', 'h', 'w'],
      ['r', 'r', undefined],
      ['y', 'y', 'v'],
    ]);
  });

  test('a value of another name is known by its node, or by its weight', async () => {
    const byNode = network({ first: 'other', weight: 'z' });
    const byWeight = network({ first: 'other', node: 'renamed' });
    expect((await pairsOf(network(), byNode))[0]).toEqual(['h', 'other', undefined]);
    expect((await pairsOf(network(), byWeight))[0]).toEqual(['h', 'other', 'w']);
  });

  test('a Relu that became the end of a quantized range is what stands behind the range, not its producer', async () => {
    const nodes = [
      node('MatMul', ['x', 'w'], ['r'], { name: 'first' }),
      node('QuantizeLinear', ['r', 's', 'z'], ['q']),
      node('DequantizeLinear', ['q', 's', 'z'], ['d']),
      node('MatMul', ['d', 'v'], ['y'], { name: 'second' }),
    ];
    const quantized = network();
    const initializers = [...(quantized.graph?.initializer ?? []), floats('s', [], [0.02])];
    const zero = {
      ...floats('z', []),
      dataType: 2,
      rawData: { kind: 'inline', bytes: new Uint8Array(1) },
    } as const;
    const clipped = [
      node('MatMul', ['x', 'w'], ['r'], { name: 'first' }),
      node('Clip', ['r', 'low', 'high'], ['d']),
      node('MatMul', ['d', 'v'], ['y'], { name: 'second' }),
    ];
    const ends = [floats('low', [], [0]), floats('high', [], [5.1])];
    const [inputs, outputs] = [[value('x', 'f32', ['n', SIZE])], [value('y', 'f32', ['n', SIZE])]];
    for (const other of [
      graph({ nodes, initializers: [...initializers, zero], inputs, outputs }),
      graph({ nodes: clipped, initializers: [...initializers, ...ends], inputs, outputs }),
    ]) {
      expect(await pairsOf(network(), model(other))).toEqual([
        ['h', 'r', 'w'],
        ['r', 'd', undefined],
        ['y', 'y', 'v'],
      ]);
    }
  });

  test('what nothing tells is left out', async () => {
    const strange = network({ first: 'other', node: 'renamed', weight: 'z' });
    expect((await pairsOf(network(), strange)).map(([a]) => a)).toEqual(['r', 'y']);
  });
});

describe.skipIf(!ready)('how far they are apart (skipped without onnxruntime-node)', () => {
  test('a model beside itself: every value equal', async () => {
    const { activations } = await inFolder([network()], ([file = ''], folder) =>
      compareModels(file, file, { verify: false, activations: data(folder) }),
    );
    expect(activations?.samples).toBe(3);
    expect(activations?.data.synthetic).toBe(false);
    expect(activations?.compared.map(({ name, sqnr, cosine }) => [name, sqnr, cosine])).toEqual([
      ['h', Infinity, 1],
      ['r', Infinity, 1],
      ['y', Infinity, 1],
    ]);
  });

  test('a factor of 1.1 in both weights: the errors are 10 % and then 21 %', async () => {
    const larger = network({}, (values) => values.map((x) => x * 1.1));
    const { activations } = await inFolder([network(), larger], ([a = '', b = ''], folder) =>
      compareModels(a, b, { verify: false, activations: data(folder) }),
    );
    const sqnr = activations?.compared.map((value) => value.sqnr) ?? [];
    expect(sqnr[0]).toBeCloseTo(20, 3);
    expect(sqnr[2]).toBeCloseTo(-20 * Math.log10(0.21), 3);
    expect(activations?.compared[2]?.cosine).toBeCloseTo(1, 6);
  });

  test.each(['q4', 'q8', 'fp16', 'static-int8'])(
    '%s has its products compared with their floats',
    async (mode) => {
      const { activations } = await inFolder([network()], async ([file = ''], folder) => {
        const output = join(folder, 'out.onnx');
        await compress(file, {
          to: [mode],
          output,
          verify: false,
          threads: 1,
          ...(mode === 'static-int8' ? data(folder) : {}),
        });
        return compareModels(file, output, { verify: false, activations: data(folder) });
      });
      const products = activations?.compared.filter(({ weight }) => weight !== undefined) ?? [];
      expect(products.map(({ name, weight }) => [name, weight])).toEqual([
        ['h', 'w'],
        ['y', 'v'],
      ]);
      for (const { sqnr } of products) {
        expect(sqnr).toBeGreaterThan(10);
        expect(sqnr).toBeLessThan(100);
      }
    },
  );

  test('a value that is finite in one model only is −Infinity, and the others are compared', async () => {
    const overflowing = network({}, (values) => values.map((x) => x * 1e38));
    const { activations } = await inFolder([network(), overflowing], ([a = '', b = ''], folder) =>
      compareModels(a, b, { verify: false, weights: false, activations: data(folder) }),
    );
    const found = new Map(activations?.compared.map(({ name, sqnr }) => [name, sqnr]));
    expect(found.get('h')).toBeLessThan(-600);
    expect(found.get('y')).toBe(-Infinity);
  });

  test('without data the inputs are made up, and marked', async () => {
    const { activations, notes } = await inFolder([network()], ([file = '']) =>
      compareModels(file, file, { verify: false, activations: true }),
    );
    expect(activations?.data.synthetic).toBe(true);
    expect(notes.join()).toMatch(/made up/);
  });

  test('data that does not fit is refused, not noted', async () => {
    const wrong = inFolder([network()], async ([file = ''], folder) => {
      const source = join(folder, 'wrong.json');
      await writeFile(source, JSON.stringify({ z: [[1]] }));
      return compareModels(file, file, { verify: false, activations: { data: { source } } });
    });
    await expect(wrong).rejects.toMatchObject({ code: 'E_DATA' });
  });
});
