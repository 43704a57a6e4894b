/** A folder under the system's temporary folder, for files that an engine must read by path; it goes with all it holds. */

import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WhittleError } from '../errors.ts';
import { diskError } from './disk.ts';

export interface TemporaryFile extends AsyncDisposable {
  /** @throws WhittleError E_NO_SPACE, E_IO */
  write(offset: number, bytes: Uint8Array): Promise<void>;
}

export interface TemporaryFolder extends AsyncDisposable {
  /** Path of a file in it. */
  path(name: string): string;
  /** A new file of `size` bytes, zero where nothing is written. @throws WhittleError E_NO_SPACE, E_ACCESS, E_IO */
  create(name: string, size: number): Promise<TemporaryFile>;
  remove(): Promise<void>;
}

/** @throws WhittleError E_ACCESS, E_NO_SPACE, E_IO */
export async function createTemporaryFolder(): Promise<TemporaryFolder> {
  const folder = await guard(tmpdir(), () => mkdtemp(join(tmpdir(), 'whittle-')));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  const path = (name: string): string => join(folder, name);
  return {
    path,
    async create(name, size) {
      const file = path(name);
      const handle = await guard(file, () => open(file, 'wx'));
      await guard(file, () => handle.truncate(size));
      return {
        write: (offset, bytes) => guard(file, () => writeWhole(handle, offset, bytes)),
        [Symbol.asyncDispose]: () => handle.close(),
      };
    },
    remove,
    [Symbol.asyncDispose]: remove,
  };
}

async function writeWhole(handle: FileHandle, offset: number, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, offset + done);
    if (bytesWritten === 0) {
      throw new WhittleError('E_IO', 'the disk took nothing', { hint: 'Check the temporary folder.' });
    }
    done += bytesWritten;
  }
}

async function guard<T>(file: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof WhittleError) throw error;
    throw diskError(error, 'write a temporary file', { file });
  }
}
