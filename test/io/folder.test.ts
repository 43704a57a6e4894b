import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isWhittleError } from '../../src/errors.ts';
import { makeFolder } from '../../src/io/folder.ts';

async function inTemporary(body: (root: string) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'whittle-folder-'));
  try {
    await body(root);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

test('makes every folder that is missing, and nothing where all are there', () =>
  inTemporary(async (root) => {
    await Promise.all([makeFolder(join(root, 'a/b/c')), makeFolder(join(root, 'a/b/d'))]);
    await makeFolder(join(root, 'a/b/c'));
    expect((await stat(join(root, 'a/b/c'))).isDirectory()).toBe(true);
    expect((await stat(join(root, 'a/b/d'))).isDirectory()).toBe(true);
  }));

test('a folder below a file is a coded error', () =>
  inTemporary(async (root) => {
    await writeFile(join(root, 'file'), '');
    const error = await makeFolder(join(root, 'file/b')).catch((reason: unknown) => reason);
    expect(isWhittleError(error) && error.details.file).toBe(join(root, 'file/b'));
  }));

test.skipIf(process.platform !== 'linux')(
  'a folder that the system can never make ends in an error (else: no /proc)',
  async () => {
    const error = await makeFolder('/proc/whittle/deeper').catch((reason: unknown) => reason);
    expect(isWhittleError(error)).toBe(true);
  },
);
