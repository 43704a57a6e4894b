/** Figures of any values: against plain loops, merged, saved and read, and what is refused. */

import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { collectTensorStatistics } from '../../../src/calibration/collect/collect-tensors.ts';
import { loadStatistics, saveStatistics } from '../../../src/calibration/statistics/statistics-file.ts';
import { mergeSets } from '../../../src/calibration/statistics/statistics-set.ts';
import {
  meansOf,
  mergeTensors,
  peaksOf,
  percentileRange,
  type ValueStatistics,
} from '../../../src/calibration/statistics/tensor-statistics.ts';
import { hasOnnxruntimeNode, onnxruntimeNode } from '../../../src/runtime/onnxruntime-node.ts';
import { graph, model, node, value, withFolder } from '../../formats/build-onnx.ts';
import { dataset, f32, modelOf, randomValues } from './runs.ts';

const ready = await hasOnnxruntimeNode();
const CHANNELS = 3;

const proto = model(
  graph({
    nodes: [node('Relu', ['x'], ['r']), node('Neg', ['r'], ['y'])],
    inputs: [value('x', 'f32', ['n', CHANNELS, 'width'])],
    outputs: [value('y', 'f32', ['n', CHANNELS, 'width'])],
  }),
);
const WIDTHS = [4, 7, 5];
const samples = WIDTHS.map((width, i) => randomValues(2 * CHANNELS * width, i + 1));
const data = dataset(samples.map((values, i) => ({ x: f32([2, CHANNELS, WIDTHS[i] ?? 0], values.slice()) })));
const collect = (
  names: readonly string[],
  options: { axis?: number; histograms?: boolean } = {},
  from = data,
) =>
  collectTensorStatistics(modelOf(proto), from, names, {
    runtime: onnxruntimeNode(),
    threads: 1,
    ...options,
  });

/** Values of one channel of x over all samples. */
function channel(c: number): number[] {
  return samples.flatMap((values, i) => {
    const width = WIDTHS[i] ?? 0;
    return [...values].filter((_, at) => Math.floor(at / width) % CHANNELS === c);
  });
}

describe.skipIf(!ready)('figures of values (skipped without onnxruntime-node)', () => {
  test('of each channel are those of plain loops, whatever the size of the samples', async () => {
    const found = await collect(['x', 'r'], { axis: 1 });
    const x = found.get('x');
    expect(x).toMatchObject({ axis: 1, channels: CHANNELS, count: 2 * (4 + 7 + 5) });
    for (let c = 0; c < CHANNELS; c++) {
      const values = channel(c);
      expect(x?.minima[c]).toBe(Math.min(...values));
      expect(x?.maxima[c]).toBe(Math.max(...values));
      expect(x?.sums[c]).toBeCloseTo(
        values.reduce((a, b) => a + b, 0),
        4,
      );
      expect(x?.squares[c]).toBeCloseTo(
        values.reduce((a, b) => a + b * b, 0),
        4,
      );
      expect(found.get('r')?.minima[c]).toBe(0);
    }
    expect(x && meansOf(x)[1]).toBeCloseTo(channel(1).reduce((a, b) => a + b, 0) / channel(1).length, 5);
    expect(x && peaksOf(x)[2]).toBe(Math.max(...channel(2).map(Math.abs)));
  });

  test('of a value as a whole have one channel, and a histogram that counts every number', async () => {
    const x = (await collect(['x'], { histograms: true })).get('x');
    expect(x).toMatchObject({ channels: 1, count: 96 });
    expect(x?.axis).toBeUndefined();
    expect(x?.histogram?.counts.reduce((a, b) => a + b, 0)).toBe(96);
    const range = percentileRange(x!, 90);
    expect(range.min).toBeGreaterThan(x!.minima[0]!);
    expect(range.max).toBeLessThan(x!.maxima[0]!);
    expect(percentileRange(x!, 100)).toEqual({ min: x!.minima[0], max: x!.maxima[0] });
  });

  test('of two halves of the data merge to those of all of it, also through a file', async () => {
    const part = (from: number, to: number) =>
      dataset(
        samples.slice(from, to).map((values, i) => ({
          x: f32([2, CHANNELS, WIDTHS[from + i] ?? 0], values.slice()),
        })),
      );
    const options = { axis: -2, histograms: true };
    const set = async (from: number, to: number) => ({
      entries: new Map(),
      tensors: await collect(['x', 'y'], options, part(from, to)),
      datasets: ['a test'],
      samples: to - from,
    });
    await withFolder(async (folder) => {
      const file = join(folder, 'first.stats');
      await saveStatistics(file, await set(0, 1));
      const merged = mergeSets(await loadStatistics(file), await set(1, 3));
      const whole = await collect(['x', 'y'], options);
      for (const name of ['x', 'y']) {
        const [found, expected] = [merged.tensors?.get(name), whole.get(name)];
        expect(found).toMatchObject({ axis: 1, channels: CHANNELS, count: expected?.count });
        expect(found?.minima).toEqual(expected?.minima);
        expect(found?.maxima).toEqual(expected?.maxima);
        expect(found?.histogram).toEqual(expected?.histogram);
        for (let c = 0; c < CHANNELS; c++) expect(found?.sums[c]).toBeCloseTo(expected?.sums[c] ?? 0, 9);
      }
      await saveStatistics(file, merged, { force: true });
      expect(await loadStatistics(file)).toEqual(merged);
    });
  });

  test('an axis that is not there and channels that change are refused with the value', async () => {
    await expect(collect(['r'], { axis: 3 })).rejects.toMatchObject({
      code: 'E_USAGE',
      details: { tensor: 'r' },
    });
    await expect(collect(['r'], { axis: -1 })).rejects.toMatchObject({
      code: 'E_SHAPE',
      details: { tensor: 'r' },
    });
    await expect(collect(['nothing'])).rejects.toMatchObject({ code: 'E_GRAPH' });
  });

  test('NaN is E_NONFINITE with the first value that has it', async () => {
    const bad = dataset([{ x: f32([1, CHANNELS, 1], Float32Array.of(1, Number.NaN, 2)) }]);
    await expect(collect(['y'], { axis: 1 }, bad)).rejects.toMatchObject({
      code: 'E_NONFINITE',
      details: { tensor: 'x' },
    });
  });
});

const one: ValueStatistics = {
  channels: 1,
  count: 1,
  minima: Float32Array.of(0),
  maxima: Float32Array.of(1),
  sums: Float64Array.of(1),
  squares: Float64Array.of(1),
};

test('figures of other channels do not merge, and a percentile needs a histogram', () => {
  expect(() => mergeTensors(one, { ...one, axis: 0 })).toThrow(/different channels/);
  expect(() => percentileRange(one, 99)).toThrow(/histogram/);
});

test.each([
  ['no list', { tensors: 3 }],
  ['a channel count that is none', { tensors: [{ name: 'x', channels: -1, count: 1 }] }],
  ['a part that is missing', { tensors: [{ name: 'x', channels: 2, count: 1 }] }],
])('a file with %s is E_DATA', async (_, wrong) => {
  await withFolder(async (folder) => {
    const file = join(folder, 'wrong.stats');
    const text = JSON.stringify({ version: 1, samples: 1, datasets: [], entries: [], ...wrong });
    const header = JSON.stringify({
      'whittle.statistics': { dtype: 'U8', shape: [text.length], data_offsets: [0, text.length] },
    });
    const { writeFile } = await import('node:fs/promises');
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    await writeFile(file, Buffer.concat([length, Buffer.from(header), Buffer.from(text)]));
    await expect(loadStatistics(file)).rejects.toMatchObject({ code: 'E_DATA' });
  });
});
