/** Solution files: the layouts that others read, what comes back, and what is refused. */

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { compareModels } from '../../../src/compress/compare.ts';
import type { CompressOptions, ModeResult } from '../../../src/compress/options.ts';
import { digestOf, takeOver } from '../../../src/compress/solve/apply-solution.ts';
import type { StoredLayer } from '../../../src/compress/solve/solution-file.ts';
import type { Solution } from '../../../src/compress/solve/solution-reader.ts';
import { findTargets } from '../../../src/compress/solve/targets.ts';
import { compress } from '../../../src/compress.ts';
import { f16BitsToF32 } from '../../../src/core/floats.ts';
import { openOnnx } from '../../../src/formats/onnx/open.ts';
import { NF4_LEVELS } from '../../../src/numerics/encodings/codebooks.ts';
import { planCompression } from '../../../src/planning/plan-onnx.ts';
import type { Recipe, Scheme } from '../../../src/planning/recipe.ts';
import { floats, withFolder, writeModel } from '../../formats/build-onnx.ts';
import { network, tokens } from './small-network.ts';

function recipe(name: string, scheme: Scheme): Recipe {
  return { name, suffix: `_${name}`, rules: [{ match: {}, scheme }] };
}

const nbits = (bits: 2 | 4, symmetric: boolean, zeroPoints?: 'real'): Scheme => ({
  as: 'matmul-nbits',
  bits,
  blockSize: 16,
  symmetric,
  accuracyLevel: 0,
  zeroPoints,
});
const q4 = recipe('q4', nbits(4, false));
const blocks = recipe('blocks', { as: 'qdq', type: 'uint4', granularity: 'block', blockSize: 16 });
const nf4 = recipe('nf4', { as: 'bnb4', codebook: 'nf4', blockSize: 64 });

async function run(file: string, options: CompressOptions): Promise<ModeResult> {
  const { results } = await compress(file, { verify: false, threads: 1, force: true, ...options });
  const [result] = results;
  if (result === undefined) throw new Error('nothing was written');
  return result;
}

const fileOf = (result: ModeResult): Promise<Buffer> => readFile(result.files[0]?.path ?? '');

interface Tensor {
  readonly dtype: string;
  readonly shape: number[];
  readonly view: DataView;
}

/** The specification, by hand: length, JSON, bytes. */
async function safetensors(path: string): Promise<{ tensors: Map<string, Tensor>; metadata: unknown }> {
  const bytes = await readFile(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const {
    __metadata__: metadata,
    ...entries
  }: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> = JSON.parse(
    bytes.toString('utf8', 8, 8 + length),
  );
  const tensors = new Map<string, Tensor>();
  for (const [
    name,
    {
      dtype,
      shape,
      data_offsets: [begin, end],
    },
  ] of Object.entries(entries)) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + 8 + length + begin, end - begin);
    tensors.set(name, { dtype, shape, view });
  }
  return { tensors, metadata };
}

describe('a place for the solution that will not do', () => {
  test('is refused before the data is run: a file that is there, the model, the output, the solution taken over', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, network());
      const before = await readFile(file);
      const there = join(folder, 'there.safetensors');
      await writeFile(there, 'mine');
      const output = join(folder, 'out.onnx');
      const seen: string[] = [];
      const attempt = (more: Partial<CompressOptions>): Promise<unknown> =>
        compress(file, {
          to: [q4],
          output,
          algorithm: 'gptq',
          data: tokens,
          verify: false,
          threads: 1,
          onProgress: ({ phase = '' }) => seen.push(phase),
          ...more,
        });
      await expect(attempt({ saveSolution: there })).rejects.toMatchObject({ code: 'E_OUTPUT_EXISTS' });
      await expect(attempt({ saveSolution: file, force: true })).rejects.toMatchObject({
        code: 'E_OUTPUT_IS_INPUT',
      });
      await expect(attempt({ saveSolution: output })).rejects.toMatchObject({
        code: 'E_USAGE',
        message: expect.stringContaining('one file'),
      });
      const given = join(folder, 'w.safetensors');
      await attempt({ saveSolution: given });
      seen.length = 0;
      await expect(attempt({ saveSolution: given, solution: given, force: true })).rejects.toMatchObject({
        code: 'E_USAGE',
        message: expect.stringContaining('taken over'),
      });
      expect(seen.filter((phase) => phase.startsWith('gptq'))).toEqual([]);
      expect(Buffer.compare(await readFile(file), before)).toBe(0);
      expect(await readFile(there, 'utf8')).toBe('mine');
    });
  });
});

