import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseNpy, readInputFile } from '../../src/calibration/data/input-files.ts';
import { makeTensor, tensorValues } from '../../src/calibration/data/tensor-values.ts';
import { onnxruntimeNode } from '../../src/runtime/onnxruntime-node.ts';
import type { RuntimeTensor, RuntimeValueInfo } from '../../src/runtime/runtime.ts';
import { proveAgainst, proveModel, runReference } from '../../src/verify/prove.ts';
import { compareTensors } from '../../src/verify/similarity.ts';
import {
  floats,
  graph,
  linearModel,
  model,
  node,
  value,
  withFolder,
  writeModel,
} from '../formats/build-onnx.ts';

const runtime = onnxruntimeNode();

function scaled(weights: readonly number[]) {
  const proto = linearModel(2, 2);
  proto.graph!.initializer = [floats('w', [2, 2], weights), floats('b', [2], [0, 0])];
  return proto;
}

describe('proof', () => {
  test('a model equals itself: cosine 1, nothing differs', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, scaled([1, 2, 3, 4]));
      const proof = await proveModel(file, file, { runtime, runs: 2 });
      expect(proof.outputs).toEqual([{ name: 'y', cosine: 1, sqnr: Infinity, maxAbs: 0, equal: 1 }]);
      expect(proof.cosine).toBe(1);
      expect(proof.msOriginal).toBeGreaterThan(0);
      expect(proof.inputs).toBe('x 1×2 (synthetic, seeded, 3 samples)');
    });
  });

  test('one reference serves many results, and a worse result scores worse', async () => {
    await withFolder(async (folder) => {
      const original = await writeModel(folder, scaled([1, 2, 3, 4]), { name: 'a.onnx' });
      const near = await writeModel(folder, scaled([1.01, 2, 3, 4]), { name: 'b.onnx' });
      const far = await writeModel(folder, scaled([-1, 2, -3, 4]), { name: 'c.onnx' });
      const reference = await runReference(original, { runtime, runs: 1 });
      const nearProof = await proveAgainst(reference, near, { runtime, runs: 1 });
      const farProof = await proveAgainst(reference, far, { runtime, runs: 1 });
      expect(nearProof.cosine).toBeGreaterThan(0.999);
      expect(nearProof.cosine).toBeLessThan(1);
      expect(farProof.sqnr).toBeLessThan(nearProof.sqnr);
    });
  });

  test('a result with NaN is E_VERIFICATION, and so is one with another shape or without an output', async () => {
    await withFolder(async (folder) => {
      const original = await writeModel(folder, scaled([1, 2, 3, 4]), { name: 'a.onnx' });
      const reference = await runReference(original, { runtime, runs: 1 });
      const broken = await writeModel(folder, scaled([Number.NaN, 2, 3, 4]), { name: 'nan.onnx' });
      await expect(proveAgainst(reference, broken, { runtime })).rejects.toMatchObject({
        code: 'E_VERIFICATION',
        details: { file: broken, tensor: 'y' },
      });
      const wide = await writeModel(folder, linearModel(2, 3), { name: 'wide.onnx' });
      await expect(proveAgainst(reference, wide, { runtime })).rejects.toMatchObject({
        code: 'E_VERIFICATION',
      });
      const renamed = scaled([1, 2, 3, 4]);
      renamed.graph!.node[1]!.output = ['z'];
      renamed.graph!.output = [value('z', 'f32', ['n', 2])];
      const gone = await writeModel(folder, renamed, { name: 'gone.onnx' });
      await expect(proveAgainst(reference, gone, { runtime })).rejects.toMatchObject({
        code: 'E_VERIFICATION',
      });
    });
  });

  test('sizes are tried until the original runs', async () => {
    await withFolder(async (folder) => {
      // The product takes rows of 64 values only.
      const proto = model(
        graph({
          nodes: [node('MatMul', ['x', 'w'], ['y'])],
          initializers: [
            floats(
              'w',
              [64, 2],
              Array.from({ length: 128 }, (_, i) => (i % 5) - 2),
            ),
          ],
          inputs: [value('x', 'f32', ['batch', 'sequence'])],
          outputs: [value('y', 'f32', ['batch', 2])],
        }),
      );
      const file = await writeModel(folder, proto);
      const reference = await runReference(file, { runtime, runs: 1 });
      expect(reference.inputs[0]?.get('x')?.shape).toEqual([1, 64]);
    });
  });

  test('where nothing fits, E_RUNTIME says which inputs the model has and how to give one', async () => {
    await withFolder(async (folder) => {
      const proto = model(
        graph({
          nodes: [node('MatMul', ['x', 'w'], ['y'])],
          initializers: [floats('w', [77, 2], new Array(154).fill(0.5))],
          inputs: [value('x', 'f32', ['batch', 'sequence'])],
          outputs: [value('y', 'f32', ['batch', 2])],
        }),
      );
      const file = await writeModel(folder, proto);
      await expect(runReference(file, { runtime, runs: 1 })).rejects.toMatchObject({
        code: 'E_RUNTIME',
        details: { expected: 'x f32 batch×sequence', hint: expect.stringContaining('--shape') },
      });
      const given = await runReference(file, { runtime, runs: 1, shapes: { x: [3, 77] } });
      expect(given.inputs[0]?.get('x')?.shape).toEqual([3, 77]);
    });
  });

  test('real inputs are taken from files', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, scaled([1, 2, 3, 4]));
      const json = join(folder, 'x.json');
      await writeFile(json, '[[1, 2], [3, 4]]');
      const reference = await runReference(file, { runtime, runs: 1, inputs: { x: json } });
      expect(reference.description).toBe('x 2×2 (given)');
      expect([...tensorValues(reference.outputs[0]!.get('y')!)]).toEqual([7, 10, 15, 22]);
      await expect(runReference(file, { runtime, inputs: { nope: json } })).rejects.toMatchObject({
        code: 'E_USAGE',
      });
    });
  });
});

