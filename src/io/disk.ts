/**
 * The few file-system calls that writing needs, behind an interface, so that a test can make the Nth of them fail; and
 * the translation of the system's error codes into whittle's, with what the user can do.
 *
 * Every write is a loop: a full disk first answers with a short count and no error, and one call must stay below 2 GiB
 * (Node rejects more); pieces of at most 64 MiB are written.
 */

import { closeSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { type FileHandle, open, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { type ErrorCode, type ErrorDetails, WhittleError } from '../errors.ts';

export interface DiskFile {
  /** May read fewer bytes than asked for; 0 at the end of the file. */
  read(target: Uint8Array, offset: number): Promise<number> | number;
  /** May write fewer bytes than given. */
  write(bytes: Uint8Array, offset: number): Promise<number> | number;
  /** Flushes data and the metadata needed to read it. */
  sync(): Promise<void>;
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}

export interface DiskIdentity {
  readonly dev: number;
  readonly ino: number;
  readonly size: number;
  readonly mtimeMs: number;
  readonly kind: 'file' | 'directory' | 'other';
  /** Bytes that the file takes on the disk: fewer than `size` where it has holes. */
  readonly allocated?: number | undefined;
}

export interface Disk {
  /** Creates a file that must not exist yet. */
  create(path: string): Promise<DiskFile>;
  /** Opens a file for reading and writing; undefined where there is none. */
  reopen(path: string): Promise<DiskFile | undefined>;
  identity(path: string): Promise<DiskIdentity | undefined>;
  /** Bytes that may still be written by this user in the file system of `directory`; undefined where not known. */
  freeBytes(directory: string): Promise<number | undefined>;
  list(directory: string): Promise<string[]>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; one that is not there is fine. */
  remove(path: string): Promise<void>;
  /** Makes renames in `directory` durable. */
  syncDirectory(directory: string): Promise<void>;
}

export const MAX_WRITE = 64 << 20;

export const realDisk: Disk = {
  create: async (path) => diskFile(await open(path, 'wx+', 0o666)),

  async reopen(path) {
    try {
      return diskFile(await open(path, 'r+'));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  },

  async identity(path) {
    try {
      const found = await stat(path);
      return {
        dev: found.dev,
        ino: found.ino,
        size: found.size,
        mtimeMs: found.mtimeMs,
        kind: found.isFile() ? 'file' : found.isDirectory() ? 'directory' : 'other',
        // Always in units of 512 bytes; 0 or missing where the file system does not count.
        ...(found.blocks > 0 && { allocated: found.blocks * 512 }),
      };
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  },

  async freeBytes(directory) {
    const found = await statfs(directory);
    // Some network and overlay file systems report nothing at all.
    return found.blocks === 0 ? undefined : found.bavail * found.bsize;
  },

  list: (directory) => readdir(directory),
  rename: renamePatiently,

  async remove(path) {
    // Only a folder of links (linked-files.ts) is ever removed with what is in it.
    await rm(path, { force: true, recursive: path.endsWith('.proof') });
  },

  async syncDirectory(directory) {
    // Windows cannot open a folder; some file systems cannot flush one. The rename is atomic all the same.
    try {
      const fd = openSync(directory, 'r');
      try {
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      const code = systemCode(error) ?? '';
      if (!['EINVAL', 'ENOTSUP', 'EISDIR', 'EPERM', 'EACCES'].includes(code)) throw error;
    }
  },
};

function diskFile(handle: FileHandle): DiskFile {
  return {
    // Synchronous: most calls meet the page cache, where a round trip through the thread pool costs more.
    read: (target, offset) => readSync(handle.fd, target, 0, Math.min(target.length, MAX_WRITE), offset),
    write: (bytes, offset) => writeSync(handle.fd, bytes, 0, Math.min(bytes.length, MAX_WRITE), offset),
    sync: () => handle.datasync(),
    truncate: (size) => handle.truncate(size),
    close: () => handle.close(),
  };
}

/** On Windows a virus scanner or indexer may hold a fresh file for a moment; elsewhere the first answer counts. */
async function renamePatiently(from: string, to: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await rename(from, to);
    } catch (error) {
      const busy = ['EBUSY', 'EPERM', 'EACCES'].includes(systemCode(error) ?? '');
      if (process.platform !== 'win32' || !busy || attempt === 6) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20 * attempt));
    }
  }
}

/** Code of a system error such as ENOSPC, or undefined for anything else. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

const MEANING: Readonly<Record<string, { code: ErrorCode; message: string; hint: string }>> = {
  ENOSPC: {
    code: 'E_NO_SPACE',
    message: 'the disk is full',
    hint: 'Free space on that disk, or write to another one with --output.',
  },
  EDQUOT: {
    code: 'E_NO_SPACE',
    message: 'the disk quota is used up',
    hint: 'Free space within your quota, or write to another disk with --output.',
  },
  EFBIG: {
    code: 'E_NO_SPACE',
    message: 'the file gets larger than the system allows',
    hint: 'Raise the limit (ulimit -f), or choose a file system without one.',
  },
  EACCES: {
    code: 'E_ACCESS',
    message: 'permission denied',
    hint: 'Check the permissions of the file and its folder, or write elsewhere with --output.',
  },
  EPERM: {
    code: 'E_ACCESS',
    message: 'the system does not permit it',
    hint: 'Check the permissions of the file and its folder, or write elsewhere with --output.',
  },
  EROFS: {
    code: 'E_ACCESS',
    message: 'the file system is read-only',
    hint: 'Write to another place with --output.',
  },
  ENOENT: {
    code: 'E_NOT_FOUND',
    message: 'no such file or folder',
    hint: 'Check the path; the folder must exist before a file is written into it.',
  },
  ENOTDIR: {
    code: 'E_NOT_FOUND',
    message: 'a part of the path is not a folder',
    hint: 'Check the path.',
  },
  EISDIR: {
    code: 'E_ACCESS',
    message: 'the path is a folder',
    hint: 'Name a file.',
  },
  EMFILE: {
    code: 'E_IO',
    message: 'too many files are open',
    hint: 'Raise the limit (ulimit -n) or use fewer threads.',
  },
  ENAMETOOLONG: {
    code: 'E_USAGE',
    message: 'the file name is too long',
    hint: 'Choose a shorter name; the temporary file beside it needs about 20 characters more.',
  },
  EIO: {
    code: 'E_IO',
    message: 'the disk reports an error',
    hint: 'Check the disk (dmesg, smartctl), then try again on another one.',
  },
};

/** A system error as a WhittleError; WhittleErrors pass, other errors come back unchanged. */
export function diskError(error: unknown, action: string, details: ErrorDetails): unknown {
  if (error instanceof WhittleError) return error.with(details);
  const code = systemCode(error);
  if (code === undefined || !/^E[A-Z0-9]+$/.test(code)) return error;
  const meaning = MEANING[code];
  const message = meaning?.message ?? `the system answered ${code}`;
  return new WhittleError(meaning?.code ?? 'E_IO', `cannot ${action}: ${message}`, {
    ...details,
    found: code,
    hint: meaning?.hint ?? 'Try again; if it stays, choose another disk.',
    cause: error,
  });
}

/** Writes all of `bytes`, however few each call takes. */
export async function writeAll(file: DiskFile, offset: number, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const answer = file.write(bytes.subarray(done), offset + done);
    const written = typeof answer === 'number' ? answer : await answer;
    if (written <= 0) throw noProgress();
    done += written;
  }
}

