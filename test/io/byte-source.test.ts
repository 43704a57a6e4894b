import { execFileSync } from 'node:child_process';
import { chmod, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { blobSource } from '../../src/io/blob-source.ts';
import { isFileSource, openFile } from '../../src/io/file-source.ts';
import { memorySource } from '../../src/io/memory-source.ts';
import { byteSourceSuite } from './byte-source.suite.ts';

let folder = '';
let count = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whittle-source-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function file(bytes: Uint8Array | string): Promise<string> {
  const path = join(folder, `file ${++count} ü.bin`);
  await writeFile(path, bytes);
  return path;
}

describe('every source', () => {
  byteSourceSuite('memory', async (bytes) => memorySource(bytes));
  byteSourceSuite('file', async (bytes) => openFile(await file(bytes)));
  byteSourceSuite('Blob', async (bytes) => blobSource(new Blob([Uint8Array.from(bytes)])));
});

describe('files', () => {
  test('a missing file is E_NOT_FOUND', async () => {
    await expect(openFile(join(folder, 'nothing'))).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  });

  test('a path through a file is E_NOT_FOUND', async () => {
    await expect(openFile(join(await file('x'), 'y'))).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  });

  test('a path with NUL and a path that is too long are E_NOT_FOUND', async () => {
    await expect(openFile('a\0b')).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    await expect(openFile('a'.repeat(5000))).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  });

  test('a folder is refused with the advice to name the file in it', async () => {
    await expect(openFile(folder)).rejects.toMatchObject({
      code: 'E_NOT_A_MODEL',
      details: { found: 'a folder' },
    });
  });

  test.skipIf(process.platform === 'win32')('a pipe is refused and does not block', async () => {
    const path = join(folder, 'pipe');
    execFileSync('mkfifo', [path]);
    await expect(openFile(path)).rejects.toMatchObject({
      code: 'E_NOT_A_MODEL',
      details: { found: 'a pipe' },
    });
  });

  test.skipIf(process.platform === 'win32')('a device is refused', async () => {
    await expect(openFile('/dev/zero')).rejects.toMatchObject({ code: 'E_NOT_A_MODEL' });
  });

  test.skipIf(process.platform === 'win32' || process.getuid?.() === 0)(
    'a file without read permission is E_ACCESS (not as root, who may read everything)',
    async () => {
      const path = await file('x');
      await chmod(path, 0o000);
      await expect(openFile(path)).rejects.toMatchObject({ code: 'E_ACCESS' });
    },
  );

  test.skipIf(process.platform === 'win32')('noFollow refuses a symbolic link', async () => {
    const path = join(folder, 'link');
    await symlink(await file('x'), path);
    await expect(openFile(path, { noFollow: true })).rejects.toMatchObject({ code: 'E_ACCESS' });
    await (await openFile(path)).close();
  });

  test('a file that shrinks after it was opened is E_INPUT_CHANGED, never stale bytes', async () => {
    const path = await file(new Uint8Array(1000));
    const source = await openFile(path);
    await truncate(path, 10);
    await expect(source.readInto(0, new Uint8Array(1000))).rejects.toMatchObject({ code: 'E_INPUT_CHANGED' });
    await expect(source.assertUnchanged()).rejects.toMatchObject({ code: 'E_INPUT_CHANGED' });
    await source.close();
  });

  test('reading after close is E_IO', async () => {
    const source = await openFile(await file('abc'));
    await source.assertUnchanged();
    await source.close();
    await expect(source.readInto(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'E_IO' });
  });

  test('a file source tells its absolute path; others are not file sources', async () => {
    const source = await openFile(await file('abc'));
    expect(isFileSource(source)).toBe(true);
    expect(source.path.startsWith('/') || process.platform === 'win32').toBe(true);
    expect(isFileSource(memorySource(new Uint8Array(1)))).toBe(false);
    await source.close();
  });
});
