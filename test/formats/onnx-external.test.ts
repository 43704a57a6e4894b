/** Cases 72, 73 and 77 of the list of bad inputs, and files too large for memory. */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { link, mkdir, open, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { DType } from '../../src/core/dtype.ts';
import { isWhittleError } from '../../src/errors.ts';
import { encodeModel } from '../../src/formats/onnx/model.ts';
import { openOnnx } from '../../src/formats/onnx/open.ts';
import { memorySource } from '../../src/io/memory-source.ts';
import { siblingsFrom } from '../../src/io/siblings-location.ts';
import type { ByteSource } from '../../src/io/source.ts';
import { external, floats, graph, linearModel, model, withFolder, writeModel } from './build-onnx.ts';
import { bytesOf, HEADER, int, len, varint } from './wire.ts';

type Entries = Parameters<typeof external>[3];

function externalModel(entries: Entries, dtype: DType = 'f32', dims = [2]): Promise<Uint8Array> {
  return encodeModel(model(graph({ initializers: [external('w', dtype, dims, entries)] })));
}

/** Opens the model at `path` and reads its first weight. */
async function codeOf(path: string, options: Parameters<typeof openOnnx>[1] = {}): Promise<string> {
  try {
    await using opened = await openOnnx(path, options);
    await opened.readTensor(opened.proto.graph!.initializer[0]!);
    return 'read';
  } catch (error) {
    if (!isWhittleError(error)) throw error;
    expect(error.details.file).toBe(path);
    expect(error.details.tensor).toBe('w');
    return error.code;
  }
}

describe('where external data may stand', () => {
  test.each([
    ['the parent folder', '../data'],
    ['an absolute path', '/etc/passwd'],
    ['a way out in the middle', 'a/../../data'],
    ['a way out at the end', 'sub/..'],
    ['a drive letter', 'C:\\data'],
    ['a drive letter with slashes', 'C:/data'],
    ['a network path', '\\\\host\\data'],
    ['a backslash', 'sub\\data'],
    ['a URL', 'file:///etc/passwd'],
    ['a NUL', 'data\0.bin'],
    ['nothing', ''],
    ['a dot', '.'],
    ['a dot first', './data'],
    ['an empty component', 'a//b'],
  ])('%s is E_EXTERNAL_PATH when the model is opened', async (_, location) => {
    await expect(openOnnx(memorySource(await externalModel({ location }), 'm.onnx'))).rejects.toMatchObject({
      code: 'E_EXTERNAL_PATH',
      details: { file: 'm.onnx', tensor: 'w' },
    });
  });

  test('a plain file beside the model or in a folder below is read', () =>
    withFolder(async (folder) => {
      await mkdir(join(folder, 'sub'));
      const content = new Uint8Array(Float32Array.of(3, 4).buffer);
      for (const location of ['data', 'sub/data', '..data', 'dätä ü']) {
        await writeFile(join(folder, location), content);
        await writeFile(join(folder, 'm.onnx'), await externalModel({ location }));
        expect(await codeOf(join(folder, 'm.onnx'))).toBe('read');
      }
    }));

  test.skipIf(process.platform === 'win32')(
    'links, folders, pipes, the model itself and missing files are refused',
    () =>
      withFolder(async (folder) => {
        const path = join(folder, 'm.onnx');
        const refusal = async (location: string): Promise<string> => {
          await writeFile(path, await externalModel({ location }));
          return codeOf(path);
        };
        await writeFile(join(folder, 'real'), new Uint8Array(8));
        await mkdir(join(folder, 'folder'));
        await writeFile(join(folder, 'folder/data'), new Uint8Array(8));
        await symlink(join(folder, 'real'), join(folder, 'link'));
        await symlink('nowhere', join(folder, 'dangling'));
        await symlink(join(folder, 'folder'), join(folder, 'linked'));
        await symlink('/dev/zero', join(folder, 'zero'));
        execFileSync('mkfifo', [join(folder, 'pipe')]);
        expect(await refusal('real')).toBe('read');
        for (const location of ['link', 'dangling', 'linked/data', 'zero', 'folder', 'pipe', 'm.onnx']) {
          expect([location, await refusal(location)]).toEqual([location, 'E_EXTERNAL_PATH']);
        }
        expect(await refusal('missing')).toBe('E_EXTERNAL_MISSING');
        expect(await refusal('real/below')).toBe('E_EXTERNAL_MISSING');
        await link(join(folder, 'real'), join(folder, 'hard'));
        expect(await refusal('hard')).toBe('E_EXTERNAL_PATH');
      }),
  );

  test.skipIf(process.platform === 'win32')(
    'links are followed when the user says so, other rules stay',
    () =>
      withFolder(async (folder) => {
        const path = join(folder, 'm.onnx');
        await writeFile(join(folder, 'real'), new Uint8Array(8));
        await symlink(join(folder, 'real'), join(folder, 'link'));
        await writeFile(path, await externalModel({ location: 'link' }));
        expect(await codeOf(path, { followLinks: true })).toBe('read');
        await symlink('/dev/zero', join(folder, 'zero'));
        await writeFile(path, await externalModel({ location: 'zero' }));
        expect(await codeOf(path, { followLinks: true })).toBe('E_EXTERNAL_PATH');
        await symlink('m.onnx', join(folder, 'self'));
        await writeFile(path, await externalModel({ location: 'self' }));
        expect(await codeOf(path, { followLinks: true })).toBe('E_EXTERNAL_PATH');
      }),
  );

  test('without a folder only the files that were given are opened', async () => {
    const bytes = await externalModel({ location: 'data' });
    const none = await openOnnx(memorySource(bytes));
    const weight = none.proto.graph!.initializer[0]!;
    await expect(none.tensorBytes(weight)).rejects.toMatchObject({ code: 'E_EXTERNAL_MISSING' });
    const given = await openOnnx(memorySource(bytes), {
      siblings: siblingsFrom(new Map([['data', new Uint8Array(8)]])),
    });
    expect(await given.readTensor(weight)).toEqual(new Uint8Array(8));
  });
});

describe('what external data may say', () => {
  const data = new Uint8Array(100);
  async function code(entries: Entries): Promise<string> {
    const siblings = siblingsFrom(new Map([['d', data]]));
    try {
      const opened = await openOnnx(memorySource(await externalModel(entries)), { siblings });
      await opened.readTensor(opened.proto.graph!.initializer[0]!);
      return 'read';
    } catch (error) {
      if (isWhittleError(error)) return error.code;
      throw error;
    }
  }
  const location: [string, string] = ['location', 'd'];
  const cases: [string, [string, string][], string][] = [
    ['location alone', [location], 'read'],
    ['an odd offset', [location, ['offset', '3']], 'read'],
    ['the last bytes', [location, ['offset', '92'], ['length', '8']], 'read'],
    ['no location', [['offset', '0']], 'E_EXTERNAL_FIELD'],
    ['a negative offset', [location, ['offset', '-1']], 'E_EXTERNAL_FIELD'],
    ['an exponent', [location, ['offset', '1e3']], 'E_EXTERNAL_FIELD'],
    ['hexadecimal', [location, ['offset', '0x10']], 'E_EXTERNAL_FIELD'],
    ['letters', [location, ['offset', 'abc']], 'E_EXTERNAL_FIELD'],
    ['an empty number', [location, ['offset', '']], 'E_EXTERNAL_FIELD'],
    ['a space', [location, ['offset', ' 1']], 'E_EXTERNAL_FIELD'],
    ['a number past 2^53', [location, ['offset', '9007199254740993']], 'E_EXTERNAL_FIELD'],
    ['a number of a thousand digits', [location, ['offset', '9'.repeat(1000)]], 'E_EXTERNAL_FIELD'],
    ['an offset past the end', [location, ['offset', '101']], 'E_EXTERNAL_RANGE'],
    ['an end past the end', [location, ['offset', '93']], 'E_EXTERNAL_RANGE'],
    ['a negative length', [location, ['length', '-8']], 'E_EXTERNAL_FIELD'],
    ['a petabyte', [location, ['length', '1125899906842624']], 'E_TENSOR_SIZE'],
    ['a length that is not shape × type', [location, ['length', '12']], 'E_TENSOR_SIZE'],
    ['an unknown key', [location, ['basepath', '/']], 'E_EXTERNAL_FIELD'],
    ['the key __proto__', [location, ['__proto__', 'x']], 'E_EXTERNAL_FIELD'],
    ['the key __class__', [location, ['__class__', 'x']], 'E_EXTERNAL_FIELD'],
    ['a key twice', [location, ['offset', '0'], ['offset', '4']], 'E_EXTERNAL_FIELD'],
    ['the location twice', [location, location], 'E_EXTERNAL_FIELD'],
  ];
  test.each(cases)('%s', async (_, entries, expected) => {
    expect(await code(entries)).toBe(expected);
  });

  test('a checksum is compared only on request, and a wrong one is E_CHECKSUM', async () => {
    const right = createHash('sha1').update(data).digest('hex');
    const siblings = siblingsFrom(new Map([['d', data]]));
    const opening = async (checksum: string) =>
      openOnnx(memorySource(await externalModel({ location: 'd', checksum })), { siblings });
    await (await opening(right)).verifyChecksums();
    const wrong = await opening('0'.repeat(40));
    await wrong.readTensor(wrong.proto.graph!.initializer[0]!);
    await expect(wrong.verifyChecksums()).rejects.toMatchObject({
      code: 'E_CHECKSUM',
      details: { tensor: 'w' },
    });
  });

  test('two tensors may share one range', async () => {
    const shared = ['a', 'b'].map((name) => external(name, 'f32', [2], { location: 'd', offset: '8' }));
    const bytes = await encodeModel(model(graph({ initializers: shared })));
    const opened = await openOnnx(memorySource(bytes), { siblings: siblingsFrom(new Map([['d', data]])) });
    for (const weight of opened.weights()) {
      expect(await opened.tensorBytes(weight.tensor)).toMatchObject({ offset: 8, length: 8 });
    }
  });
});

describe('models larger than memory', () => {
  /** Counts what is read of another source. */
  function counting(source: ByteSource): ByteSource & { bytesRead: number } {
    const counted = {
      name: source.name,
      size: source.size,
      bytesRead: 0,
      readInto: (offset: number, target: Uint8Array) => {
        counted.bytesRead += target.length;
        return source.readInto(offset, target);
      },
      close: () => source.close(),
    };
    return counted;
  }

  test('a file of 6 GB with embedded weights opens with a few small reads, and its last weight is readable', () =>
    withFolder(async (folder) => {
      const tensors = 6;
      const size = 1_000_000_000;
      // Each weight is a header and then a hole of 1 GB, which a sparse file does not store.
      const header = (index: number): Uint8Array => {
        const before = bytesOf(int(1, size / 4), int(2, 1), len(8, `w${index}`));
        const dataHeader = bytesOf(varint(9 * 8 + 2), varint(size));
        return bytesOf(
          varint(5 * 8 + 2),
          varint(before.length + dataHeader.length + size),
          before,
          dataHeader,
        );
      };
      const headers = Array.from({ length: tensors }, (_, index) => header(index));
      const graphSize = headers.reduce((sum, bytes) => sum + bytes.length + size, 0);
      const path = join(folder, 'huge.onnx');
      const file = await open(path, 'w');
      let position = 0;
      const put = async (bytes: Uint8Array): Promise<void> => {
        await file.write(bytes, 0, bytes.length, position);
        position += bytes.length;
      };
      await put(bytesOf(HEADER, varint(7 * 8 + 2), varint(graphSize)));
      for (const bytes of headers) {
        await put(bytes);
        position += size;
      }
      await file.write(Uint8Array.of(0, 0, 0x80, 0x3f), 0, 4, position - 4);
      await file.close();
      await truncate(path, position);

      const { openFile } = await import('../../src/io/file-source.ts');
      const source = counting(await openFile(path));
      await using opened = await openOnnx(source);
      expect(opened.weights().map((weight) => weight.name)).toEqual(['w0', 'w1', 'w2', 'w3', 'w4', 'w5']);
      expect(source.bytesRead).toBeLessThan(300_000);
      const last = await opened.tensorBytes(opened.weights().at(-1)!.tensor);
      expect(last.kind).toBe('range');
      if (last.kind !== 'range') return;
      const end = new Float32Array(1);
      await last.source.readInto(last.offset + last.length - 4, new Uint8Array(end.buffer));
      expect(end[0]).toBe(1);
    }));

  test('the data file of a model is not opened before a tensor is asked for', () =>
    withFolder(async (folder) => {
      const path = await writeModel(folder, linearModel(40, 30), { external: true });
      const whole = await (async () => {
        await using opened = await openOnnx(path);
        return await opened.readTensor(opened.weights()[0]!.tensor);
      })();
      expect(new Float32Array(whole.buffer).slice(0, 3)).toEqual(Float32Array.of(0, 1, 2));
      await rm(`${path}_data`);
      await using opened = await openOnnx(path);
      expect(opened.weights().map((weight) => weight.name)).toEqual(['w', 'b']);
      await expect(opened.readTensor(opened.weights()[0]!.tensor)).rejects.toMatchObject({
        code: 'E_EXTERNAL_MISSING',
        details: { expected: '"model.onnx_data"' },
      });
    }));

  test('a graph of many small messages around the edges of the window reads as it was written', async () => {
    // Names of every length move the fields over all positions relative to the window's ends.
    const initializers = Array.from({ length: 3000 }, (_, index) =>
      floats(`${index}`.padEnd(index % 97, '-'), [index % 5]),
    );
    const proto = model(graph({ initializers }));
    const opened = await openOnnx(memorySource(await encodeModel(proto)));
    expect(opened.proto.graph?.initializer.map((tensor) => tensor.name)).toEqual(
      initializers.map((tensor) => tensor.name),
    );
  });
});
