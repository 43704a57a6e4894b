/**
 * Files that exist only when complete (docs/cli.md): everything goes to a temporary file beside the final one,
 * created exclusively; commit flushes it, renames it and flushes the folder; abort removes it. Several files of one output
 * are committed together, the model last, and rolled back together where a step fails.
 *
 * Temporary names hold the process number: `.<name>.<pid>-<n>.partial`. Those of processes that no longer run, left by a
 * kill or a power cut, are removed when the next output is created in the folder. An output that a later run may continue
 * has a stable temporary name instead, `<name>.partial`; its journal and lock stand beside it (execution/journal.ts).
 */

import { basename, dirname, join, resolve } from 'node:path';
import { WhittleError } from '../errors.ts';
import {
  type Disk,
  type DiskFile,
  type DiskIdentity,
  diskError,
  readAll,
  realDisk,
  writeAll,
} from './disk.ts';
import { isRunning } from './output-lock.ts';
import type { ByteSink } from './source.ts';

export interface AtomicFileOptions {
  /** Replace a file that exists. */
  readonly force?: boolean | undefined;
  /** Exact size to come: checked against the free space before anything is written. */
  readonly size?: number | undefined;
  /** Files that are read: none of them may be the output. */
  readonly inputs?: readonly Pick<DiskIdentity, 'dev' | 'ino'>[] | undefined;
  readonly disk?: Disk | undefined;
  /**
   * A stable temporary name, `partialPath(path)`, which only the holder of the output's lock may ask for: `create` starts it anew,
   * `continue` goes on with what is there.
   */
  readonly stable?: 'create' | 'continue' | undefined;
}

export interface AtomicFile extends ByteSink {
  readonly finalPath: string;
  /** Where the bytes are until commit. */
  readonly temporary: string;
  /** Starts or continues writing back to the disk, so that little is left to flush at the end. */
  flush(): Promise<void>;
  /** Flushes and closes the temporary file; nothing is visible yet. */
  finish(): Promise<void>;
  /** Reads back what was written, before `finish`; returns the bytes read, fewer at the end of the file. */
  read(offset: number, target: Uint8Array): Promise<number>;
  /** Closes the temporary file and leaves it for a later run. */
  leave(): Promise<void>;
}

/** Where an output with a stable temporary name is until commit. */
export function partialPath(final: string): string {
  return `${final}.partial`;
}

interface Staged extends AtomicFile {
  readonly directory: string;
  /** Puts the finished file in place of the final one; the file that was there is moved to `backup`. */
  publish(backup: boolean): Promise<void>;
  /** Undoes `publish`. */
  withdraw(): Promise<void>;
  /** Removes the backup. */
  settle(): Promise<void>;
}

/** What commit needs of a file and its holder does not see. */
const staged = new WeakMap<AtomicFile, Staged>();
let counter = 0;

/**
 * @throws WhittleError E_OUTPUT_EXISTS, E_OUTPUT_IS_INPUT, E_NOT_FOUND (no such folder), E_ACCESS, E_NO_SPACE, E_IO.
 */
export async function createAtomicFile(path: string, options: AtomicFileOptions = {}): Promise<AtomicFile> {
  const disk = options.disk ?? realDisk;
  const final = resolve(path);
  const directory = dirname(final);
  const details = { file: path };
  const guard = async <T>(action: string, run: () => Promise<T>): Promise<T> => {
    try {
      return await run();
    } catch (error) {
      throw diskError(error, action, details);
    }
  };
  if (path.includes('\0')) throw new WhittleError('E_USAGE', 'a path cannot hold a NUL character', details);
  await guard('look at the output', () => assertFree(disk, path, final, options));
  await removeStale(disk, directory);

  const unique = join(directory, `.${basename(final)}.${process.pid}-${counter++}`);
  const temporary = options.stable === undefined ? `${unique}.partial` : partialPath(final);
  const previous = `${unique}.previous`;
  const file: DiskFile = await guard('create the output', async () => {
    if (options.stable === 'create') await disk.remove(temporary);
    if (options.size !== undefined) {
      const there = options.stable === 'continue' ? await disk.identity(temporary) : undefined;
      const missing = options.size - (there?.allocated ?? there?.size ?? 0);
      await assertSpace(directory, path, Math.max(0, missing), disk);
    }
    const found = options.stable === 'continue' ? await disk.reopen(temporary) : undefined;
    return found ?? (await disk.create(temporary));
  });
  let state: 'open' | 'finished' | 'published' | 'gone' = 'open';
  let hasBackup = false;

  const flush = (): Promise<void> => guard('flush the output', () => file.sync());
  const finish = async (): Promise<void> => {
    if (state !== 'open') return;
    if (options.size !== undefined) {
      const { size } = options;
      await guard('set the size of the output', () => file.truncate(size));
    }
    await flush();
    await guard('close the output', () => file.close());
    state = 'finished';
  };
  const sink: Staged = {
    name: path,
    path: disk === realDisk ? temporary : undefined,
    finalPath: final,
    directory,
    temporary,
    flush,
    finish,
    write: (offset, bytes) => guard('write the output', () => writeAll(file, offset, bytes)),
    read: (offset, target) => guard('read the output back', () => readAll(file, offset, target)),
    async leave() {
      if (state === 'open') await quietly(() => file.close());
      if (state === 'open' || state === 'finished') state = 'gone';
    },
    async publish(backup) {
      // Looked at again: a file may have appeared there while this one was being written.
      await guard('look at the output', () => assertFree(disk, path, final, options));
      await guard('put the output in place', async () => {
        if (backup && (await disk.identity(final)) !== undefined) {
          await disk.rename(final, previous);
          hasBackup = true;
        }
        await disk.rename(temporary, final);
        state = 'published';
      });
    },
    async withdraw() {
      if (state === 'published') {
        await disk.rename(final, temporary);
        state = 'finished';
      }
      if (hasBackup) await disk.rename(previous, final);
      hasBackup = false;
    },
    async settle() {
      if (hasBackup) await disk.remove(previous);
      hasBackup = false;
    },
    commit: () => commitTogether([sink]),
    async abort() {
      if (state === 'gone' || state === 'published') return;
      if (state === 'open') await quietly(() => file.close());
      state = 'gone';
      await quietly(() => disk.remove(temporary));
    },
  };
  staged.set(sink, sink);
  diskOf.set(sink, disk);
  return sink;
}

