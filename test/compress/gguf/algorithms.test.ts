/** GGUF types with codes from data: only the blocks of calibrated weights change, errors fall, and what does not fit is told by code. */

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { calibrate } from '../../../src/compress/calibrate.ts';
import type { QuantizeGgufOptions } from '../../../src/compress/gguf/options.ts';
import { quantizeGguf } from '../../../src/compress/gguf/quantize.ts';
import { openGguf } from '../../../src/formats/gguf/open.ts';
import { sharedPath } from '../../shared.ts';

const gguf = sharedPath('models/lm-tiny/lm-tiny-f16.gguf');
const onnx = sharedPath('models/lm-tiny/onnx/model.onnx');
const larger = sharedPath('models/lm/onnx/model.onnx');
const text = sharedPath('data/lm-calib.txt');

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whittle-gguf-algorithms-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const DATA = { samples: 3, sequence: 128 };

function quantize(name: string, options: Partial<QuantizeGgufOptions> & Pick<QuantizeGgufOptions, 'to'>) {
  return quantizeGguf(gguf ?? '', { output: join(folder, name), threads: 1, force: true, ...options });
}

async function payloads(name: string): Promise<Map<string, string>> {
  await using model = await openGguf(join(folder, name));
  const found = new Map<string, string>();
  for (const { name: tensor, type, data } of model.tensors) {
    const bytes = new Uint8Array(data.length);
    await data.source.readInto(data.offset, bytes);
    found.set(tensor, `${type} ${Buffer.from(bytes).toString('base64')}`);
  }
  return found;
}

describe.skipIf(gguf === undefined || onnx === undefined || text === undefined)(
  'with the shared models',
  () => {
    const data = { source: text ?? '', ...DATA };

    test('a layer’s blocks are chosen on its inputs; everything else is what the encoder writes', async () => {
      await quantize('plain.gguf', { to: 'Q4_K_M' });
      const { results } = await quantize('solved.gguf', {
        to: 'Q4_K_M',
        algorithm: 'gptq-act-order',
        data,
        onnx,
      });
      const [result] = results;
      const layers = result?.solved?.layers ?? [];
      expect(layers.length).toBeGreaterThanOrEqual(14);
      for (const { layer, errorBefore, errorAfter } of layers)
        expect(errorAfter, layer).toBeLessThan(errorBefore);
      const mean = (key: 'errorBefore' | 'errorAfter'): number =>
        layers.reduce((sum, layer) => sum + layer[key], 0) / layers.length;
      expect(mean('errorAfter')).toBeLessThan(0.6 * mean('errorBefore'));
      const [plain, solved] = [await payloads('plain.gguf'), await payloads('solved.gguf')];
      const changed = [...plain].filter(([name, bytes]) => solved.get(name) !== bytes).map(([name]) => name);
      expect(changed.sort()).toEqual(layers.map(({ layer }) => layer).sort());
      expect([...solved].map(([name, bytes]) => `${name} ${bytes.split(' ')[0]}`)).toEqual(
        [...plain].map(([name, bytes]) => `${name} ${bytes.split(' ')[0]}`),
      );
      expect(result?.weightSqnr).toBeUndefined();
    });

    test('saved statistics stand in for data, also where a type cannot do without importance; twice the same bytes', async () => {
      const statistics = join(folder, 'tiny.stats');
      await calibrate(onnx ?? '', { data: text, dataset: DATA, output: statistics, gram: true, threads: 1 });
      const { results } = await quantize('narrow.gguf', { to: 'IQ2_XXS', statistics, onnx, measure: true });
      await quantize('again.gguf', { to: 'IQ2_XXS', statistics, onnx });
      const again = await readFile(join(folder, 'again.gguf'));
      expect(again.equals(await readFile(join(folder, 'narrow.gguf')))).toBe(true);
      const [result] = results;
      expect(result?.solved?.layers.length).toBeGreaterThanOrEqual(14);
      expect(result?.weightSqnr).toBeGreaterThan(3);
      for (const { layer, errorBefore, errorAfter } of result?.solved?.layers ?? [])
        expect(errorAfter, layer).toBeLessThanOrEqual(errorBefore);
      const sums = join(folder, 'sums.stats');
      await calibrate(onnx ?? '', { data: text, dataset: DATA, output: sums, threads: 1 });
      await expect(quantize('x.gguf', { to: 'Q4_0', statistics: sums, onnx })).rejects.toMatchObject({
        code: 'E_DATA',
        details: { hint: expect.stringContaining('--gram') },
      });
    });

    test.skipIf(larger === undefined)(
      'the ONNX file of another model is refused, with both shapes',
      async () => {
        await expect(quantize('x.gguf', { to: 'Q4_0', data, onnx: larger })).rejects.toMatchObject({
          code: expect.stringMatching(/^E_(?:SHAPE|DATA)$/),
          details: { file: larger, tensor: expect.any(String) },
        });
      },
    );

    test.each([
      [{ algorithm: 'gptq' }, /no data was given/],
      [{ data, algorithm: 'gptq' }, /none was named/],
      [{ onnx }, /no data was given/],
      [{ onnx, data, statistics: 'a.stats' }, /or on saved statistics/],
      [{ onnx, data, algorithm: 'hqq' }, /no algorithm for GGUF/],
      [{ onnx, data, algorithm: 'rtn' }, /looks at no data/],
    ])('%o says what is missing', async (options, message) => {
      await expect(quantize('x.gguf', { to: 'Q4_0', ...options })).rejects.toMatchObject({
        code: 'E_USAGE',
        message: expect.stringMatching(message),
      });
    });
  },
);
