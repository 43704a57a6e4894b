/** Whatever call of the file system fails, an output is absent or perfect, and nothing lies beside it. */

import { expect, test } from 'vitest';
import { isWhittleError } from '../../src/errors.ts';
import { executeFiles } from '../../src/execution/execute.ts';
import type { OutputFile, TensorBytes } from '../../src/formats/layout.ts';
import type { Operation } from '../../src/numerics/operation.ts';
import type { Task } from '../../src/numerics/task.ts';
import { createFaultDisk, type FaultDisk, type FaultKind } from './fault-disk.ts';
import { layoutOf, weightBytes } from './run.ts';

const operation: Operation = {
  kind: 'matmul-nbits',
  from: 'f32',
  rows: 64,
  columns: 48,
  transposed: false,
  bits: 4,
  blockSize: 32,
  symmetric: false,
  scaleType: 'f32',
};
const bytes = weightBytes('f32', 64 * 48, 3);
const tasks: Task<TensorBytes>[] = [{ id: 0, tensor: 'w', source: { kind: 'inline', bytes }, operation }];
const { file: data } = layoutOf('m.onnx_data', [operation], 8);
const model: OutputFile = {
  name: 'm.onnx',
  size: 20,
  segments: [{ kind: 'bytes', offset: 0, bytes: new Uint8Array(16).fill(7) }],
};

const run = (disk: FaultDisk, force: boolean) =>
  executeFiles({ files: [model, data], tasks, target: { directory: '/out', force, disk }, threads: 1 });

const perfect = createFaultDisk(undefined);
const reference = run(perfect, false).then(() => new Map(perfect.files));

const KINDS: readonly FaultKind[] = ['ENOSPC', 'EIO', 'EDQUOT', 'short-then-ENOSPC'];

test.each(KINDS)('%s at the Nth call: nothing is left, for every N until the run succeeds', async (kind) => {
  const wanted = await reference;
  expect([...wanted.keys()].sort()).toEqual(['/out/m.onnx', '/out/m.onnx_data']);
  let at = 0;
  for (; ; at++) {
    const disk = createFaultDisk({ at, kind });
    const error = await run(disk, false).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (!disk.struck) {
      expect(error).toBeUndefined();
      break;
    }
    expect(isWhittleError(error) && error.code, `call ${at}: ${String(error)}`).toBe(
      kind === 'EIO' ? 'E_IO' : 'E_NO_SPACE',
    );
    expect([...disk.files.keys()], `call ${at}`).toEqual([]);
  }
  expect(at).toBeGreaterThan(8);
});

test('with force, a failure leaves the two old files or the two new ones, never a mixture', async () => {
  const wanted = await reference;
  const old = new Map([
    ['/out/m.onnx', Uint8Array.of(1)],
    ['/out/m.onnx_data', Uint8Array.of(2)],
  ]);
  for (let at = 0; ; at++) {
    const disk = createFaultDisk({ at, kind: 'EIO' }, old);
    const failed = await run(disk, true).then(
      () => false,
      () => true,
    );
    expect(new Map([...disk.files].sort()), `call ${at}`).toEqual(failed ? old : wanted);
    if (!failed) break;
  }
});

test('a short write is continued, not taken for success', async () => {
  const wanted = await reference;
  // The disk of this test takes at most 1000 bytes a call.
  expect(wanted.get('/out/m.onnx_data')?.length).toBe(data.size);
  expect(wanted.get('/out/m.onnx_data')?.some((byte) => byte !== 0)).toBe(true);
});
