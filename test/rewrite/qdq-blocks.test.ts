/** Blocks of convolutions: the stored bytes mean, in both runtimes, what the definition of blocked DequantizeLinear says. */

import { InferenceSession } from 'onnxruntime-node';
import * as web from 'onnxruntime-web';
import { describe, expect, test } from 'vitest';
import { executeFiles } from '../../src/execution/execute.ts';
import { encodeModel } from '../../src/formats/onnx/layout.ts';
import type { ModelProto } from '../../src/formats/onnx/messages.ts';
import { createMemorySink } from '../../src/io/memory-sink.ts';
import { operationParts } from '../../src/numerics/operation.ts';
import { presetRecipe } from '../../src/planning/presets.ts';
import type { Recipe, Scheme } from '../../src/planning/recipe.ts';
import { floats, graph, model, node, value } from '../formats/build-onnx.ts';
import { feed, normals, plan, recipeFor, weight } from './run.ts';

type Qdq = Extract<Scheme, { as: 'qdq' }>;

interface Case {
  readonly name: string;
  readonly op: 'Conv' | 'ConvTranspose';
  readonly shape: number[];
  readonly axis: 0 | 1;
  readonly group?: bigint;
  readonly input: number[];
}

const CASES: Case[] = [
  { name: 'pointwise, odd, ragged', op: 'Conv', shape: [7, 33, 1, 1], axis: 1, input: [1, 33, 4, 5] },
  { name: '3×3, ragged', op: 'Conv', shape: [5, 41, 3, 3], axis: 1, input: [1, 41, 6, 5] },
  { name: 'one dimension', op: 'Conv', shape: [4, 48, 3], axis: 1, input: [1, 48, 9] },
  { name: 'groups', op: 'Conv', shape: [6, 34, 3, 1], axis: 1, group: 2n, input: [1, 68, 5, 4] },
  { name: 'one filter', op: 'Conv', shape: [1, 40, 3, 3], axis: 1, input: [1, 40, 5, 5] },
  { name: 'transposed', op: 'ConvTranspose', shape: [41, 3, 2, 2], axis: 0, input: [1, 41, 4, 3] },
];

function network({ op, group, input }: Case, shape: number[], values: number[]): ModelProto {
  const attributes = group === undefined ? {} : { group };
  return model(
    graph({
      nodes: [node(op, ['x', 'w'], ['y'], { attributes })],
      initializers: [floats('w', shape, values)],
      inputs: [value('x', 'f32', input)],
      outputs: [
        value(
          'y',
          'f32',
          shape.map((_, i) => `d${i}`),
        ),
      ],
    }),
    { opset: 17 },
  );
}

/** What the codes of blocks along `axis` stand for (docs/onnx.md 3.2), element by element. */
function definition(
  values: number[],
  shape: number[],
  axis: number,
  { type, blockSize }: Pick<Qdq, 'type' | 'blockSize'>,
): number[] {
  const length = shape[axis]!;
  const behind = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const blockOf = (index: number): string => {
    const place = Math.floor(index / behind) % length;
    const before = Math.floor(index / behind / length);
    return [before, Math.floor(place / blockSize), index % behind].join();
  };
  const ranges = new Map<string, [number, number]>();
  for (const [index, v] of values.entries()) {
    const [low, high] = ranges.get(blockOf(index)) ?? [0, 0];
    ranges.set(blockOf(index), [Math.min(low, v), Math.max(high, v)]);
  }
  const away = (x: number): number => Math.sign(x) * Math.round(Math.abs(x));
  return values.map((v, index) => {
    const [low, high] = ranges.get(blockOf(index))!;
    if (type === 'int4') {
      const scale = Math.fround((Math.abs(high) > Math.abs(low) ? high : low) / -8);
      return scale === 0 ? 0 : Math.max(-8, Math.min(7, away(v / scale))) * scale;
    }
    const scale = Math.fround(Math.fround(high - low) / 15);
    const zero = scale === 0 ? 0 : Math.max(0, Math.min(15, away(-low / scale)));
    return (Math.max(0, Math.min(15, away(v / scale) + zero)) - zero) * scale;
  });
}

/** The answers of onnxruntime-node and onnxruntime-web to normal values. */
async function run(bytes: Uint8Array, dims: number[]): Promise<Float32Array[]> {
  const x = feed(dims);
  const native = await (await InferenceSession.create(bytes, { logSeverityLevel: 3 })).run({ x });
  web.env.wasm.numThreads = 1;
  const page = await web.InferenceSession.create(bytes, { executionProviders: ['wasm'] });
  const wasm = await page.run({ x: new web.Tensor('float32', floatsOf(x), dims) });
  return [floatsOf(native.y), floatsOf(wasm.y)];
}

