/** Statistics of a convolution's patches against im2col written as loops: the rows are what a stored filter multiplies. */

import { expect, test } from 'vitest';
import { collectInputStatistics } from '../../../src/calibration/collect/collect-inputs.ts';
import { findProducts } from '../../../src/calibration/collect/find-products.ts';
import { groupStatistics } from '../../../src/calibration/statistics/merge.ts';
import { onnxruntimeNode } from '../../../src/runtime/onnxruntime-node.ts';
import { type AttributeValue, floats, graph, model, node, value } from '../../formats/build-onnx.ts';
import { dataset, difference, f32, modelOf, randomValues, statisticsOf } from './runs.ts';

const runtime = onnxruntimeNode();

interface Case {
  readonly name: string;
  /** [N, C, H, W] */
  readonly shape: readonly [number, number, number, number];
  readonly kernel: readonly [number, number];
  readonly strides?: readonly [number, number];
  readonly dilations?: readonly [number, number];
  /** top, left, bottom, right */
  readonly pads?: readonly [number, number, number, number];
  readonly autoPad?: 'SAME_UPPER' | 'SAME_LOWER' | 'VALID';
  readonly groups?: number;
}

const CASES: readonly Case[] = [
  { name: 'plain 3×3', shape: [2, 3, 5, 6], kernel: [3, 3] },
  { name: '1×1', shape: [2, 4, 3, 5], kernel: [1, 1] },
  { name: '1×1 with strides', shape: [1, 4, 5, 5], kernel: [1, 1], strides: [2, 2] },
  {
    name: 'strides and uneven pads',
    shape: [1, 2, 7, 6],
    kernel: [3, 2],
    strides: [2, 3],
    pads: [1, 0, 2, 1],
  },
  { name: 'dilations', shape: [1, 2, 8, 9], kernel: [2, 3], dilations: [3, 2], pads: [1, 1, 1, 1] },
  {
    name: 'SAME_UPPER with strides',
    shape: [1, 2, 7, 8],
    kernel: [3, 4],
    strides: [2, 2],
    autoPad: 'SAME_UPPER',
  },
  { name: 'SAME_LOWER', shape: [1, 2, 5, 6], kernel: [2, 4], autoPad: 'SAME_LOWER' },
  { name: 'VALID', shape: [1, 2, 5, 5], kernel: [2, 2], autoPad: 'VALID' },
  { name: 'groups', shape: [2, 4, 5, 5], kernel: [3, 3], groups: 2, pads: [1, 1, 1, 1] },
  { name: 'depthwise', shape: [2, 3, 4, 5], kernel: [3, 3], groups: 3, strides: [2, 1] },
];

function convModel(c: Case) {
  const { shape, kernel, strides, dilations, pads, autoPad, groups = 1 } = c;
  const list = (values: readonly number[]) => values.map(BigInt);
  const attributes: Record<string, AttributeValue> = { group: BigInt(groups) };
  if (strides !== undefined) attributes.strides = list(strides);
  if (dilations !== undefined) attributes.dilations = list(dilations);
  if (pads !== undefined) attributes.pads = list(pads);
  if (autoPad !== undefined) attributes.auto_pad = autoPad;
  return model(
    graph({
      nodes: [node('Conv', ['x', 'w'], ['y'], { attributes })],
      initializers: [floats('w', [2 * groups, shape[1] / groups, ...kernel])],
      inputs: [value('x', 'f32', ['n', shape[1], 'h', 'w'])],
      outputs: [value('y', 'f32', ['n', 2 * groups, 'a', 'b'])],
    }),
  );
}

