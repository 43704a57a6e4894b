/**
 * A file on disk as a `ByteSource`.
 *
 * Approach: positioned reads through one handle, in pieces of at most 64 MiB, repeated until the target is full.
 * Larger reads are not portable: Node aborts the process on reads of 2 GiB and more, and short reads are
 * legal at any size. Small reads are made at once: they meet the page cache, where the way through the thread pool costs more, and
 * models of many thousand tensors have nothing else; the event loop has its turns all the same. Pipes and devices are refused before they are opened, since opening a pipe waits for ever.
 */

import { constants, readSync, type Stats } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { turn } from '../core/turn.ts';
import { type ErrorCode, WhittleError } from '../errors.ts';
import { assertRange } from './memory-source.ts';
import type { ByteSource } from './source.ts';

/** Largest single read, bytes. */
const CHUNK = 64 * 1024 * 1024;
/** Reads up to this many bytes do not leave the thread. */
const AT_ONCE = 64 * 1024;
/** Signals, progress and messages have a turn at least so often between such reads, milliseconds. */
const TURN_MS = 12;
let lastTurn = 0;

/** What identifies a file while it is in use. */
export interface FileIdentity {
  readonly dev: number;
  readonly ino: number;
  readonly size: number;
  readonly mtimeMs: number;
}

export interface FileSource extends ByteSource {
  /** Absolute path, for a worker that opens the file itself. */
  readonly path: string;
  readonly identity: FileIdentity;
  /** @throws WhittleError E_INPUT_CHANGED where size or time of change are no longer those at opening. */
  assertUnchanged(): Promise<void>;
}

export function isFileSource(source: ByteSource): source is FileSource {
  return 'path' in source && 'identity' in source;
}

export interface OpenFileOptions {
  /** Refuse a path whose last component is a symbolic link, at the moment of opening. */
  readonly noFollow?: boolean | undefined;
}

/**
 * Opens a regular file for reading.
 * @throws WhittleError E_NOT_FOUND, E_ACCESS, E_IO; E_NOT_A_MODEL for folders, pipes and devices.
 */
export async function openFile(path: string, options: OpenFileOptions = {}): Promise<FileSource> {
  if (path.includes('\0')) {
    throw new WhittleError('E_NOT_FOUND', 'a path cannot hold a NUL character', { file: path });
  }
  const found = await guard(path, () => stat(path));
  assertRegular(path, found);
  // NONBLOCK: a pipe that took the file's place between the two calls must not block the open.
  const noFollow = options.noFollow === true ? (constants.O_NOFOLLOW ?? 0) : 0;
  const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | noFollow;
  const handle = await guard(path, () => open(path, flags));
  try {
    const opened = await guard(path, () => handle.stat());
    assertRegular(path, opened);
    return sourceOf(path, handle, opened);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function sourceOf(path: string, handle: FileHandle, stats: Stats): FileSource {
  const identity: FileIdentity = {
    dev: stats.dev,
    ino: stats.ino,
    size: stats.size,
    mtimeMs: stats.mtimeMs,
  };
  let closed: Promise<void> | undefined;
  return {
    name: path,
    path: resolve(path),
    size: stats.size,
    identity,
    async readInto(offset, target) {
      assertRange(path, stats.size, offset, target.length);
      if (closed !== undefined) throw closedError(path);
      if (target.length <= AT_ONCE) {
        readNow(path, handle.fd, offset, target, stats.size);
        if (performance.now() - lastTurn < TURN_MS) return;
        await turn();
        lastTurn = performance.now();
        return;
      }
      for (let done = 0; done < target.length; ) {
        const length = Math.min(CHUNK, target.length - done);
        const { bytesRead } = await guard(path, () => handle.read(target, done, length, offset + done));
        if (bytesRead === 0) throw shrunk(path, offset + done, stats.size);
        done += bytesRead;
      }
    },
    async assertUnchanged() {
      const now = await guard(path, () => stat(path));
      if (now.size !== stats.size || now.mtimeMs !== stats.mtimeMs || now.ino !== stats.ino) {
        throw new WhittleError('E_INPUT_CHANGED', 'the file changed while it was read', {
          file: path,
          expected: `${stats.size} bytes, changed ${stats.mtime.toISOString()}`,
          found: `${now.size} bytes, changed ${now.mtime.toISOString()}`,
          hint: 'Run again when nothing writes to the file.',
        });
      }
    },
    close() {
      closed ??= handle.close();
      return closed;
    },
  };
}

function readNow(path: string, fd: number, offset: number, target: Uint8Array, size: number): void {
  for (let done = 0; done < target.length; ) {
    let got: number;
    try {
      got = readSync(fd, target, done, target.length - done, offset + done);
    } catch (cause) {
      throw ioError(path, cause);
    }
    if (got === 0) throw shrunk(path, offset + done, size);
    done += got;
  }
}

function assertRegular(path: string, stats: Stats): void {
  if (stats.isFile()) return;
  const [kind, hint] = stats.isDirectory()
    ? ['a folder', 'Name the model file inside it.']
    : stats.isFIFO()
      ? ['a pipe', 'Save the data to a file first: a model is not read from front to back.']
      : ['a device or socket', 'Name a regular file.'];
  throw new WhittleError('E_NOT_A_MODEL', `this is ${kind}, not a file`, {
    file: path,
    expected: 'a regular file',
    found: kind,
    hint,
  });
}

function shrunk(file: string, offset: number, size: number): WhittleError {
  return new WhittleError('E_INPUT_CHANGED', 'the file became shorter while it was read', {
    file,
    offset,
    expected: `${size} bytes`,
    found: `${offset} bytes`,
    hint: 'Run again when nothing writes to the file.',
  });
}

function closedError(file: string): WhittleError {
  return new WhittleError('E_IO', 'the file was closed before it was read', {
    file,
    hint: 'Keep the model open until its tensors have been read.',
  });
}

/** Runs one call of the file system and turns its error into a coded one. */
async function guard<T>(path: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    throw ioError(path, cause);
  }
}

const SYSTEM_CODES: Readonly<Record<string, readonly [ErrorCode, string, string]>> = {
  ENOENT: ['E_NOT_FOUND', 'there is no such file', 'Check the path.'],
  ENOTDIR: ['E_NOT_FOUND', 'a part of the path is not a folder', 'Check the path.'],
  ENAMETOOLONG: ['E_NOT_FOUND', 'the path is too long', 'Check the path.'],
  ELOOP: ['E_ACCESS', 'the path is a symbolic link that may not be followed', 'Name the real file.'],
  EACCES: ['E_ACCESS', 'this user may not read the file', 'Change its permissions, or copy it.'],
  EPERM: ['E_ACCESS', 'this user may not read the file', 'Change its permissions, or copy it.'],
  EMFILE: ['E_IO', 'too many files are open', 'Raise the limit of open files (ulimit -n).'],
  EIO: ['E_IO', 'the disk could not read the file', 'Check the disk.'],
};

/** The coded error for what the file system said. */
export function ioError(file: string, cause: unknown): WhittleError {
  if (cause instanceof WhittleError) return cause;
  const system = systemCode(cause);
  const [code, message, hint] = SYSTEM_CODES[system] ?? ['E_IO', 'the file could not be read', undefined];
  return new WhittleError(code, message, { file, found: system === '' ? undefined : system, hint, cause });
}

function systemCode(cause: unknown): string {
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
}
