/** Statistics as files: what is saved is what is loaded, damage is an error, and importance matrices go both ways. */

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ggufNames } from '../../../src/calibration/statistics/gguf-names.ts';
import { fromImatrix, toImatrix } from '../../../src/calibration/statistics/imatrix.ts';
import { loadStatistics, saveStatistics } from '../../../src/calibration/statistics/statistics-file.ts';
import { mergeSets, type StatisticsSet } from '../../../src/calibration/statistics/statistics-set.ts';
import { openImatrixSource } from '../../../src/formats/gguf/imatrix.ts';
import { layoutImatrix } from '../../../src/formats/gguf/imatrix-writer.ts';
import { encodeFile } from '../../../src/formats/onnx/layout.ts';
import { openOnnx } from '../../../src/formats/onnx/open.ts';
import { memorySource } from '../../../src/io/memory-source.ts';
import { floats, graph, model, node, value, withFolder } from '../../formats/build-onnx.ts';
import { SHARED_ABSENT, sharedPath } from '../../shared.ts';

const SET: StatisticsSet = {
  entries: new Map([
    [
      'w',
      {
        inputs: 2,
        rows: 7,
        squares: Float64Array.of(3, 0.1),
        magnitudes: Float64Array.of(2, 1),
        sums: Float64Array.of(-1, 0),
        peaks: Float32Array.of(1.5, 0.25),
        gram: Float32Array.of(3, 1, 1, 0.1),
        cross: Float32Array.of(0, 1, 2, 3),
      },
    ],
    ['If_0.then/é "x"', { inputs: 3, groups: 2, rows: 4, squares: Float64Array.of(1, 2, 3, 4, 5, 6) }],
  ]),
  datasets: ['4 × 8 tokens of a.txt'],
  samples: 4,
};

test('what is loaded equals what was saved, whatever weights are called', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'a.stats');
    await saveStatistics(path, SET);
    expect(await loadStatistics(path)).toEqual(SET);
    await expect(saveStatistics(path, SET)).rejects.toMatchObject({ code: 'E_OUTPUT_EXISTS' });
  });
});

test('merged sets are the sums of both; what only one has seen is kept, what only one has collected is not', () => {
  const { w } = Object.fromEntries(SET.entries);
  const other: StatisticsSet = {
    entries: new Map([
      ['w', { inputs: 2, rows: 1, squares: Float64Array.of(1, 1), peaks: Float32Array.of(1, 9) }],
    ]),
    datasets: ['b.txt'],
    samples: 1,
  };
  const merged = mergeSets(SET, other);
  expect(merged).toMatchObject({ samples: 5, datasets: ['4 × 8 tokens of a.txt', 'b.txt'] });
  expect(merged.entries.get('w')).toMatchObject({
    rows: 8,
    squares: Float64Array.of(4, w!.squares[1]! + 1),
    peaks: Float32Array.of(1.5, 9),
    gram: undefined,
  });
  expect(merged.entries.size).toBe(2);
  const wrong = { ...other, entries: new Map([['w', { inputs: 1, rows: 1, squares: Float64Array.of(1) }]]) };
  expect(() => mergeSets(SET, wrong)).toThrow(expect.objectContaining({ code: 'E_SHAPE' }));
});

test('a file that is cut, contradicts itself, holds NaN or is no statistics file is an error', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'a.stats');
    await saveStatistics(path, SET);
    const good = await readFile(path);
    const damage = async (change: (bytes: Buffer) => Buffer) => {
      await writeFile(path, change(Buffer.from(good)));
      return loadStatistics(path).then(
        () => 'loaded',
        (error: { code: string }) => error.code,
      );
    };
    const swapped = (from: string, to: string) => (bytes: Buffer) =>
      Buffer.from(bytes.toString('latin1').replace(from, to), 'latin1');
    expect(await damage((bytes) => bytes.subarray(0, -1))).toBe('E_TRUNCATED');
    expect(await damage(swapped('"inputs":2', '"inputs":3'))).toBe('E_SHAPE');
    expect(await damage(swapped('"version":1', '"version":2'))).toBe('E_VERSION');
    expect(await damage(swapped('"weight":"w"', '"weight":"v"'))).toBe('E_DATA');
    expect(await damage(swapped('whittle.statistics', 'whittle.statisticz'))).toBe('E_DATA');
    expect(
      await damage((bytes) => {
        bytes.writeDoubleLE(Number.NaN, 8 + Number(bytes.readBigUInt64LE(0)));
        return bytes;
      }),
    ).toBe('E_NONFINITE');
  });
});

const NAMES = new Map([['w', 'blk.0.attn_q.weight']]);

test('an importance matrix that was exported is imported with the same sums and rows', async () => {
  const layout = layoutImatrix(toImatrix(SET, NAMES, 8), 'a.gguf');
  const imatrix = await openImatrixSource(memorySource(await encodeFile(layout), 'a.gguf'));
  const back = await fromImatrix(imatrix, NAMES);
  const { squares, rows, inputs } = back.entries.get('w')!;
  expect({ rows, inputs, samples: back.samples }).toEqual({ rows: 7, inputs: 2, samples: 4 });
  expect(squares[0]).toBeCloseTo(3, 5);
  expect(squares[1]).toBeCloseTo(0.1, 6);
  await expect(fromImatrix(imatrix, new Map([['w', 'blk.9.attn_q.weight']]))).rejects.toMatchObject({
    code: 'E_UNSUPPORTED',
  });
  expect(() => toImatrix(SET, new Map())).toThrow(expect.objectContaining({ code: 'E_UNSUPPORTED' }));
});

test('names of GGUF follow the module path where there is one, else the order of the nodes', () => {
  const proto = model(
    graph({
      nodes: [
        node('MatMul', ['x', 'model.layers.3.attn.q_proj.MatMul.weight'], ['a']),
        node('MatMul', ['a', 'w0'], ['b'], { name: '/down_proj/MatMul' }),
        node('MatMul', ['b', 'w1'], ['c'], { name: '/down_proj_1/MatMul' }),
        node('MatMul', ['c', 'w2'], ['d'], { name: '/model/layers.12/mlp/up_proj/MatMul' }),
        node('MatMul', ['d', 'head'], ['y'], { name: '/lm_head/MatMul' }),
      ],
      initializers: ['model.layers.3.attn.q_proj.MatMul.weight', 'w0', 'w1', 'w2', 'head'].map((name) =>
        floats(name, [2, 2]),
      ),
      inputs: [value('x', 'f32', ['n', 2])],
      outputs: [value('y', 'f32', ['n', 2])],
    }),
  );
  expect(Object.fromEntries(ggufNames(proto))).toEqual({
    'model.layers.3.attn.q_proj.MatMul.weight': 'blk.3.attn_q.weight',
    w0: 'blk.0.ffn_down.weight',
    w1: 'blk.1.ffn_down.weight',
    w2: 'blk.12.ffn_up.weight',
  });
});

const lm = sharedPath('models/lm/onnx/model.onnx');

test.skipIf(lm === undefined)(
  `all 42 matrices of a LLaMA's six blocks have their names (else: ${SHARED_ABSENT})`,
  async () => {
    await using opened = await openOnnx(lm!);
    const names = [...ggufNames(opened.proto).values()].sort();
    const roles = ['attn_k', 'attn_output', 'attn_q', 'attn_v', 'ffn_down', 'ffn_gate', 'ffn_up'];
    expect(names).toEqual(
      [0, 1, 2, 3, 4, 5].flatMap((layer) => roles.map((role) => `blk.${layer}.${role}.weight`)),
    );
  },
);
