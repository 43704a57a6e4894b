/** A real classifier and its quantized self, evaluated whole: figures of both sides, costs, and a ranking of layers. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { evaluateModel } from '../../src/compress/evaluate.ts';
import { compress } from '../../src/compress.ts';
import { hasOnnxruntimeNode } from '../../src/runtime/onnxruntime-node.ts';
import { SHARED_ABSENT, sharedPath } from '../shared.ts';

const original = sharedPath('models/era-classifier/onnx/model.onnx');
const rows = sharedPath('data/era-eval.json');
const ready = original !== undefined && rows !== undefined && (await hasOnnxruntimeNode());

describe.skipIf(!ready)(`evaluateModel (skipped where ${SHARED_ABSENT})`, () => {
  let folder: string;
  let quantized: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'whittle-evaluate-'));
    quantized = join(folder, 'model_q4.onnx');
    await compress(original ?? '', { to: ['q4'], output: quantized, verify: false, threads: 1 });
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('q4 of a classifier: accuracy of both, divergence, and the layers by what each does alone', async () => {
    const { model, against, quality, layers } = await evaluateModel(quantized, {
      against: original,
      data: { source: { kind: 'json', file: rows ?? '' }, samples: 24 },
      threads: 1,
      cost: false,
      layers: { limit: 3, samples: 2 },
    });
    expect(model.bitsPerWeight).toBeLessThan(against?.bitsPerWeight ?? 0);
    expect(against?.bitsPerWeight).toBe(32);
    expect(quality.scores?.original?.accuracy).toBeGreaterThan(0.5);
    expect(quality.scores?.distance).toMatchObject({ rows: 24 });
    expect(quality.scores?.distance?.klDivergence).toBeLessThan(0.01);
    const tried = layers?.layers.filter(({ harm }) => harm !== undefined) ?? [];
    expect(tried).toHaveLength(3);
    const harms = tried.map(({ harm }) => harm?.klDivergence ?? Number.NaN);
    expect(harms).toEqual(harms.toSorted((a, b) => b - a));
    expect(layers?.layers.every(({ keepBytes, weightSqnr }) => keepBytes > 0 && weightSqnr > 15)).toBe(true);
    expect(tried[0]?.activation?.sqnr).toBeGreaterThan(10);
    expect(layers?.distributions).not.toHaveLength(0);
  });

  test('layers without an original are E_USAGE', async () => {
    const data = { source: { kind: 'json', file: rows ?? '' }, samples: 1 } as const;
    await expect(evaluateModel(quantized, { data, layers: true })).rejects.toMatchObject({ code: 'E_USAGE' });
  });
});
