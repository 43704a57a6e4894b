/** The promises of outputs: complete or absent, never the input, never an existing file unless forced. */

import { spawnSync } from 'node:child_process';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { isWhittleError } from '../../src/errors.ts';
import { commitTogether, createAtomicFile } from '../../src/io/atomic-file.ts';
import { type Disk, realDisk } from '../../src/io/disk.ts';
import { createMemorySink } from '../../src/io/memory-sink.ts';
import type { ByteSink } from '../../src/io/source.ts';

const root = mkdtempSync(join(tmpdir(), 'whittle-sink-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
const folder = (): string => {
  const path = join(root, String(folders++));
  mkdirSync(path);
  return path;
};

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'no error',
    (error: unknown) => (isWhittleError(error) ? error.code : String(error)),
  );

interface Kind {
  readonly name: string;
  open(): Promise<{ sink: ByteSink; content(): Uint8Array | undefined }>;
}

const kinds: Kind[] = [
  {
    name: 'atomic file',
    async open() {
      const path = join(folder(), 'out.bin');
      const sink = await createAtomicFile(path, { size: 10 });
      return {
        sink,
        content: () => (readdirSync(join(path, '..')).includes('out.bin') ? readFileSync(path) : undefined),
      };
    },
  },
  {
    name: 'memory',
    async open() {
      const sink = createMemorySink('out.bin', 10);
      return {
        sink,
        content: () => {
          try {
            return sink.bytes();
          } catch {
            return undefined;
          }
        },
      };
    },
  },
];

test.each(kinds)('$name: writes in any order; gaps are zero; exists only after commit', async ({ open }) => {
  const { sink, content } = await open();
  await sink.write(6, Uint8Array.of(6, 7));
  await sink.write(0, Uint8Array.of(1, 2));
  expect(content()).toBeUndefined();
  await sink.commit();
  expect([...(content() ?? [])]).toEqual([1, 2, 0, 0, 0, 0, 6, 7, 0, 0]);
});

test.each(kinds)('$name: abort leaves nothing, and may be called twice', async ({ open }) => {
  const { sink, content } = await open();
  await sink.write(0, Uint8Array.of(1));
  await sink.abort();
  await sink.abort();
  expect(content()).toBeUndefined();
});

test('an existing output is refused without force, and replaced whole with it', async () => {
  const path = join(folder(), 'out');
  writeFileSync(path, 'something long that was here before');
  expect(await codeOf(createAtomicFile(path))).toBe('E_OUTPUT_EXISTS');
  const sink = await createAtomicFile(path, { force: true, size: 3 });
  await sink.write(0, new TextEncoder().encode('new'));
  await sink.commit();
  expect(readFileSync(path, 'utf8')).toBe('new');
});

test('a file that appeared while the output was written is not overwritten', async () => {
  const path = join(folder(), 'out');
  const sink = await createAtomicFile(path);
  writeFileSync(path, 'another run');
  expect(await codeOf(sink.commit())).toBe('E_OUTPUT_EXISTS');
  expect(readFileSync(path, 'utf8')).toBe('another run');
  expect(readdirSync(join(path, '..'))).toEqual(['out']);
});

test('the input is never the output, not even through a hard link and with force', async () => {
  const directory = folder();
  const input = join(directory, 'in');
  const link = join(directory, 'link');
  writeFileSync(input, 'model');
  linkSync(input, link);
  const { dev, ino } = statSync(input);
  for (const path of [input, link]) {
    expect(await codeOf(createAtomicFile(path, { force: true, inputs: [{ dev, ino }] }))).toBe(
      'E_OUTPUT_IS_INPUT',
    );
  }
  expect(readFileSync(input, 'utf8')).toBe('model');
});

test('a missing folder, a folder as output, a name too long: coded errors with a hint', async () => {
  const directory = folder();
  expect(await codeOf(createAtomicFile(join(directory, 'no', 'out')))).toBe('E_NOT_FOUND');
  expect(await codeOf(createAtomicFile(directory, { force: true }))).toBe('E_ACCESS');
  expect(await codeOf(createAtomicFile(join(directory, 'x'.repeat(300))))).toBe('E_USAGE');
  expect(await codeOf(createAtomicFile(join(directory, 'a\0b')))).toBe('E_USAGE');
  expect(readdirSync(directory)).toEqual([]);
});

test('an output larger than the free space is refused before a byte is written', async () => {
  const directory = folder();
  const disk: Disk = { ...realDisk, freeBytes: async () => 1000 };
  expect(await codeOf(createAtomicFile(join(directory, 'out'), { size: 1001, disk }))).toBe('E_NO_SPACE');
  expect(readdirSync(directory)).toEqual([]);
});

test('what a killed run left is removed by the next; what a living one writes stays', async () => {
  const directory = folder();
  const dead = spawnSync(process.execPath, ['-e', '']).pid;
  writeFileSync(join(directory, `.out.${dead}-0.partial`), 'left over');
  writeFileSync(join(directory, `.out.${dead}-0.previous`), 'left over');
  writeFileSync(join(directory, `.out.${process.ppid}-0.partial`), 'alive');
  writeFileSync(join(directory, '.config.partial'), 'not ours');
  const sink = await createAtomicFile(join(directory, 'out'));
  await sink.commit();
  expect(readdirSync(directory).sort()).toEqual(
    ['.config.partial', `.out.${process.ppid}-0.partial`, 'out'].sort(),
  );
});

test('files committed together appear together, and names with spaces, newlines and emoji work', async () => {
  const directory = folder();
  const names = ['a b\n.onnx_data', 'ü😀.onnx'];
  const sinks = await Promise.all(names.map((name) => createAtomicFile(join(directory, name))));
  await commitTogether(sinks);
  expect(readdirSync(directory).sort()).toEqual([...names].sort());
});
