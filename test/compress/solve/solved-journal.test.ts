/** A run that is stopped while it solves goes on where it was, and gives the same file. */

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Dataset } from '../../../src/calibration/data/dataset.ts';
import type { CompressOptions } from '../../../src/compress/options.ts';
import { compress } from '../../../src/compress.ts';
import { createRandom } from '../../../src/core/random.ts';
import { isWhittleError, type WhittleError } from '../../../src/errors.ts';
import type { ModelProto } from '../../../src/formats/onnx/messages.ts';
import type { Recipe } from '../../../src/planning/recipe.ts';
import { floats, graph, model, node, value, withFolder, writeModel } from '../../formats/build-onnx.ts';
import { normals } from '../../restore/networks.ts';
import { network, tokens } from './small-network.ts';

const blocks: Recipe = {
  name: 'blocks',
  rules: [{ match: {}, scheme: { as: 'qdq', type: 'uint4', granularity: 'block', blockSize: 16 } }],
};

function optionsFor(folder: string, more: Partial<CompressOptions> = {}): CompressOptions {
  const output = join(folder, 'out.onnx');
  return {
    to: [blocks],
    output,
    algorithm: 'gptq',
    data: tokens,
    journal: true,
    verify: false,
    threads: 1,
    ...more,
  };
}

/** Stops while a product is solved, by default the second, which leaves the convolution. */
async function stopped(file: string, options: CompressOptions, last = 'w2'): Promise<WhittleError> {
  const controller = new AbortController();
  const onProgress: CompressOptions['onProgress'] = ({ tensor, phase = '' }) => {
    if (tensor === last && /^(gptq|best)/.test(phase)) controller.abort();
  };
  try {
    await compress(file, { ...options, signal: controller.signal, onProgress });
  } catch (error) {
    if (isWhittleError(error)) return error;
    throw error;
  }
  throw new Error('it was not stopped');
}

const outputs = async (folder: string): Promise<string[]> =>
  (await readdir(folder)).filter((name) => name.startsWith('out')).sort();