/** Reads until `target` is full or the file ends; returns the bytes read. */
export async function readAll(file: DiskFile, offset: number, target: Uint8Array): Promise<number> {
  let done = 0;
  while (done < target.length) {
    const answer = file.read(target.subarray(done), offset + done);
    const got = typeof answer === 'number' ? answer : await answer;
    if (got <= 0) break;
    done += got;
  }
  return done;
}

/** The first `most` bytes of a file; undefined where there is none. */
export async function readWhole(disk: Disk, path: string, most: number): Promise<Uint8Array | undefined> {
  const found = await disk.identity(path);
  if (found === undefined || found.kind !== 'file') return undefined;
  const file = await disk.reopen(path);
  if (file === undefined) return undefined;
  try {
    const bytes = new Uint8Array(Math.min(found.size, most));
    return bytes.subarray(0, await readAll(file, 0, bytes));
  } finally {
    await file.close();
  }
}

/** The same on a plain descriptor, synchronously. */
export function writeAllSync(fd: number, offset: number, bytes: Uint8Array): void {
  let done = 0;
  while (done < bytes.length) {
    const written = writeSync(fd, bytes, done, Math.min(bytes.length - done, MAX_WRITE), offset + done);
    if (written <= 0) throw noProgress();
    done += written;
  }
}

function noProgress(): WhittleError {
  return new WhittleError('E_NO_SPACE', 'the disk takes no more bytes', {
    hint: 'Free space on that disk, or write to another one with --output.',
  });
}