describe('the file that --save-solution writes', () => {
  test('GPTQ’s layout, read by hand, gives the weights that stand in the ONNX file', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, network());
      const saved = join(folder, 'w.safetensors');
      const result = await run(file, {
        to: [q4],
        algorithm: 'gptq-act-order',
        data: tokens,
        saveSolution: saved,
      });
      const { tensors, metadata } = await safetensors(saved);
      expect(metadata).toEqual({
        format: 'pt',
        quant_method: 'gptq',
        checkpoint_format: 'gptq_v2',
        desc_act: 'false',
        bits: '4',
        group_size: '16',
        sym: 'false',
      });
      const of = (name: string): Tensor => tensors.get(`w1.${name}`)!;
      expect(of('qweight')).toMatchObject({ dtype: 'I32', shape: [4, 40] });
      expect(of('qzeros')).toMatchObject({ dtype: 'I32', shape: [2, 5] });
      expect(of('scales')).toMatchObject({ dtype: 'F16', shape: [2, 40] });
      expect(of('g_idx')).toMatchObject({ dtype: 'I32', shape: [32] });
      // w[k, n] = (code − zero) · scale, with f16 scales as other readers have them.
      const weight = new Float64Array(32 * 40);
      for (let k = 0; k < 32; k++) {
        const group = of('g_idx').view.getInt32(k * 4, true);
        for (let n = 0; n < 40; n++) {
          const code = (of('qweight').view.getInt32(((k >> 3) * 40 + n) * 4, true) >>> ((k & 7) * 4)) & 15;
          const zero = (of('qzeros').view.getInt32((group * 5 + (n >> 3)) * 4, true) >>> ((n & 7) * 4)) & 15;
          const at = group * 40 + n;
          expect(f16BitsToF32(of('scales').view.getUint16(at * 2, true))).toBeCloseTo(
            of('scales_f32').view.getFloat32(at * 4, true),
            3,
          );
          weight[k * 40 + n] = (code - zero) * of('scales_f32').view.getFloat32(at * 4, true);
        }
      }
      const sqnr = await sqnrOf(file, weight, 'w1');
      expect(sqnr).toBeCloseTo(result.weights.find(({ tensor }) => tensor === 'w1')?.sqnr ?? 0, 3);
    });
  });

  test('a code book lies as bitsandbytes saves it', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, network());
      const saved = join(folder, 'w.safetensors');
      const result = await run(file, { to: [nf4], algorithm: 'fit', saveSolution: saved });
      const { tensors, metadata } = await safetensors(saved);
      expect(metadata).toEqual({ format: 'pt' });
      const packed = tensors.get('w2.weight')!;
      const absmax = tensors.get('w2.weight.absmax')!;
      expect(packed).toMatchObject({ dtype: 'U8', shape: [(48 * 40) / 2, 1] });
      const state = tensors.get('w2.weight.quant_state.bitsandbytes__nf4')!;
      expect(
        JSON.parse(Buffer.from(state.view.buffer, state.view.byteOffset, state.view.byteLength).toString()),
      ).toEqual({
        quant_type: 'nf4',
        blocksize: 64,
        dtype: 'float32',
        shape: [48, 40],
      });
      // w2 is stored [N, K] already.
      const weight = Float64Array.from({ length: 48 * 40 }, (_, i) => {
        const byte = packed.view.getUint8(i >> 1);
        return NF4_LEVELS[i % 2 === 0 ? byte >> 4 : byte & 15]! * absmax.view.getFloat32((i >> 6) * 4, true);
      });
      const sqnr = await sqnrOf(file, weight, 'w2');
      expect(sqnr).toBeCloseTo(result.weights.find(({ tensor }) => tensor === 'w2')?.sqnr ?? 0, 3);
    });
  });
});