describe('a run that is stopped while it solves', () => {
  test('keeps its layers, goes on with --resume, and gives the bytes of a run in one piece', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, network());
      const whole = join(folder, 'whole.onnx');
      await compress(file, optionsFor(folder, { output: whole, journal: false }));
      const error = await stopped(file, optionsFor(folder));
      expect(error.code).toBe('E_ABORTED');
      expect(error.details.hint).toMatch(/--resume to continue: [23] layers are solved/);
      expect(await outputs(folder)).toEqual(['out.onnx.solved']);
      const seen: string[] = [];
      const { results } = await compress(
        file,
        optionsFor(folder, { resume: true, onProgress: ({ tensor = '' }) => seen.push(tensor) }),
      );
      expect(results[0]?.notes.join('\n')).toContain('weights were taken over');
      expect(results[0]?.solved?.layers.map(({ layer }) => layer).sort()).toEqual([
        'cw',
        'table',
        'w1',
        'w2',
      ]);
      expect(Buffer.compare(await readFile(join(folder, 'out.onnx')), await readFile(whole))).toBe(0);
      expect(await outputs(folder)).toEqual(['out.onnx']);
    });
  });

  test('between two layers that go into one residual sum goes on towards the same sum', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, parallelBranches());
      const options = optionsFor(folder, { algorithm: 'best', data: rows });
      const whole = join(folder, 'whole.onnx');
      await compress(file, { ...options, output: whole, journal: false });
      const error = await stopped(file, options, 'w1');
      expect(error.details.hint).toMatch(/--resume to continue: 2 layers are solved/);
      await compress(file, { ...options, resume: true });
      expect(Buffer.compare(await readFile(join(folder, 'out.onnx')), await readFile(whole))).toBe(0);
    });
  });

  test('is E_RESUME with another algorithm, begins anew without --resume, and leaves what is not its own', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, network());
      await stopped(file, optionsFor(folder));
      const other = compress(file, optionsFor(folder, { resume: true, algorithm: 'gptq-act-order' }));
      await expect(other).rejects.toMatchObject({
        code: 'E_RESUME',
        message: expect.stringContaining('changed (algorithm)'),
        details: { expected: '"gptq"', found: '"gptq-act-order"' },
      });
      const { results } = await compress(file, optionsFor(folder));
      expect(results[0]?.notes.join('\n')).not.toContain('taken over');
      expect(await outputs(folder)).toEqual(['out.onnx']);
      const strange = join(folder, 'out.onnx.solved');
      await mkdir(strange);
      await writeFile(join(strange, 'mine.txt'), 'mine');
      await expect(compress(file, optionsFor(folder, { force: true }))).rejects.toMatchObject({
        code: 'E_OUTPUT_EXISTS',
      });
      expect(await readdir(strange)).toEqual(['mine.txt']);
    });
  });

  test('replaces the solution that it saved before it was stopped; another file in its place stays', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, network());
      const saveSolution = join(folder, 'w.safetensors');
      const options = optionsFor(folder, { saveSolution, to: [blocks] });
      await compress(file, { ...options, output: join(folder, 'first.onnx') });
      const saved = await readFile(saveSolution);
      await stopped(file, { ...options, force: true });
      await compress(file, { ...options, resume: true });
      expect(Buffer.compare(await readFile(saveSolution), saved)).toBe(0);
      await writeFile(saveSolution, 'mine');
      await stopped(file, { ...options, output: join(folder, 'out2.onnx'), saveSolution: undefined });
      const again = { ...options, output: join(folder, 'out2.onnx'), resume: true };
      await expect(compress(file, again)).rejects.toMatchObject({ code: 'E_OUTPUT_EXISTS' });
      expect(await readFile(saveSolution, 'utf8')).toBe('mine');
      expect(await outputs(folder)).toContain('out2.onnx.solved');
    });
  });

  test('a failure that more of the same would not help leaves nothing', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, network());
      const spoilt = { ...tokens, samples: () => badSamples() };
      await expect(compress(file, optionsFor(folder, { data: spoilt }))).rejects.toBeDefined();
      expect(await outputs(folder)).toEqual([]);
    });
  });
});

/** x + W1·f(x) + W2·f(x), as a decoder has it whose attention and MLP stand side by side; a layer before, and one behind. */
function parallelBranches(): ModelProto {
  const width = 32;
  const square = (name: string) => floats(name, [width, width], normals(width * width, 0.2));
  return model(
    graph({
      nodes: [
        node('MatMul', ['in', 'w0'], ['x']),
        node('Relu', ['x'], ['f']),
        node('MatMul', ['f', 'w1'], ['a']),
        node('MatMul', ['f', 'w2'], ['b']),
        node('Add', ['x', 'a'], ['s']),
        node('Add', ['s', 'b'], ['t']),
        node('MatMul', ['t', 'w3'], ['y']),
      ],
      initializers: ['w0', 'w1', 'w2', 'w3'].map(square),
      inputs: [value('in', 'f32', [6, width])],
      outputs: [value('y', 'f32', [6, width])],
    }),
    { opset: 21, ir: 10 },
  );
}

const rows: Dataset = {
  count: 20,
  description: 'rows of noise',
  synthetic: false,
  notes: [],
  async *samples() {
    const random = createRandom(5);
    for (let sample = 0; sample < 20; sample++) {
      const values = Float32Array.from({ length: 6 * 32 }, () => random.normal());
      const data = new Uint8Array(values.buffer);
      yield { inputs: new Map([['in', { dtype: 'f32' as const, shape: [6, 32], data }]]) };
    }
  },
};

async function* badSamples() {
  yield { inputs: new Map([['nobody', { dtype: 'int64' as const, shape: [1], data: new Uint8Array(8) }]]) };
}
