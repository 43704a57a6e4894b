/** Solved values land in every form that ONNX files have: the file holds what the report says. */

import { describe, expect, test } from 'vitest';
import { compareModels } from '../../../src/compress/compare.ts';
import type { AlgorithmName } from '../../../src/compress/solve/names.ts';
import { compress } from '../../../src/compress.ts';
import type { Recipe, Scheme } from '../../../src/planning/recipe.ts';
import { withFolder, writeModel } from '../../formats/build-onnx.ts';
import { network, tokens } from './small-network.ts';

function recipe(name: string, scheme: Scheme, extra: Partial<Recipe> = {}): Recipe {
  return { name, suffix: `_${name}`, rules: [{ match: {}, scheme }], ...extra };
}

const nbits = (bits: 2 | 4 | 8, symmetric: boolean, zeroPoints?: 'real'): Scheme => ({
  as: 'matmul-nbits',
  bits,
  blockSize: 16,
  symmetric,
  accuracyLevel: 0,
  zeroPoints,
});

const blocks = (type: 'int4' | 'uint4', blockSize: number): Scheme => ({
  as: 'qdq',
  type,
  granularity: 'block',
  blockSize,
});

const bnb4 = (codebook: 'nf4' | 'fp4', blockSize: 16 | 64): Scheme => ({ as: 'bnb4', codebook, blockSize });
const table = (bits: 4 | 8, symmetric: boolean): Scheme => ({
  as: 'gather-block',
  bits,
  blockSize: 16,
  symmetric,
});
const half = { fp16: { keepIoTypes: true } };

const recipes: readonly (readonly [Recipe, readonly string[]])[] = [
  [recipe('nbits4', nbits(4, false)), ['w1', 'w2']],
  [recipe('nbits2real', nbits(2, false, 'real')), ['w1', 'w2']],
  [recipe('nbits4half', nbits(4, false, 'real'), half), ['w1', 'w2']],
  [recipe('nf4', bnb4('nf4', 16)), ['w1', 'w2']],
  [recipe('nf4wide', bnb4('nf4', 64), half), ['w1', 'w2']],
  [recipe('fp4', bnb4('fp4', 64)), ['w1', 'w2']],
  [recipe('table4', table(4, true)), ['table']],
  [recipe('table4odd', table(4, false)), ['table']],
  [recipe('table8', table(8, false)), ['table']],
  [recipe('blocks', blocks('uint4', 16)), ['w1', 'w2', 'cw', 'table']],
  [recipe('blocksRagged', blocks('int4', 32)), ['w1', 'w2', 'cw', 'table']],
  [
    recipe('seven', { as: 'dynamic-int8', weightType: 'int8', perChannel: true, reduceRange: true }),
    ['w1', 'w2'],
  ],
  [
    recipe('sevenUnsigned', { as: 'dynamic-int8', weightType: 'uint8', perChannel: true, reduceRange: true }),
    ['w1', 'w2'],
  ],
  [
    recipe('channels', { as: 'qdq', type: 'int8', granularity: 'channel', blockSize: 0 }),
    ['w1', 'w2', 'cw', 'table'],
  ],
];

async function solved(to: Recipe, algorithm: AlgorithmName) {
  return withFolder(async (folder) => {
    const file = await writeModel(folder, network());
    const data = algorithm.startsWith('gptq') || algorithm === 'best' ? tokens : undefined;
    const { results } = await compress(file, { to: [to], algorithm, data, verify: false, threads: 1 });
    const [result] = results;
    if (result === undefined) throw new Error('nothing was written');
    const { weights } = await compareModels(file, result.files[0]?.path ?? '', { verify: false });
    const stored = new Map(weights.map(({ name, sqnr }) => [name, sqnr]));
    return { result, stored };
  });
}

describe.each(recipes)('$name', (to, names) => {
  test.each(['fit', 'gptq-act-order'] as const)('%s: the file holds what was solved', async (algorithm) => {
    const { result, stored } = await solved(to, algorithm);
    expect(result.solved?.layers.map(({ layer }) => layer).sort()).toEqual([...names].sort());
    for (const { layer, errorBefore, errorAfter } of result.solved?.layers ?? [])
      expect(errorAfter, layer).toBeLessThanOrEqual(errorBefore * 1.02);
    for (const name of names) {
      const told = result.weights.find(({ tensor }) => tensor === name)?.sqnr ?? 0;
      // f16 scales are rounded once more where values come back.
      expect(Math.abs((stored.get(name) ?? 0) - told), name).toBeLessThan(0.05);
      expect(told, name).toBeGreaterThan(4);
    }
  });
});

test('what no algorithm knows is counted with its reason', async () => {
  const scheme: Scheme = { as: 'qdq', type: 'int8', granularity: 'tensor', blockSize: 0 };
  const rules = [
    { match: { tensor: 'w1' }, scheme: nbits(4, true) },
    { match: { tensor: 'w2' }, scheme },
    { match: { tensor: 'cw' }, scheme: { as: 'cast', type: 'bf16', scale: 'none' } as const },
  ];
  const { result } = await solved({ name: 'mixed', suffix: '_mixed', rules }, 'fit');
  expect(result.notes).toContain(
    '2 of 3 weights were rounded to nearest: 1 with one scale for the whole tensor, 1 stored as floats.',
  );
});

test('best on a code book says what it did', async () => {
  const { result } = await solved(recipe('nf4', bnb4('nf4', 64)), 'best');
  expect(result.solved?.layers[0]).toMatchObject({ algorithm: 'gptaq', bits: 4, groupSize: 64 });
  expect(result.notes.join()).toContain('on a code book best goes no further');
});
