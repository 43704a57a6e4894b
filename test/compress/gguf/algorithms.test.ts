/** GGUF types with codes from data: only the blocks of calibrated weights change, errors fall, and what does not fit is told by code. */

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ggufNames } from '../../../src/calibration/statistics/gguf-names.ts';
import { saveStatistics } from '../../../src/calibration/statistics/statistics-file.ts';
import { calibrate } from '../../../src/compress/calibrate.ts';
import type { QuantizeGgufOptions } from '../../../src/compress/gguf/options.ts';
import { quantizeGguf } from '../../../src/compress/gguf/quantize.ts';
import { splitModel } from '../../../src/compress/gguf/split.ts';
import { openGguf } from '../../../src/formats/gguf/open.ts';
import { openOnnx } from '../../../src/formats/onnx/open.ts';
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
      const algorithm = 'gptq-act-order';
      await quantize('in-parts.gguf', { to: 'Q4_K_M', algorithm, data, onnx, matrixBytes: 1 });
      const inParts = await readFile(join(folder, 'in-parts.gguf'));
      expect(inParts.equals(await readFile(join(folder, 'solved.gguf')))).toBe(true);
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
      for (const name of ['once.gguf', 'again.gguf']) await quantize(name, { to: 'Q4_0', statistics, onnx });
      const again = await readFile(join(folder, 'again.gguf'));
      expect(again.equals(await readFile(join(folder, 'once.gguf')))).toBe(true);
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

    test('a run that is stopped while it solves keeps its layers; --resume goes on and gives the same bytes', async () => {
      const options = {
        to: 'Q4_0',
        algorithm: 'gptq',
        data: { ...data, samples: 2, sequence: 64 },
        onnx,
        journal: true,
      };
      await quantize('whole.gguf', { ...options, journal: false });
      const controller = new AbortController();
      const stop = ({ tensor = '' }) => {
        if (tensor.startsWith('blk.1.ffn')) controller.abort();
      };
      const stopped = quantize('out.gguf', { ...options, signal: controller.signal, onProgress: stop });
      await expect(stopped).rejects.toMatchObject({
        code: 'E_ABORTED',
        details: { hint: expect.stringMatching(/--resume to continue: \d+ layers are solved/) },
      });
      const other = quantize('out.gguf', { ...options, algorithm: 'gptq-act-order', resume: true });
      await expect(other).rejects.toMatchObject({
        code: 'E_RESUME',
        message: expect.stringContaining('changed (algorithm)'),
      });
      const seen: string[] = [];
      const { results } = await quantize('out.gguf', {
        ...options,
        resume: true,
        onProgress: ({ phase = '' }) => seen.push(phase),
      });
      expect(results[0]?.notes.join('\n')).toMatch(
        /\d+ layers were taken over from the run that was stopped/,
      );
      expect(results[0]?.solved?.layers.length).toBeGreaterThanOrEqual(14);
      const whole = await readFile(join(folder, 'whole.gguf'));
      expect(whole.equals(await readFile(join(folder, 'out.gguf')))).toBe(true);
      expect((await readdir(folder)).filter((name) => name.startsWith('out.gguf'))).toEqual(['out.gguf']);
    });

    test('statistics of another model are refused, not passed over', async () => {
      const file = join(folder, 'strange.stats');
      const entry = (inputs: number) => ({
        inputs,
        rows: 1,
        squares: new Float64Array(inputs).fill(1),
        gram: new Float32Array(inputs * inputs),
      });
      const save = (weight: string, inputs: number) =>
        saveStatistics(
          file,
          { entries: new Map([[weight, entry(inputs)]]), datasets: ['a'], samples: 1 },
          { force: true },
        );
      await save('somebody', 4);
      await expect(quantize('x.gguf', { to: 'Q4_0', statistics: file, onnx })).rejects.toMatchObject({
        code: 'E_DATA',
        details: { file, found: 'somebody' },
      });
      await using model = await openOnnx(onnx ?? '');
      const [weight = ''] = ggufNames(model.proto).keys();
      await save(weight, 4);
      await expect(quantize('x.gguf', { to: 'Q4_0', statistics: file, onnx })).rejects.toMatchObject({
        code: 'E_SHAPE',
        details: { file, tensor: weight, found: '4 inputs' },
      });
    });

    test('what stands in the way of a part is said before data is run', async () => {
      const parts = join(folder, 'parts');
      await mkdir(parts);
      await splitModel(gguf ?? '', { output: join(parts, 'tiny'), maxTensors: 12 });
      const [first = ''] = (await readdir(parts)).sort();
      const seen: string[] = [];
      const options: QuantizeGgufOptions = {
        to: 'Q4_0',
        keepSplit: true,
        output: parts,
        threads: 1,
        algorithm: 'gptq',
        data,
        onnx,
        onProgress: ({ phase = '' }) => seen.push(phase),
      };
      const second = join(parts, 'tiny-Q4_0-00002-of-00002.gguf');
      await writeFile(second, 'mine');
      await expect(quantizeGguf(join(parts, first), options)).rejects.toMatchObject({
        code: 'E_OUTPUT_EXISTS',
        details: { file: second },
      });
      expect(seen.filter((phase) => phase.startsWith('gptq'))).toEqual([]);
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
      [{ statistics: 'a.stats' }, /statistics speak of weights of an ONNX file, and none was named/],
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