describe('similarity', () => {
  const compare = (a: number[], b: number[]) =>
    compareTensors('y', makeTensor('f32', [a.length], a), makeTensor('f32', [b.length], b));

  test('follows the definitions', () => {
    const { cosine, sqnr, maxAbs, equal } = compare([3, 4], [3, 5]);
    expect(cosine).toBeCloseTo(29 / (5 * Math.sqrt(34)), 12);
    expect(sqnr).toBeCloseTo(10 * Math.log10(25), 12);
    expect(maxAbs).toBe(1);
    expect(equal).toBe(0.5);
  });

  test('masks of −∞ on both sides are equal; NaN on both sides is left out', () => {
    expect(compare([-Infinity, 1, Number.NaN], [-Infinity, 1, Number.NaN]).cosine).toBe(1);
  });

  test('an overflow on one side is E_VERIFICATION', () => {
    expect(() => compare([1], [Infinity])).toThrow(expect.objectContaining({ code: 'E_VERIFICATION' }));
    expect(() => compare([Number.NaN], [1])).toThrow(expect.objectContaining({ code: 'E_VERIFICATION' }));
  });

  test('zero against something is 0, zero against zero is 1, float types may differ', () => {
    expect(compare([0, 0], [1, 0]).cosine).toBe(0);
    expect(compare([0, 0], [0, 0]).cosine).toBe(1);
    const half = compareTensors('y', makeTensor('f32', [2], [1, 2]), makeTensor('f16', [2], [1, 2]));
    expect(half.cosine).toBe(1);
  });
});

describe('input files', () => {
  const info: RuntimeValueInfo = { name: 'x', dtype: 'f32', shape: ['n', 2] };
  const npy = (header: string, data: Uint8Array): Uint8Array => {
    const text = new TextEncoder().encode(header);
    const bytes = new Uint8Array(10 + text.length + data.length);
    bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, text.length & 255, text.length >> 8]);
    bytes.set(text, 10);
    bytes.set(data, 10 + text.length);
    return bytes;
  };
  const doubles = new Uint8Array(new Float64Array([1, 2, 3, 4]).buffer);

  async function read(name: string, content: Uint8Array | string): Promise<RuntimeTensor> {
    return withFolder(async (folder) => {
      const file = join(folder, name);
      await writeFile(file, content);
      return readInputFile(file, info, undefined);
    });
  }

  test('.npy is converted to the type of the input', async () => {
    const tensor = await read(
      'x.npy',
      npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }\n", doubles),
    );
    expect(tensor).toEqual(makeTensor('f32', [2, 2], [1, 2, 3, 4]));
  });

  test('raw bytes fill the one open dimension', async () => {
    const tensor = await read('x.bin', new Uint8Array(new Float32Array([1, 2, 3, 4]).buffer));
    expect(tensor.shape).toEqual([2, 2]);
  });

  test.each([
    [
      'object arrays',
      'x.npy',
      npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", new Uint8Array(8)),
      'E_DTYPE',
    ],
    [
      'big-endian arrays',
      'x.npy',
      npy("{'descr': '>f8', 'fortran_order': False, 'shape': (2, 2), }", doubles),
      'E_DTYPE',
    ],
    [
      'Fortran order',
      'x.npy',
      npy("{'descr': '<f8', 'fortran_order': True, 'shape': (2, 2), }", doubles),
      'E_SHAPE',
    ],
    [
      'a body that is too short',
      'x.npy',
      npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }", doubles),
      'E_SHAPE',
    ],
    [
      'another rank',
      'x.npy',
      npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4,), }", doubles),
      'E_SHAPE',
    ],
    ['no .npy at all', 'x.npy', 'hello', 'E_NOT_A_MODEL'],
    ['broken JSON', 'x.json', '[1, 2', 'E_NOT_A_MODEL'],
    ['ragged JSON', 'x.json', '[[1, 2], [3]]', 'E_SHAPE'],
    ['text in JSON', 'x.json', '[["a", 2]]', 'E_SHAPE'],
    ['raw bytes that fill no shape', 'x.bin', new Uint8Array(7), 'E_SHAPE'],
  ])('%s: %s is refused', async (_what, name, content, code) => {
    await expect(read(name, content)).rejects.toMatchObject({ code, details: { tensor: 'x' } });
  });

  test('a file that is not there is E_NOT_FOUND', async () => {
    await expect(readInputFile('/nowhere/x.npy', info, undefined)).rejects.toMatchObject({
      code: 'E_NOT_FOUND',
    });
  });

  test('a .npy cut anywhere in its header is refused with a code', () => {
    const whole = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }", doubles);
    for (let length = 0; length < whole.length - doubles.length; length++) {
      expect(() => parseNpy(whole.subarray(0, length))).toThrow(
        expect.objectContaining({ name: 'WhittleError' }),
      );
    }
  });
});
