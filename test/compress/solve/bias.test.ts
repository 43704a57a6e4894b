/** `biasCorrection`: means of outputs come back in every form that a product takes, and the layout of the plan stays. */

import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Dataset } from '../../../src/calibration/data/dataset.ts';
import { compress } from '../../../src/compress.ts';
import type { ModelProto } from '../../../src/formats/onnx/messages.ts';
import { openOnnx } from '../../../src/formats/onnx/open.ts';
import { presetRecipe } from '../../../src/planning/presets.ts';
import type { Recipe } from '../../../src/planning/recipe.ts';
import { dataset, f32 } from '../../calibration/collect/runs.ts';
import {
  emptyTensor,
  floats,
  graph,
  model,
  node,
  tensor,
  value,
  withFolder,
  writeModel,
} from '../../formats/build-onnx.ts';
import { normals } from '../../rewrite/run.ts';

const C = 8;
const F = 32;

/** Conv and grouped Conv, Gemm, MatMul with an addition: each with a bias, inputs with a mean. */
function network(): ModelProto {
  return model(
    graph({
      nodes: [
        node('Conv', ['x', 'w1', 'b1'], ['c1'], { attributes: { pads: [1n, 1n, 1n, 1n] } }),
        node('Relu', ['c1'], ['r1']),
        node('Conv', ['r1', 'w2', 'b2'], ['c2'], { attributes: { group: 2n } }),
        node('Relu', ['c2'], ['r2']),
        node('GlobalAveragePool', ['r2'], ['p']),
        node('Flatten', ['p'], ['f']),
        node('Gemm', ['f', 'w3', 'b3'], ['g'], { attributes: { transB: 1n } }),
        node('Relu', ['g'], ['r3']),
        node('MatMul', ['r3', 'w4'], ['m']),
        node('Add', ['b4', 'm'], ['y']),
      ],
      initializers: [
        floats('w1', [C, C, 3, 3], normals(C * C * 9, 1, 0.2)),
        floats('b1', [C], normals(C, 2)),
        floats('w2', [F, C / 2, 1, 1], normals((F * C) / 2, 3, 0.3)),
        floats('b2', [F], normals(F, 4)),
        floats('w3', [F, F], normals(F * F, 5, 0.3)),
        floats('b3', [F], normals(F, 6)),
        floats('w4', [F, F], normals(F * F, 7, 0.3)),
        floats('b4', [F], normals(F, 8)),
      ],
      inputs: [value('x', 'f32', ['n', C, 6, 6])],
      outputs: [value('y', 'f32', ['n', F])],
    }),
  );
}

const data = (): Dataset =>
  dataset(
    Array.from({ length: 6 }, (_, i) => ({
      x: f32(
        [4, C, 6, 6],
        Float32Array.from(normals(4 * C * 36, 20 + i), (v) => v + 0.7),
      ),
    })),
  );

const coarse = (scheme: Recipe['rules'][number]['scheme']): Recipe => ({
  name: 'coarse',
  rules: [{ match: {}, scheme }],
});

const MODES: Record<string, { recipe: Recipe; biases: string[] }> = {
  'MatMulNBits, 2 bits': {
    recipe: coarse({ as: 'matmul-nbits', bits: 2, blockSize: 32, symmetric: false, accuracyLevel: 0 }),
    biases: ['b3', 'b4'],
  },
  'DequantizeLinear, 4 bits': {
    recipe: { ...presetRecipe('int4-qdq') },
    biases: ['b3', 'b4'],
  },
  'DequantizeLinear of whole tensors': {
    recipe: coarse({ as: 'qdq', type: 'int8', granularity: 'tensor', blockSize: 0 }),
    biases: ['b1', 'b2', 'b3', 'b4'],
  },
  'int8 activations, measured at run time': {
    recipe: presetRecipe('q8'),
    biases: ['b3', 'b4'],
  },
  'static int8, biases in int32': {
    recipe: presetRecipe('static-int8'),
    biases: ['b1_quantized', 'b2_quantized', 'b3_quantized'],
  },
};

