/** One suite for every `Runtime`: onnxruntime-node and onnxruntime-web. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { makeTensor, tensorValues } from '../../src/calibration/data/tensor-values.ts';
import type { DType } from '../../src/core/dtype.ts';
import { onnxruntimeNode } from '../../src/runtime/onnxruntime-node.ts';
import { loadError } from '../../src/runtime/onnxruntime-tensors.ts';
import { onnxruntimeWeb } from '../../src/runtime/onnxruntime-web.ts';
import type { Runtime } from '../../src/runtime/runtime.ts';
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

const RUNTIMES: readonly (readonly [string, () => Runtime])[] = [
  ['onnxruntime-node', onnxruntimeNode],
  ['onnxruntime-web', () => onnxruntimeWeb()],
];

const DTYPES: readonly DType[] = [
  'f32',
  'f64',
  'f16',
  'int64',
  'int32',
  'int16',
  'int8',
  'uint64',
  'uint32',
  'uint16',
  'uint8',
  'bool',
];
/** Types that Identity does not accept in every engine build are carried through Cast-free graphs all the same. */
const identity = (dtype: DType) =>
  model(
    graph({
      nodes: [node('Identity', ['x'], ['y'])],
      inputs: [value('x', dtype, ['n', 2])],
      outputs: [value('y', dtype, ['n', 2])],
    }),
  );

describe.each(RUNTIMES)('%s', (name, create) => {
  test('tells its name and version', async () => {
    const runtime = create();
    expect(runtime.name).toBe(name);
    expect(await runtime.version()).toMatch(/^\d+\.\d+/);
  });

  test('runs a matrix product and tells inputs and outputs', async () => {
    await withFolder(async (folder) => {
      const proto = linearModel(2, 2);
      proto.graph!.initializer = [floats('w', [2, 2], [1, 2, 3, 4]), floats('b', [2], [10, 20])];
      const session = await create().load(await writeModel(folder, proto));
      expect(session.inputs).toEqual([{ name: 'x', dtype: 'f32', shape: ['n', 2] }]);
      expect(session.outputs.map((output) => output.name)).toEqual(['y']);
      const outputs = await session.run(new Map([['x', makeTensor('f32', [1, 2], [1, 1])]]));
      expect([...tensorValues(outputs.get('y')!)]).toEqual([14, 26]);
      await session.close();
      await session.close();
    });
  });

  test('finds external data beside the model', async () => {
    await withFolder(async (folder) => {
      const proto = linearModel(32, 16);
      proto.graph!.initializer[0] = floats(
        'w',
        [32, 16],
        Array.from({ length: 512 }, (_, i) => i % 7),
      );
      proto.graph!.initializer[1] = floats('b', [16], new Array(16).fill(1));
      const embedded = await create().load(await writeModel(folder, proto, { name: 'a.onnx' }));
      const external = await create().load(
        await writeModel(folder, proto, { name: 'b.onnx', external: true }),
      );
      const inputs = new Map([
        [
          'x',
          makeTensor(
            'f32',
            [1, 32],
            Array.from({ length: 32 }, (_, i) => i / 8),
          ),
        ],
      ]);
      expect((await external.run(inputs)).get('y')).toEqual((await embedded.run(inputs)).get('y'));
      await embedded.close();
      await external.close();
    });
  });

  test.each(DTYPES)('carries %s unchanged', async (dtype) => {
    await withFolder(async (folder) => {
      const session = await create().load(await writeModel(folder, identity(dtype)));
      const tensor = makeTensor(dtype, [2, 2], [0, 1, 1, 0]);
      // An unaligned view, as it comes out of a file.
      const padded = new Uint8Array(tensor.data.length + 1);
      padded.set(tensor.data, 1);
      const outputs = await session.run(new Map([['x', { ...tensor, data: padded.subarray(1) }]]));
      expect(outputs.get('y')).toEqual(tensor);
      await session.close();
    });
  });

  test('refuses what is no model with E_RUNTIME and its own words', async () => {
    await withFolder(async (folder) => {
      const file = join(folder, 'x.onnx');
      await writeFile(file, 'hello, this is no model');
      await expect(create().load(file)).rejects.toMatchObject({ code: 'E_RUNTIME', details: { file } });
    });
  });

  test('a wrong input is E_RUNTIME, bytes that do not fill the shape are E_SHAPE', async () => {
    await withFolder(async (folder) => {
      const session = await create().load(await writeModel(folder, linearModel(2, 2)));
      await expect(session.run(new Map([['x', makeTensor('f32', [1, 3], [1, 2, 3])]]))).rejects.toMatchObject(
        {
          code: 'E_RUNTIME',
        },
      );
      const short = { dtype: 'f32', shape: [1, 2], data: new Uint8Array(4) } as const;
      await expect(session.run(new Map([['x', short]]))).rejects.toMatchObject({ code: 'E_SHAPE' });
      await session.close();
    });
  });

  test('stops at an aborted signal with E_ABORTED', async () => {
    await withFolder(async (folder) => {
      const session = await create().load(await writeModel(folder, linearModel(2, 2)));
      const inputs = new Map([['x', makeTensor('f32', [1, 2], [1, 2])]]);
      await expect(session.run(inputs, { signal: AbortSignal.abort() })).rejects.toMatchObject({
        code: 'E_ABORTED',
      });
      await session.close();
    });
  });
});

test('an engine that is not installed is E_MISSING_PEER with the command that installs it', () => {
  const missing = Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' });
  const error = loadError('onnxruntime-node', missing);
  expect(error.code).toBe('E_MISSING_PEER');
  expect(error.details.hint).toContain('npm install onnxruntime-node');
  expect(loadError('onnxruntime-node', new Error('bad ELF')).code).toBe('E_RUNTIME');
});
