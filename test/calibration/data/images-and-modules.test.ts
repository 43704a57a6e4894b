/** Pictures made by sharp and decoded again, modules that yield batches, and inputs that are made up. */

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ImagePreparation, parsePreparation } from '../../../src/calibration/data/image-preparation.ts';
import { openDataset } from '../../../src/calibration/data/open-dataset.ts';
import { parseDataSpec } from '../../../src/calibration/data/parse-data-spec.ts';
import type { RuntimeValueInfo } from '../../../src/runtime/runtime.ts';
import { allSamples, CLASSIFIER, DECODER, IMAGE, inputOf, VECTOR } from './model-inputs.ts';

let folder: string;
/** 2×2: red, green / blue, white. */
const PIXELS = Uint8Array.of(255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255);
const SMALL: ImagePreparation = { width: 2, height: 2 };

async function picture(path: string, width = 2, height = 2, pixels = PIXELS): Promise<void> {
  await sharp(pixels, { raw: { width, height, channels: 3 } })
    .png()
    .toFile(path);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whittle-images-'));
  await mkdir(join(folder, 'flat'));
  await picture(join(folder, 'flat', 'a.png'));
  for (const [name, count] of [
    ['cat', 2],
    ['dog', 1],
  ] as const) {
    await mkdir(join(folder, 'classes', name), { recursive: true });
    for (let i = 0; i < count; i++) await picture(join(folder, 'classes', name, `${i}.png`));
  }
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function first(
  preparation: ImagePreparation | string | undefined,
  inputs: readonly RuntimeValueInfo[] = IMAGE,
  from = 'flat',
): Promise<{ shape: number[]; values: number[] }> {
  const spec = await parseDataSpec(join(folder, from), { preparation });
  const [sample] = await allSamples(await openDataset(spec, inputs));
  return inputOf(sample, 'pixel_values');
}

describe('pictures', () => {
  test('are kept whole between bands of a level (letterbox), as a description in JSON says', async () => {
    const wide = join(folder, 'letterbox');
    await mkdir(wide, { recursive: true });
    await picture(join(wide, 'a.png'), 2, 1, Uint8Array.of(255, 255, 255, 255, 255, 255));
    const given = parsePreparation(
      '{"width": 2, "height": 3, "fit": "contain", "background": 114, "scale": 1}',
    );
    const { values } = await first(given, IMAGE, 'letterbox');
    expect(values.slice(0, 6)).toEqual([114, 114, 255, 255, 114, 114]);
  });

  test('a description is JSON or the name of a file; what is neither says what it should be', () => {
    expect(parsePreparation('preprocess.json')).toBe('preprocess.json');
    expect(parsePreparation('{"do_resize": true, "size": {"width": 8, "height": 9}}')).toMatchObject({
      width: 8,
      height: 9,
    });
    expect(() => parsePreparation('{"width": 224,')).toThrow(/no JSON/);
    expect(() => parsePreparation('{"widht": 224}')).toThrow(/widht/);
    expect(() => parsePreparation('{"background": 300}')).toThrow(/background/);
  });

  test('are planes of red, green and blue from 0 to 1', async () => {
    expect(await first(SMALL)).toEqual({ shape: [1, 3, 2, 2], values: [1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 1] });
  });

  test('are normalized by mean and deviation of each channel, in either order of channels', async () => {
    const normalized = {
      ...SMALL,
      scale: 1,
      mean: [255, 0, 0],
      std: [1, 255, 0.5],
      channels: 'bgr',
    } as const;
    expect((await first(normalized)).values).toEqual([-255, -255, 0, 0, 0, 1, 0, 1, 510, 0, 0, 510]);
  });

  test('lie channel by channel or pixel by pixel, as the model wants', async () => {
    const inputs: RuntimeValueInfo[] = [{ name: 'pixel_values', dtype: 'f32', shape: [1, 2, 2, 3] }];
    expect((await first({}, inputs)).values).toEqual([1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1]);
  });

  test('are bytes for a model that takes bytes, and gray for one channel', async () => {
    const bytes: RuntimeValueInfo[] = [{ name: 'pixel_values', dtype: 'uint8', shape: [1, 3, 2, 2] }];
    expect((await first(undefined, bytes)).values).toEqual([255, 0, 0, 255, 0, 255, 0, 255, 0, 0, 255, 255]);
    const gray: RuntimeValueInfo[] = [{ name: 'pixel_values', dtype: 'f32', shape: ['n', 1, 2, 2] }];
    const { shape, values } = await first({ scale: 1 }, gray);
    expect(shape).toEqual([1, 1, 2, 2]);
    expect(values[3]).toBe(255);
  });

  test('take the size of the model, cut around the centre where that is asked for', async () => {
    const wide = join(folder, 'wide');
    await mkdir(wide);
    // Columns: black, white, white, black.
    const row = [0, 255, 255, 0].flatMap((v) => [v, v, v]);
    await picture(join(wide, 'a.png'), 4, 2, Uint8Array.from([...row, ...row]));
    expect((await first({ ...SMALL, fit: 'cover' }, IMAGE, 'wide')).values).toEqual(new Array(12).fill(1));
    expect((await first({ ...SMALL, shortestEdge: 4, filter: 'nearest' }, IMAGE, 'wide')).values).toEqual(
      new Array(12).fill(1),
    );
  });

  test('are labelled by their subfolders, in the order of names', async () => {
    const spec = await parseDataSpec(join(folder, 'classes'), { preparation: SMALL });
    const dataset = await openDataset(spec, IMAGE, { samples: 'all', batch: 2 });
    expect(dataset.notes.join()).toContain('Labels: 0 = cat, 1 = dog.');
    expect((await allSamples(dataset)).map(({ labels }) => labels)).toEqual([[0, 0], [1]]);
    expect(dataset.description).toBe('3 images of classes');
  });

  test("are prepared as the hub's preprocessor_config.json says, found beside the model", async () => {
    const config = {
      image_processor_type: 'ViTImageProcessor',
      do_resize: true,
      size: { height: 2, width: 2 },
      resample: 2,
      do_rescale: true,
      rescale_factor: 1 / 255,
      do_normalize: true,
      image_mean: [0.5, 0.5, 0.5],
      image_std: [0.5, 0.5, 0.5],
    };
    await writeFile(join(folder, 'preprocessor_config.json'), JSON.stringify(config));
    const spec = await parseDataSpec(join(folder, 'flat'), { model: join(folder, 'onnx', 'model.onnx') });
    const dataset = await openDataset(spec, IMAGE);
    const [sample] = await allSamples(dataset);
    expect(inputOf(sample, 'pixel_values').values).toEqual([1, -1, -1, 1, -1, 1, -1, 1, -1, -1, 1, 1]);
    expect(dataset.notes).toEqual([]);
  });

  test('without description are scaled only, which is said', async () => {
    const inputs: RuntimeValueInfo[] = [{ name: 'pixel_values', dtype: 'f32', shape: [1, 3, 2, 2] }];
    const dataset = await openDataset({ kind: 'images', folder: join(folder, 'flat') }, inputs);
    expect(dataset.notes.join()).toContain('No preprocessing is described');
  });

  test.each<[string, object, readonly RuntimeValueInfo[], string, RegExp]>([
    ['a size that is open', {}, IMAGE, 'E_USAGE', /open/],
    ['a model of text', SMALL, CLASSIFIER, 'E_USAGE', /takes no pictures/],
    ['an unknown member', { widht: 2 }, IMAGE, 'E_DATA', /widht/],
    ['an unknown fit', { ...SMALL, fit: 'squeeze' }, IMAGE, 'E_DATA', /fit/],
    ['a width of half a pixel', { width: 0.5, height: 2 }, IMAGE, 'E_DATA', /width/],
    ['a deviation of zero', { ...SMALL, std: [1, 0, 1] }, IMAGE, 'E_DATA', /std/],
    ['means of two channels', { ...SMALL, mean: [0, 1] }, IMAGE, 'E_DATA', /mean/],
    ['gray for a model of colours', { ...SMALL, channels: 'gray' }, IMAGE, 'E_SHAPE', /channels/],
    [
      'another size than the model wants',
      SMALL,
      [{ name: 'pixel_values', dtype: 'f32', shape: [1, 3, 4, 4] }],
      'E_SHAPE',
      /width/,
    ],
  ])('%s is refused', async (_, preparation, inputs, code, message) => {
    const file = join(folder, 'preprocess.json');
    await writeFile(file, JSON.stringify(preparation));
    await expect(first(file, inputs)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  test('one that cannot be decoded is named', async () => {
    const bad = join(folder, 'bad');
    await mkdir(bad);
    await writeFile(join(bad, 'broken.jpg'), 'no picture');
    await expect(first(SMALL, IMAGE, 'bad')).rejects.toMatchObject({
      code: 'E_DATA',
      details: { file: join(bad, 'broken.jpg') },
    });
  });

  test('one that is cut short is named', async () => {
    const cut = join(folder, 'cut');
    await mkdir(cut);
    const noise = Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * 7919) % 251);
    const whole = await sharp(noise, { raw: { width: 64, height: 64, channels: 3 } })
      .jpeg()
      .toBuffer();
    await writeFile(join(cut, 'cut.jpg'), whole.subarray(0, whole.length >> 1));
    await expect(first(SMALL, IMAGE, 'cut')).rejects.toMatchObject({ code: 'E_DATA' });
  });

  test('an empty folder', async () => {
    await mkdir(join(folder, 'empty'));
    await expect(first(SMALL, IMAGE, 'empty')).rejects.toMatchObject({ code: 'E_EMPTY' });
  });
});

describe('modules', () => {
  let number = 0;
  async function open(code: string, inputs = VECTOR, options = {}) {
    const file = join(folder, `module-${number++}.mjs`);
    await writeFile(file, code);
    return openDataset(await parseDataSpec(file), inputs, options);
  }

  test('yield batches in each walk anew', async () => {
    const dataset = await open(
      `export default async function* ({ inputs, seed }) {
        for (let i = 0; i < 3; i++) {
          yield { [inputs[0].name]: { data: Float32Array.of(i, seed, 2), shape: [1, 3], type: 'float32' }, labels: [i] };
        }
      }`,
      VECTOR,
      { seed: 9 },
    );
    expect(dataset.count).toBe(3);
    for (const samples of [await allSamples(dataset), await allSamples(dataset)]) {
      expect(samples.map((sample) => inputOf(sample, 'x').values)).toEqual([
        [0, 9, 2],
        [1, 9, 2],
        [2, 9, 2],
      ]);
      expect(samples.map(({ labels }) => labels)).toEqual([[0], [1], [2]]);
    }
  });

  test('may export an array of typed arrays, whose shapes follow from the model', async () => {
    const dataset = await open('export default [{ x: Float32Array.of(1, 2, 3, 4, 5, 6) }]');
    const [sample] = await allSamples(dataset);
    expect(inputOf(sample, 'x').shape).toEqual([2, 3]);
  });

  test('that never end are read up to the number of samples', async () => {
    const code = 'export default function* () { for (;;) yield { x: [[1, 2, 3]] } }';
    expect((await open(code, VECTOR, { samples: 5 })).count).toBe(5);
  });

  test.each([
    ['no default export', 'export const x = 1', 'E_DATA', /exports no batches/],
    ['a syntax error', 'export default [', 'E_DATA', /cannot be loaded/],
    ['an error of its own', 'export default () => { throw new Error("mine") }', 'E_DATA', /failed/],
    ['a function of nothing', 'export default () => 3', 'E_DATA', /nothing that yields/],
    ['no batch', 'export default []', 'E_EMPTY', /no batch/],
    ['a batch that is a number', 'export default [3]', 'E_DATA', /no object/],
    ['another name', 'export default [{ y: [1] }]', 'E_DATA', /no input named y/],
    ['another length', 'export default [{ x: Float32Array.of(1, 2) }]', 'E_SHAPE', /follow from its length/],
    ['another shape', 'export default [{ x: { data: Float32Array.of(1, 2), shape: [3] } }]', 'E_SHAPE', /./],
    ['a shape of words', 'export default [{ x: { data: [1], shape: ["a"] } }]', 'E_SHAPE', /list of sizes/],
    ['an unknown type', 'export default [{ x: { data: Float32Array.of(1), type: "f99" } }]', 'E_DTYPE', /./],
    ['NaN', 'export default [{ x: Float32Array.of(1, NaN, 2) }]', 'E_NONFINITE', /batch 1/],
    ['an empty file', '', 'E_EMPTY', /empty/],
  ])('with %s are refused', async (_, code, expected, message) => {
    await expect(open(code)).rejects.toMatchObject({
      code: expected,
      message: expect.stringMatching(message),
      details: { file: expect.stringContaining('module-') },
    });
  });
});

describe('no data', () => {
  test('is made up, seeded, different in each sample, marked, and says what it costs', async () => {
    const dataset = await openDataset(await parseDataSpec(undefined), VECTOR, { samples: 3 });
    expect(dataset.synthetic).toBe(true);
    expect(dataset.notes.join()).toMatch(/made up.*Give data/);
    const values = (await allSamples(dataset)).map((sample) => inputOf(sample, 'x').values.join());
    expect(new Set(values).size).toBe(3);
    expect((await allSamples(dataset)).map((sample) => inputOf(sample, 'x').values.join())).toEqual(values);
  });

  test('stays inside the vocabulary, with an empty cache', async () => {
    const hints = { indexBound: new Map([['input_ids', 7]]), channels: new Map(), features: new Map() };
    const [sample] = await allSamples(await openDataset({ kind: 'synthetic' }, DECODER, { hints }));
    expect(Math.max(...inputOf(sample, 'input_ids').values)).toBeLessThan(7);
    expect(inputOf(sample, 'past_key_values.0.key').shape).toEqual([1, 4, 0, 32]);
  });
});