/** dB of a weight of the original against values in its stored order. */
async function sqnrOf(file: string, values: Float64Array, name: string): Promise<number> {
  const { openOnnx } = await import('../../../src/formats/onnx/open.ts');
  const model = await openOnnx(file);
  const tensor = model.proto.graph?.initializer.find((one) => one.name === name);
  const bytes = tensor && (await model.readTensor(tensor));
  await model.close();
  const view = new DataView(bytes!.buffer, bytes!.byteOffset, bytes!.byteLength);
  let signal = 0;
  let noise = 0;
  for (const [i, value] of values.entries()) {
    const original = view.getFloat32(i * 4, true);
    signal += original ** 2;
    noise += (original - value) ** 2;
  }
  return 10 * Math.log10(signal / noise);
}

describe('what --solution takes over', () => {
  test.each([
    ['packed zero points', q4],
    ['real zero points', recipe('real', nbits(2, false, 'real'))],
    ['symmetric', recipe('symmetric', nbits(4, true))],
    ['a code book', nf4],
    ['filters in blocks', blocks],
    [
      '7 bits',
      recipe('seven', { as: 'dynamic-int8', weightType: 'int8', perChannel: true, reduceRange: true }),
    ],
  ])('%s: the file is the one that solving gave, byte for byte', async (_, to) => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, network());
      const solution = join(folder, 'w.safetensors');
      const first = await run(file, { to: [to], algorithm: 'gptq', data: tokens, saveSolution: solution });
      const solved = await fileOf(first);
      const again = await run(file, { to: [to], solution });
      expect(Buffer.compare(await fileOf(again), solved)).toBe(0);
      expect(again.solved).toMatchObject({ algorithm: 'gptq', data: 'tokens in turn' });
      expect(again.solved?.layers.map(({ errorAfter }) => errorAfter)).toEqual(
        again.solved?.layers.map(
          ({ layer }) => first.solved?.layers.find((one) => one.layer === layer)?.errorAfter,
        ),
      );
    });
  });

  test('the same codes go into another form, and what is missing is solved', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, network());
      const solution = join(folder, 'w.safetensors');
      await run(file, { to: [q4], algorithm: 'gptq', data: tokens, saveSolution: solution });
      const alone = await run(file, { to: [blocks], solution });
      expect(alone.notes.join('\n')).toContain('2 weights are not in the solution: rounded to nearest.');
      const both = await run(file, { to: [blocks], solution, algorithm: 'fit' });
      expect(both.solved?.layers.map(({ layer, algorithm }) => [layer, algorithm]).sort()).toEqual([
        ['cw', 'fit'],
        ['table', 'fit'],
        ['w1', 'gptq'],
        ['w2', 'gptq'],
      ]);
      const packed = await run(file, { to: [q4], solution });
      const { weights } = await compareModels(packed.files[0]?.path ?? '', both.files[0]?.path ?? '', {
        verify: false,
      });
      for (const name of ['w1', 'w2']) expect(weights.find((one) => one.name === name)?.sqnr).toBe(Infinity);
    });
  });

  test('real zero points that f16 is too coarse for take the grid that solving would have given; scales beyond it are refused', async () => {
    await withFolder(async (folder) => {
      const values = Float32Array.from({ length: 32 * 40 }, (_, i) => (i < 16 * 40 ? 3 : -2));
      const plain = network();
      plain.graph?.initializer.splice(1, 1, floats('w1', [32, 40], [...values]));
      await using model = await openOnnx(await writeModel(folder, plain));
      const half: Recipe = { ...recipe('half', nbits(4, false, 'real')), fp16: { keepIoTypes: true } };
      const planned = await planCompression(model, half, { fileName: 'half.onnx' });
      const targets = findTargets(model, planned).targets.filter(({ layer }) => layer.name === 'w1');
      const taken = (scale: number, zero: number) => {
        const stored: StoredLayer = {
          ...{ weight: 'w1', name: 'w1', source: digestOf(values), outputs: 40, inputs: 32 },
          ...{ bits: 4, groupSize: 16, algorithm: 'fit', errorBefore: 0, errorAfter: 0 },
        };
        const solution: Solution = {
          file: 'w.safetensors',
          algorithm: 'fit',
          layers: new Map([[targets[0]?.layer.key ?? '', stored]]),
          read: async () => ({
            ...{ outputs: 40, inputs: 32, bits: 4, groupSize: 16, symmetric: false },
            codes: new Uint8Array(32 * 40),
            scales: new Float32Array(80).fill(scale),
            zeroPoints: Float32Array.from({ length: 80 }, (_, i) => (i % 2 === 0 ? -zero : (zero * 2) / 3)),
          }),
          [Symbol.asyncDispose]: async () => {},
        };
        return takeOver(targets, solution, async () => values);
      };
      for (const [scale, zero] of [
        [2 ** -20, 3 * 2 ** 20],
        [2 ** -9, 3 * 2 ** 9],
      ] as const) {
        const found = (await taken(scale, zero)).solved.get(targets[0]?.layer.key ?? '')?.values ?? [];
        for (const [i, value] of found.entries()) expect(value).toBeCloseTo(values[i] ?? 0, 2);
      }
      await expect(taken(1e5, 0)).rejects.toMatchObject({ code: 'E_SHAPE', details: { tensor: 'w1' } });
    });
  });

  const mismatched: readonly [string, Recipe, string, string][] = [
    ['another width', recipe('q2', nbits(2, false)), 'E_SHAPE', '2 bits, groups of 16'],
    ['another form of zero points', recipe('symmetric', nbits(4, true)), 'E_SHAPE', 'a symmetric grid'],
    ['a code book', nf4, 'E_SHAPE', 'nf4 blocks of 64'],
  ];
  test.each(mismatched)('%s is refused, with both sides named', async (_, to, code, expected) => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, network());
      const solution = join(folder, 'w.safetensors');
      await run(file, { to: [q4], algorithm: 'fit', saveSolution: solution });
      await expect(run(file, { to: [to], solution })).rejects.toMatchObject({
        code,
        details: { file: solution, expected: expect.stringContaining(expected) },
      });
    });
  });

  test('other weights, other files and damaged ones are refused', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, network());
      const solution = join(folder, 'w.safetensors');
      await run(file, { to: [q4], algorithm: 'fit', saveSolution: solution });
      const whole = await readFile(solution);
      const attempt = async (bytes: Uint8Array, model = file): Promise<CompressOptions['solution']> => {
        await writeFile(solution, bytes);
        return run(model, { to: [q4], solution }).then(
          () => 'accepted',
          ({ code }: { code: string }) => code,
        );
      };
      expect(await attempt(whole, await writeModel(folder, network(), { name: 'other.onnx' }))).toBe(
        'E_INPUT_CHANGED',
      );
      expect(await attempt(whole.subarray(0, -9))).toBe('E_TRUNCATED');
      expect(await attempt(replaced(whole, '"version":1', '"version":2'))).toBe('E_VERSION');
      expect(await attempt(replaced(whole, 'whittle.solution', 'whittle.solutiom'))).toBe('E_DATA');
      expect(await attempt(replaced(whole, '"groupSize":16', '"groupSize":-6'))).toBe('E_DATA');
      expect(await attempt(replaced(whole, 'w1.qweight', 'w1.qweighs'))).toBe('E_DATA');
      expect(await attempt(replaced(whole, '"weight":"w1"', '"weight":"w2"'))).toBe('E_DUPLICATE');
      expect(await attempt(replaced(whole, '"inputs":32', '"inputs":48'))).toBe('E_SHAPE');
      expect(await attempt(new Uint8Array())).toBe('E_EMPTY');
      expect(await attempt(whole)).toBe('accepted');
    });
  });

  test('options that contradict each other are E_USAGE', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, network());
      const saveSolution = join(folder, 'w.safetensors');
      const wrong: CompressOptions[] = [
        { to: [q4, blocks], algorithm: 'fit', saveSolution },
        { to: [q4], saveSolution },
      ];
      for (const options of wrong)
        await expect(compress(file, { ...options, verify: false })).rejects.toMatchObject({
          code: 'E_USAGE',
        });
    });
  });
});

/** Replaces text by text of the same length. */
function replaced(bytes: Buffer, from: string, to: string): Buffer {
  const copy = Buffer.from(bytes);
  const at = copy.indexOf(from);
  expect(at).toBeGreaterThan(0);
  copy.write(to, at);
  return copy;
}