const diskOf = new WeakMap<AtomicFile, Disk>();

/**
 * Commits all or none, in order: give the model last, since its presence says that its data files are complete.
 * Where a step fails, what was put in place is taken back, the files it replaced return, and nothing is left beside them but,
 * with `leave`, the temporary files.
 */
export async function commitTogether(
  files: readonly AtomicFile[],
  options: { readonly onFailure?: 'remove' | 'leave' | undefined } = {},
): Promise<void> {
  const sinks = files.map((file) => {
    const found = staged.get(file);
    if (found === undefined) throw new Error('commitTogether takes files of createAtomicFile');
    return found;
  });
  try {
    await settleAll(sinks.map((sink) => sink.finish()));
    for (const sink of sinks) await sink.publish(sinks.length > 1);
    await syncDirectories(sinks);
  } catch (error) {
    // A single file replaces its predecessor in one step, so there is nothing to go back to: once there, it is complete.
    if (sinks.length > 1) for (const sink of [...sinks].reverse()) await quietly(() => sink.withdraw());
    await Promise.all(sinks.map((sink) => (options.onFailure === 'leave' ? sink.leave() : sink.abort())));
    throw error;
  }
  for (const sink of sinks) await quietly(() => sink.settle());
}

/** Flushes and closes all, so that they can be read; nothing is visible under a final name yet. */
export async function finishTogether(files: readonly AtomicFile[]): Promise<void> {
  await settleAll(files.map((file) => file.finish()));
}

async function syncDirectories(sinks: readonly Staged[]): Promise<void> {
  for (const directory of new Set(sinks.map((sink) => sink.directory))) {
    const sink = sinks.find((candidate) => candidate.directory === directory);
    const disk = (sink && diskOf.get(sink)) ?? realDisk;
    try {
      await disk.syncDirectory(directory);
    } catch (error) {
      throw diskError(error, 'flush the folder of the output', { file: directory });
    }
  }
}

/** Waits for all, then throws the first failure: nothing keeps running behind the caller's back. */
async function settleAll(promises: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(promises);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/** The checks of `createAtomicFile` that need no file: whether `path` may be written. */
export async function assertMayWrite(path: string, options: AtomicFileOptions): Promise<void> {
  try {
    await assertFree(options.disk ?? realDisk, path, resolve(path), options);
  } catch (error) {
    throw diskError(error, 'look at the output', { file: path });
  }
}

async function assertFree(
  disk: Disk,
  path: string,
  final: string,
  options: AtomicFileOptions,
): Promise<void> {
  const found = await disk.identity(final);
  if (found === undefined) return;
  if (options.inputs?.some((input) => input.dev === found.dev && input.ino === found.ino)) {
    throw new WhittleError('E_OUTPUT_IS_INPUT', 'the output would overwrite the input', {
      file: path,
      hint: 'Choose another output; the input is never changed.',
    });
  }
  if (found.kind !== 'file') {
    throw new WhittleError('E_ACCESS', 'the output path is not a regular file', {
      file: path,
      found: found.kind === 'directory' ? 'a folder' : 'a device or pipe',
      hint: 'Name a file.',
    });
  }
  if (options.force !== true) {
    throw new WhittleError('E_OUTPUT_EXISTS', 'the output exists', {
      file: path,
      hint: 'Pass --force to replace it, or choose another output.',
    });
  }
}

/** @throws WhittleError E_NO_SPACE where `directory` has fewer than `size` bytes free; `path` is named in the message. */
export async function assertSpace(
  directory: string,
  path: string,
  size: number,
  disk: Disk = realDisk,
): Promise<void> {
  let free: number | undefined;
  try {
    free = await disk.freeBytes(directory);
  } catch (error) {
    throw diskError(error, 'look at the folder of the output', { file: path });
  }
  if (free !== undefined && free < size) {
    throw new WhittleError('E_NO_SPACE', 'the output does not fit on the disk', {
      file: path,
      expected: `${size} bytes free`,
      found: `${free} bytes free`,
      hint: 'Free space on that disk, or write to another one with --output.',
    });
  }
}

const TEMPORARY = /^\..+\.(\d+)-\d+\.(partial|previous|proof)$/;

/** Removes what killed runs left in `directory`. A failure is no reason to stop. */
async function removeStale(disk: Disk, directory: string): Promise<void> {
  let names: string[];
  try {
    names = await disk.list(directory);
  } catch {
    // A folder that cannot be listed may still be written; creating the file will tell.
    return;
  }
  for (const name of names) {
    const match = TEMPORARY.exec(name);
    if (match === null || isRunning(Number(match[1]))) continue;
    await quietly(() => disk.remove(join(directory, name)));
  }
}

/** Cleaning up must not hide the error that made it necessary. */
async function quietly(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch {
    // Nothing more can be done; a later run removes what is left.
  }
}
