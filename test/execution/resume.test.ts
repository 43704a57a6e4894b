/** A run that was stopped goes on where it was, or says what stands against it. */

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openFile } from '../../src/io/file-source.ts';
import { payload, type SmallRun, smallRun, stopAfter } from './resumable.ts';

const root = mkdtempSync(join(tmpdir(), 'whittle-resume-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
const folder = (): string => {
  const path = join(root, String(folders++));
  mkdirSync(path);
  return path;
};
const OUTPUTS = ['m.bin', 'm.bin_data'];
const STOPPED = ['m.bin.journal', 'm.bin.partial', 'm.bin_data.partial'];
const list = (directory: string): string[] => readdirSync(directory).sort();
const content = (directory: string): string =>
  createHash('sha256')
    .update(Buffer.concat(OUTPUTS.map((name) => readFileSync(join(directory, name)))))
    .digest('hex');

const wanted = (async () => {
  const directory = folder();
  await smallRun({ directory, journal: false });
  expect(list(directory)).toEqual(OUTPUTS);
  return content(directory);
})();

/** A folder with a run that was stopped half-way. */
async function stopped(options: SmallRun = {}): Promise<string> {
  const directory = folder();
  const error = smallRun({ directory, ...stopAfter(5), ...options });
  await expect(error).rejects.toMatchObject({ code: 'E_ABORTED' });
  expect(list(directory)).toEqual(STOPPED);
  return directory;
}

test('an abort keeps what is done and says how to go on; --resume does the rest only, with the same bytes', async () => {
  const directory = folder();
  await expect(smallRun({ directory, ...stopAfter(5) })).rejects.toMatchObject({
    code: 'E_ABORTED',
    details: {
      hint: expect.stringMatching(/^Run the same command with --resume to continue: \d+ % is done\.$/),
    },
  });
  const seen: string[] = [];
  const report = await smallRun({
    directory,
    resume: true,
    onProgress: ({ tensor = '', phase }) => seen.push(`${phase} ${tensor}`),
  });
  expect(list(directory)).toEqual(OUTPUTS);
  expect(content(directory)).toBe(await wanted);
  expect(report.bytesResumed).toBeGreaterThan(report.bytesTotal / 4);
  expect(report.bytesResumed).toBeLessThan(report.bytesTotal);
  const checked = seen.filter((line) => line.startsWith('checking')).length;
  expect(checked).toBe(5);
  expect(seen).toHaveLength(9);
  expect(report.tensors.map(({ count }) => count)).toEqual(Array(8).fill(64 * 48));
});

test('a run that is stopped again and again ends with the same bytes and the same report', async () => {
  const directory = folder();
  const whole = await smallRun({ directory: folder(), measure: true });
  for (let i = 2; ; i++) {
    const stop = stopAfter(i);
    const report = await smallRun({ directory, resume: true, measure: true, ...stop }).catch(() => undefined);
    if (report === undefined) continue;
    expect({ tensors: report.tensors, sqnr: report.sqnr }).toEqual({
      tensors: whole.tensors,
      sqnr: whole.sqnr,
    });
    expect(report.bytesResumed).toBe(report.bytesTotal);
    break;
  }
  expect(content(directory)).toBe(await wanted);
  expect(list(directory)).toEqual(OUTPUTS);
});

test('measuring asks again for windows that were not measured', async () => {
  const directory = await stopped();
  const report = await smallRun({ directory, resume: true, measure: true });
  expect(report.tensors.every(({ sqnr }) => sqnr !== undefined)).toBe(true);
  expect(content(directory)).toBe(await wanted);
});

test('other options, another version or another input are refused by name, and what was done stays', async () => {
  const options = await stopped();
  await expect(smallRun({ directory: options, resume: true, blockSize: 16 })).rejects.toMatchObject({
    code: 'E_RESUME',
    message: 'the run cannot be continued: the options changed',
    details: { hint: expect.stringContaining('without --resume') },
  });
  expect(list(options)).toEqual(STOPPED);

  const named = { pure: 'true', imatrix: '"a"' };
  const said = await stopped({ settings: named });
  const other = smallRun({
    directory: said,
    resume: true,
    blockSize: 16,
    settings: { ...named, pure: 'false' },
  });
  await expect(other).rejects.toThrow('the run cannot be continued: the options (pure) changed');

  const version = await stopped();
  const journal = join(version, 'm.bin.journal');
  writeFileSync(journal, readFileSync(journal, 'utf8').replace(/"version":"[^"]+"/, '"version":"0.0.0"'));
  await expect(smallRun({ directory: version, resume: true })).rejects.toMatchObject({
    code: 'E_RESUME',
    message: 'the run cannot be continued: the version of whittle changed',
    details: { expected: 'whittle 0.0.0' },
  });

  const path = join(folder(), 'in.bin');
  writeFileSync(path, payload);
  const first = await openFile(path);
  const input = await stopped({ source: first });
  await first.close();
  utimesSync(path, 1000, 1000);
  const second = await openFile(path);
  await expect(smallRun({ directory: input, resume: true, source: second })).rejects.toMatchObject({
    code: 'E_RESUME',
    message: 'the run cannot be continued: the input changed',
    details: { found: expect.stringContaining('1970-01-01') },
  });
  expect(list(input)).toEqual(STOPPED);
  // Started anew, it replaces what was stopped.
  await smallRun({ directory: input, source: second });
  await second.close();
  expect(list(input)).toEqual(OUTPUTS);
  expect(content(input)).toBe(await wanted);
});

const DAMAGE: Record<string, (directory: string) => void> = {
  'last line torn': (directory) => {
    const path = join(directory, 'm.bin.journal');
    truncateSync(path, readFileSync(path).length - 20);
  },
  'zeros after the last line': (directory) =>
    appendFileSync(join(directory, 'm.bin.journal'), new Uint8Array(300)),
  'windows that nobody has': (directory) =>
    appendFileSync(
      join(directory, 'm.bin.journal'),
      '{"window":"task 99: 0-1","result":{"count":1,"nonFinite":0},"written":[]}\n',
    ),
  'a line that claims more than there is': (directory) =>
    appendFileSync(
      join(directory, 'm.bin.journal'),
      '{"window":"task 7: 0-64","result":{"count":3072,"nonFinite":0},"written":[{"output":0,"checksum":0,"pieces":[[0,1e15,0,1]]}]}\n',
    ),
  'a window that was written nowhere': (directory) =>
    appendFileSync(
      join(directory, 'm.bin.journal'),
      '{"window":"task 7: 0-64","result":{"count":3072,"nonFinite":0},"written":[]}\n',
    ),
  'every byte of a partial file changed': (directory) => {
    const path = join(directory, 'm.bin_data.partial');
    writeFileSync(
      path,
      readFileSync(path).map((byte) => byte ^ 1),
    );
  },
  'a partial file missing': (directory) => rmSync(join(directory, 'm.bin_data.partial')),
  'a partial file cut': (directory) => truncateSync(join(directory, 'm.bin_data.partial'), 1000),
  'a partial file longer': (directory) =>
    appendFileSync(join(directory, 'm.bin_data.partial'), new Uint8Array(1 << 20).fill(1)),
};

test.each(Object.entries(DAMAGE))('%s: the bytes are right all the same', async (_name, damage) => {
  const directory = await stopped();
  damage(directory);
  await smallRun({ directory, resume: true });
  expect(content(directory)).toBe(await wanted);
  expect(list(directory)).toEqual(OUTPUTS);
});

test('a journal that cannot be read is refused, replaced only with force', async () => {
  const directory = await stopped();
  writeFileSync(join(directory, 'm.bin.journal'), 'my diary\n');
  await expect(smallRun({ directory, resume: true })).rejects.toMatchObject({ code: 'E_RESUME' });
  await expect(smallRun({ directory })).rejects.toMatchObject({ code: 'E_OUTPUT_EXISTS' });
  expect(readFileSync(join(directory, 'm.bin.journal'), 'utf8')).toBe('my diary\n');
  await smallRun({ directory, force: true });
  expect(list(directory)).toEqual(OUTPUTS);
});

test('a file that merely has the name of the temporary one is not replaced', async () => {
  const directory = folder();
  writeFileSync(join(directory, 'm.bin.partial'), 'a download');
  await expect(smallRun({ directory })).rejects.toMatchObject({ code: 'E_OUTPUT_EXISTS' });
  expect(list(directory)).toEqual(['m.bin.partial']);
});

test('without an earlier run --resume starts one; with a finished output it is refused like any run', async () => {
  const directory = folder();
  expect((await smallRun({ directory, resume: true })).bytesResumed).toBe(0);
  await expect(smallRun({ directory, resume: true })).rejects.toMatchObject({ code: 'E_OUTPUT_EXISTS' });
  await smallRun({ directory, resume: true, force: true });
  expect(content(directory)).toBe(await wanted);
});

test('an existing output stops a new run before what a stopped one left is touched', async () => {
  const directory = await stopped();
  writeFileSync(join(directory, 'm.bin'), 'mine');
  await expect(smallRun({ directory })).rejects.toMatchObject({ code: 'E_OUTPUT_EXISTS' });
  expect(list(directory)).toEqual(['m.bin', ...STOPPED]);
});

test('a run that ended between two renames goes on, and its files appear together', async () => {
  const directory = await stopped();
  const elsewhere = folder();
  await smallRun({ directory: elsewhere });
  // All windows done, the data file in place, the model not.
  appendFileSync(join(directory, 'm.bin.journal'), '{"commit":true}\n');
  rmSync(join(directory, 'm.bin_data.partial'));
  writeFileSync(join(directory, 'm.bin_data'), readFileSync(join(elsewhere, 'm.bin_data')));
  const report = await smallRun({ directory, resume: true });
  expect(report.bytesResumed).toBeGreaterThan(0);
  expect(list(directory)).toEqual(OUTPUTS);
  expect(content(directory)).toBe(await wanted);
});

test('bad input, a failed proof and small runs leave nothing, journal or not', async () => {
  const directory = folder();
  const prove = (): Promise<void> => Promise.reject(new Error('unused'));
  const values = new Uint8Array(payload);
  new DataView(values.buffer).setFloat32(5000, Number.NaN, true);
  const { blobSource } = await import('../../src/io/blob-source.ts');
  const source = blobSource(new Blob([values]), 'in.bin');
  await expect(smallRun({ directory, source })).rejects.toMatchObject({ code: 'E_NONFINITE' });
  expect(list(directory)).toEqual([]);
  await expect(smallRun({ directory, journal: 'auto', ...stopAfter(3) })).rejects.toMatchObject({
    code: 'E_ABORTED',
    details: { hint: 'Nothing was written; run it again.' },
  });
  expect(list(directory)).toEqual([]);
  // A bug in a proof says nothing about the work.
  await expect(smallRun({ directory, prove })).rejects.toThrow('unused');
  expect(list(directory)).toEqual(STOPPED);
  await smallRun({ directory, resume: true });
  expect(content(directory)).toBe(await wanted);
});

test('of two runs on one output the second is refused, with and without a journal', async () => {
  const directory = folder();
  let second: Promise<unknown> | undefined;
  let third: Promise<unknown> | undefined;
  await smallRun({
    directory,
    onProgress: () => {
      second ??= smallRun({ directory }).catch((error: unknown) => error);
      third ??= smallRun({ directory, journal: false, force: true }).catch((error: unknown) => error);
    },
    prove: async () => {
      expect(await second).toMatchObject({ code: 'E_LOCKED', details: { file: join(directory, 'm.bin') } });
      expect(await third).toMatchObject({ code: 'E_LOCKED' });
    },
  });
  // Also where the proof was never called, which holds the two to it.
  expect(await second).toMatchObject({ code: 'E_LOCKED' });
  expect(list(directory)).toEqual(OUTPUTS);
});

test('the lock of a process that is gone is taken over; that of a living one, here or elsewhere, is not', async () => {
  const directory = await stopped();
  const lock = join(directory, 'm.bin.lock');
  const dead = spawnSync(process.execPath, ['-e', '']).pid;
  const hold = (owner: object): void => writeFileSync(lock, `${JSON.stringify({ run: 'x', ...owner })}\n`);

  hold({ pid: process.ppid, host: hostname() });
  await expect(smallRun({ directory, resume: true })).rejects.toMatchObject({
    code: 'E_LOCKED',
    details: { found: `process ${process.ppid} on ${hostname()}` },
  });
  hold({ pid: 1, host: 'elsewhere' });
  await expect(smallRun({ directory, resume: true })).rejects.toMatchObject({ code: 'E_LOCKED' });
  expect(existsSync(lock)).toBe(true);
  // Silent for more than a minute.
  const past = Date.now() / 1000 - 100;
  utimesSync(lock, past, past);
  await stoppedAgain(directory);
  hold({ pid: dead, host: hostname() });
  await stoppedAgain(directory);
  // The same number, another process: this one began later.
  hold({ pid: process.pid, host: hostname(), started: 'long ago' });
  await stoppedAgain(directory);
  writeFileSync(lock, '{"pid":');
  await smallRun({ directory, resume: true });
  expect(list(directory)).toEqual(OUTPUTS);
});

async function stoppedAgain(directory: string): Promise<void> {
  await expect(smallRun({ directory, resume: true, ...stopAfter(6) })).rejects.toMatchObject({
    code: 'E_ABORTED',
  });
  expect(list(directory)).toEqual(STOPPED);
}

test('SHA-256 on request is that of the finished file, padding and all', async () => {
  const directory = folder();
  const report = await smallRun({ directory, digest: true });
  expect(report.files.map(({ sha256 }) => sha256)).toEqual(
    OUTPUTS.map((name) =>
      createHash('sha256')
        .update(readFileSync(join(directory, name)))
        .digest('hex'),
    ),
  );
  expect((await smallRun({ directory: folder() })).files.every((file) => !('sha256' in file))).toBe(true);
});
