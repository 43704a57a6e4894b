import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readSafetensors } from '../../../src/calibration/data/safetensors.ts';
import { type WrittenTensor, writeSafetensors } from '../../../src/formats/safetensors/writer.ts';
import { withFolder } from '../build-onnx.ts';

const bytes = (name: string, values: readonly number[]): WrittenTensor => ({
  name,
  dtype: 'U8',
  shape: [values.length],
  bytes: () => Uint8Array.from(values),
});

const wide: WrittenTensor = {
  name: 'wide',
  dtype: 'F64',
  shape: [1, 2],
  bytes: () => new Uint8Array(Float64Array.of(1.5, -2).buffer),
};

describe('safetensors files', () => {
  test('are what the specification says: length, JSON, elements without gaps, all aligned', async () => {
    await withFolder(async (folder) => {
      const path = join(folder, 'a.safetensors');
      const tensors = [bytes('__proto__', [1, 2, 3]), wide, bytes('empty', [])];
      await writeSafetensors(path, tensors, { metadata: { format: 'pt' } });
      const file = await readFile(path);
      const length = Number(file.readBigUInt64LE(0));
      expect(length % 8).toBe(0);
      expect(file.toString('utf8', 8, 8 + length).trimEnd()).toBe(
        '{"__metadata__":{"format":"pt"},"wide":{"dtype":"F64","shape":[1,2],"data_offsets":[0,16]},' +
          '"__proto__":{"dtype":"U8","shape":[3],"data_offsets":[16,19]},"empty":{"dtype":"U8","shape":[0],"data_offsets":[19,19]}}',
      );
      expect(file.readDoubleLE(8 + length + 8)).toBe(-2);
      expect([...file.subarray(8 + length + 16)]).toEqual([1, 2, 3]);
      const read = await readSafetensors(path);
      expect(read.get('wide')).toMatchObject({ dtype: 'f64', shape: [1, 2], offset: 8 + length });
    });
  });

  test('with two tensors of one name, or one that does not fill its shape, do not appear', async () => {
    await withFolder(async (folder) => {
      const path = join(folder, 'a.safetensors');
      const twice = writeSafetensors(path, [bytes('a', [1]), bytes('a', [2])]);
      await expect(twice).rejects.toMatchObject({ code: 'E_DUPLICATE', details: { tensor: 'a' } });
      const short = writeSafetensors(path, [{ ...bytes('a', [1]), shape: [2] }]);
      await expect(short).rejects.toMatchObject({ code: 'E_TENSOR_SIZE', details: { expected: 'U8 2' } });
      await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
      await writeSafetensors(path, [bytes('a', [1])]);
      await expect(writeSafetensors(path, [bytes('a', [2])])).rejects.toMatchObject({
        code: 'E_OUTPUT_EXISTS',
      });
    });
  });
});