describe('bias correction', () => {
  test.each(Object.entries(MODES))(
    'brings the means of outputs back: %s',
    async (_name, { recipe, biases }) => {
      await withFolder(async (folder) => {
        const path = await writeModel(folder, network(), { name: 'net.onnx' });
        const run = async (biasCorrection: boolean) => {
          const { results } = await compress(path, {
            to: [recipe],
            output: join(folder, `${biasCorrection}.onnx`),
            data: data(),
            algorithm: recipe.static === undefined ? 'rtn' : undefined,
            biasCorrection,
            threads: 1,
          });
          return results[0]!;
        };
        const plain = await run(false);
        const corrected = await run(true);
        expect(corrected.bytes).toBe(plain.bytes);
        expect(plain.biases).toBeUndefined();
        const names = corrected.biases?.map(({ bias }) => bias.replace(/_folded|_bias_add/g, '')) ?? [];
        expect(names).toEqual(expect.arrayContaining(biases));
        for (const { shiftBefore, shiftAfter } of corrected.biases ?? []) {
          expect(shiftAfter).toBeLessThan(Math.max(0.3 * shiftBefore, 2e-3));
        }
        expect(corrected.notes.join('\n')).toMatch(
          /Bias correction: \d+ biases; means of outputs were off by/,
        );
      });
    },
  );

  test('works on codes that an algorithm chose, and makes the same file twice', async () => {
    await withFolder(async (folder) => {
      const path = await writeModel(folder, network(), { name: 'net.onnx' });
      const bytes: Uint8Array[] = [];
      for (const name of ['a.onnx', 'b.onnx']) {
        const { results } = await compress(path, {
          to: ['q4'],
          output: join(folder, name),
          data: data(),
          algorithm: 'gptq',
          biasCorrection: true,
          threads: 1,
          sha256: true,
        });
        expect(results[0]?.solved?.algorithm).toBe('gptq');
        expect(results[0]?.biases?.length).toBe(2);
        await using written = await openOnnx(join(folder, name));
        const bias = written.proto.graph!.initializer.find((tensor) => tensor.name === 'b4')!;
        bytes.push(await written.readTensor(bias));
        expect(bytes.at(-1)).not.toEqual(new Uint8Array(Float32Array.from(normals(F, 8)).buffer));
      }
      expect(bytes[0]).toEqual(bytes[1]);
    });
  });

  test('a bias in half precision is corrected; one that is stored as varints stays, and the note says so', () =>
    withFolder(async (folder) => {
      const weights = Uint16Array.from({ length: 64 * 64 }, (_, i) => 0x2c00 + ((i * 7919) % 1023));
      const halves = Uint16Array.from({ length: 64 }, (_, i) => 0xb800 + i);
      const varints = [...halves].flatMap((v) => [(v & 127) | 128, ((v >> 7) & 127) | 128, v >> 14]);
      const raw = tensor('b', 'f16', [64], new Uint8Array(halves.buffer));
      const typed = {
        ...emptyTensor('b', 'f16', [64]),
        int32Data: { kind: 'inline', bytes: Uint8Array.from(varints) } as const,
      };
      const notes: string[] = [];
      for (const [name, bias] of [
        ['raw', raw],
        ['typed', typed],
      ] as const) {
        const proto = model(
          graph({
            nodes: [
              node('Cast', ['x'], ['h'], { attributes: { to: 10n } }),
              node('MatMul', ['h', 'w'], ['m']),
              node('Add', ['m', 'b'], ['a']),
              node('Cast', ['a'], ['y'], { attributes: { to: 1n } }),
            ],
            initializers: [tensor('w', 'f16', [64, 64], new Uint8Array(weights.buffer)), bias],
            inputs: [value('x', 'f32', ['n', 64])],
            outputs: [value('y', 'f32', ['n', 64])],
          }),
        );
        const { results } = await compress(await writeModel(folder, proto, { name: `${name}.onnx` }), {
          to: ['q4'],
          algorithm: 'rtn',
          biasCorrection: true,
          data: dataset([
            {
              x: f32(
                [4, 64],
                Float32Array.from(normals(256, 2), (v) => v + 1),
              ),
            },
          ]),
          output: join(folder, `${name}-q4.onnx`),
          threads: 1,
        });
        notes.push(results[0]!.notes.join(' '));
      }
      expect(notes[0]).toMatch(/Bias correction: 1 biases/);
      expect(notes[1]).toMatch(/left 1 biases as they were/);
    }));

  test('without data it is refused; without biases it says so', async () => {
    await withFolder(async (folder) => {
      const path = await writeModel(folder, network(), { name: 'net.onnx' });
      const options = { to: ['q4'], biasCorrection: true, threads: 1, output: join(folder, 'o.onnx') };
      const phases: string[] = [];
      const onProgress = ({ phase }: { phase: string }): void => void phases.push(phase);
      await expect(compress(path, { ...options, onProgress })).rejects.toMatchObject({ code: 'E_USAGE' });
      // Before any work.
      expect(phases).toEqual([]);
      const bare = model(
        graph({
          nodes: [node('MatMul', ['x', 'w'], ['y'])],
          initializers: [floats('w', [64, 64], normals(64 * 64, 1))],
          inputs: [value('x', 'f32', ['n', 64])],
          outputs: [value('y', 'f32', ['n', 64])],
        }),
      );
      const other = await writeModel(folder, bare, { name: 'bare.onnx' });
      const { results } = await compress(other, {
        ...options,
        data: dataset([{ x: f32([4, 64], Float32Array.from(normals(256, 2))) }]),
      });
      expect(results[0]?.notes.join('\n')).toMatch(/found no quantized product with a bias/);
    });
  });
});