/** Rows of each group: channel-major, then kernel positions. */
function im2col(c: Case, x: Float32Array): number[][][] {
  const [batch, channels, height, width] = c.shape;
  const { kernel, strides = [1, 1], dilations = [1, 1], groups = 1, autoPad } = c;
  const sizes = [height, width] as const;
  const [top, left, bottom, right] = c.pads ?? [0, 0, 0, 0];
  const begins = [top, left];
  const ends = [bottom, right];
  if (autoPad === 'SAME_UPPER' || autoPad === 'SAME_LOWER') {
    for (const a of [0, 1] as const) {
      const out = Math.ceil(sizes[a] / strides[a]);
      const total = Math.max(0, (out - 1) * strides[a] + (kernel[a] - 1) * dilations[a] + 1 - sizes[a]);
      begins[a] = autoPad === 'SAME_UPPER' ? Math.floor(total / 2) : Math.ceil(total / 2);
      ends[a] = total - begins[a]!;
    }
  }
  const count = (a: 0 | 1): number =>
    Math.floor((sizes[a] + begins[a]! + ends[a]! - (kernel[a] - 1) * dilations[a] - 1) / strides[a]) + 1;
  const at = (n: number, ch: number, i: number, j: number): number =>
    i < 0 || j < 0 || i >= height || j >= width ? 0 : x[((n * channels + ch) * height + i) * width + j]!;
  return Array.from({ length: groups }, (_, group) => {
    const rows: number[][] = [];
    for (let n = 0; n < batch; n++)
      for (let oi = 0; oi < count(0); oi++)
        for (let oj = 0; oj < count(1); oj++) {
          const row: number[] = [];
          for (let ch = (group * channels) / groups; ch < ((group + 1) * channels) / groups; ch++)
            for (let ki = 0; ki < kernel[0]; ki++)
              for (let kj = 0; kj < kernel[1]; kj++)
                row.push(
                  at(
                    n,
                    ch,
                    oi * strides[0] + ki * dilations[0] - begins[0]!,
                    oj * strides[1] + kj * dilations[1] - begins[1]!,
                  ),
                );
          rows.push(row);
        }
    return rows;
  });
}

test.each(CASES)('Conv, $name: every sum equals that of im2col in loops', async (c) => {
  const proto = convModel(c);
  const count = c.shape.reduce((product, size) => product * size, 1);
  const samples = [randomValues(count, 1), randomValues(count, 2)];
  const found = await collectInputStatistics(
    modelOf(proto),
    dataset(samples.map((x) => ({ x: f32(c.shape, x) }))),
    findProducts(proto),
    { runtime, collect: ['squares', 'magnitudes', 'sums', 'peaks', 'gram'] },
  );
  const [first, second] = samples.map((x) => im2col(c, x));
  for (let group = 0; group < (c.groups ?? 1); group++) {
    const expected = statisticsOf([...first![group]!, ...second![group]!]);
    const statistics = groupStatistics(found.get('w')!, group);
    expect(statistics.rows).toBe(expected.rows);
    for (const sum of ['squares', 'magnitudes', 'sums', 'peaks', 'gram'] as const)
      expect(difference(statistics[sum], expected[sum]), `${sum} of group ${group}`).toBeLessThan(2e-6);
  }
});

test('a Gram matrix in strips is the matrix in one piece, and exactly symmetric', async () => {
  const inputs = 801;
  const proto = model(
    graph({
      nodes: [node('MatMul', ['x', 'w'], ['y'])],
      initializers: [floats('w', [inputs, 1])],
      inputs: [value('x', 'f32', ['n', inputs])],
      outputs: [value('y', 'f32', ['n', 1])],
    }),
  );
  const x = randomValues(5 * inputs, 7);
  const found = await collectInputStatistics(
    modelOf(proto),
    dataset([{ x: f32([2, inputs], x.slice(0, 2 * inputs)) }, { x: f32([3, inputs], x.slice(2 * inputs)) }]),
    findProducts(proto),
    { runtime, collect: ['gram'] },
  );
  const rows = Array.from({ length: 5 }, (_, i) => x.subarray(i * inputs, (i + 1) * inputs));
  const gram = found.get('w')?.gram;
  expect(difference(gram, statisticsOf(rows).gram)).toBeLessThan(1e-6);
  const uneven = gram!.findIndex((v, i) => v !== gram![(i % inputs) * inputs + Math.floor(i / inputs)]);
  expect(uneven).toBe(-1);
});