function floatsOf(tensor: { data: unknown } | undefined): Float32Array {
  if (!(tensor?.data instanceof Float32Array)) throw new Error('not float32');
  return tensor.data;
}

async function quantized(proto: ModelProto, recipe: Recipe) {
  const { planned } = await plan(proto, recipe);
  const sink = createMemorySink('out.onnx', planned.files[0]!.size);
  await executeFiles({ files: planned.files, tasks: planned.tasks, target: { sinks: [sink] }, threads: 1 });
  return { planned, bytes: sink.bytes() };
}

describe.each(CASES)('a convolution in blocks along its input channels: $name', (each) => {
  test.each([
    ['int4', 16],
    ['uint4', 16],
    ['uint4', 32],
  ] as const)('%s in blocks of %i', async (type, blockSize) => {
    const { shape, axis } = each;
    const values = [
      ...Float32Array.from(
        normals(
          shape.reduce((a, b) => a * b, 1),
          11,
          0.1,
        ),
      ),
    ];
    const scheme: Scheme = { as: 'qdq', type, granularity: 'block', blockSize };
    const { planned, bytes } = await quantized(network(each, shape, values), recipeFor(scheme));
    const [task] = planned.tasks;
    expect(task?.operation.kind).toBe('qdq-block');
    expect(operationParts(task!.operation).map((part) => part.shape)).toEqual([
      shape,
      ...Array(type === 'int4' ? 1 : 2).fill(shape.with(axis, Math.ceil(shape[axis]! / blockSize))),
    ]);
    const meant = definition(values, shape, axis, { type, blockSize });
    const [expected = new Float32Array()] = await run(
      await encodeModel(network(each, shape, meant)),
      each.input,
    );
    for (const found of await run(bytes, each.input)) {
      expect(found.length).toBe(expected.length);
      expect(Math.max(...found.map((y, i) => Math.abs(y - expected[i]!)))).toBeLessThan(2e-5);
    }
  });
});

describe('convolutions that cannot have blocks', () => {
  const conv = (name: string, dims: number[], values?: number[]): ModelProto =>
    model(
      graph({
        nodes: [
          node('Conv', ['x', name], ['y'], {
            attributes: { group: BigInt(dims[1] === 1 ? dims[0]! : 1) },
          }),
        ],
        initializers: [values === undefined ? weight(name, dims) : floats(name, dims, values)],
        inputs: [value('x', 'f32', [1, dims[1] === 1 ? dims[0]! : dims[1]!, 9, 9])],
        outputs: [value('y', 'f32', ['a', 'b', 'c', 'd'])],
      }),
      { opset: 21 },
    );

  test.each([
    ['the first of a network', 'int4', [64, 3, 7, 7], 'int8', 'only 3 input channels'],
    ['one whose blocks would take 8 bits', 'uint4', [64, 18, 3, 3], 'uint8', 'only 18 input channels'],
  ] as const)('%s gets 8 bits in channels, and the plan says why', async (_, type, dims, stored, why) => {
    const scheme: Scheme = { as: 'qdq', type, granularity: 'block', blockSize: 16 };
    const { planned } = await plan(conv('w', [...dims]), recipeFor(scheme));
    expect(planned.tasks[0]?.operation).toMatchObject({ kind: 'affine', type: stored, axis: 0 });
    expect(planned.plan.tensors[0]?.reason).toContain(`${stored} channels in place of blocks: ${why}`);
  });

  test('int4-qdq stores depthwise convolutions, and those with outliers, as int8', async () => {
    const outlier = normals(64 * 64, 3, 0.02);
    outlier[5] = 9;
    for (const proto of [conv('w', [128, 1, 3, 3]), conv('w', [64, 64, 1, 1], outlier)]) {
      const { planned } = await plan(proto, presetRecipe('int4-qdq'));
      expect(planned.tasks[0]?.operation).toMatchObject({ kind: 'affine', type: 'int8', axis: 0 });
    }
    const { planned } = await plan(conv('w', [64, 64, 1, 1]), presetRecipe('int4-qdq'));
    expect(planned.tasks[0]?.operation).toMatchObject({ kind: 'qdq-block', type: 'uint4', blockSize: 16 });
  });

  test('a recipe may still ask for int4 channels', async () => {
    const scheme: Scheme = { as: 'qdq', type: 'int4', granularity: 'channel', blockSize: 0 };
    const { planned } = await plan(conv('w', [64, 64, 1, 1]), recipeFor(scheme));
    expect(planned.tasks[0]?.operation).toMatchObject({ kind: 'affine', type: 'int4', axis: 0 });
  });
});
