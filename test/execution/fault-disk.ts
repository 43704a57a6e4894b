/**
 * A file system in memory whose Nth call fails: for every N until a run succeeds, what is left must be nothing or perfect
 * (the way of SQLite's ioerr tests). Everything it holds can be looked at.
 */

import { dirname } from 'node:path';
import type { Disk, DiskFile } from '../../src/io/disk.ts';

export type FaultKind = 'ENOSPC' | 'EIO' | 'EDQUOT' | 'short-then-ENOSPC';

export interface FaultDisk extends Disk {
  readonly files: Map<string, Uint8Array>;
  /** Calls made so far that could fail. */
  readonly calls: number;
  /** Whether the planned fault was reached. */
  readonly struck: boolean;
}

export function createFaultDisk(
  fault: { readonly at: number; readonly kind: FaultKind } | undefined,
  before: ReadonlyMap<string, Uint8Array> = new Map(),
): FaultDisk {
  const files = new Map(before);
  let calls = 0;
  let struck = false;
  let full = false;

  const systemError = (code: string): Error => Object.assign(new Error(code), { code });
  /** Counts a call; throws where it is the one to fail. A full disk stays full for writes. */
  const step = (isWrite = false): 'short' | undefined => {
    if (isWrite && full) throw systemError('ENOSPC');
    if (fault === undefined || calls++ !== fault.at) return undefined;
    struck = true;
    if (fault.kind !== 'short-then-ENOSPC') throw systemError(fault.kind);
    full = true;
    if (isWrite) return 'short';
    throw systemError('ENOSPC');
  };

  return {
    files,
    get calls() {
      return calls;
    },
    get struck() {
      return struck;
    },
    async create(path): Promise<DiskFile> {
      step();
      if (files.has(path)) throw systemError('EEXIST');
      files.set(path, new Uint8Array());
      return fileAt(path);
    },
    async reopen(path): Promise<DiskFile | undefined> {
      step();
      return files.has(path) ? fileAt(path) : undefined;
    },
    async identity(path) {
      const found = files.get(path);
      if (found === undefined) return undefined;
      return { dev: 1, ino: [...files.keys()].indexOf(path), size: found.length, mtimeMs: 0, kind: 'file' };
    },
    async freeBytes() {
      return undefined;
    },
    async list(directory) {
      return [...files.keys()].filter((path) => dirname(path) === directory);
    },
    async rename(from, to) {
      step();
      const content = files.get(from);
      if (content === undefined) throw systemError('ENOENT');
      files.delete(from);
      files.set(to, content);
    },
    async remove(path) {
      files.delete(path);
    },
    async syncDirectory() {
      step();
    },
  };

  function fileAt(name: string): DiskFile {
    const content = (): Uint8Array => files.get(name) ?? new Uint8Array();
    const resize = (size: number): void => {
      const next = new Uint8Array(size);
      next.set(content().subarray(0, size));
      files.set(name, next);
    };
    return {
      async read(target, offset) {
        step();
        const part = content().subarray(offset, offset + Math.min(target.length, 1000));
        target.set(part);
        return part.length;
      },
      async write(bytes, offset) {
        // Calls take as much as they like, as the system may.
        const short = step(true) === 'short';
        const part = bytes.subarray(0, short ? Math.floor(bytes.length / 2) : Math.min(bytes.length, 1000));
        if (short && part.length === 0) throw systemError('ENOSPC');
        if (offset + part.length > content().length) resize(offset + part.length);
        content().set(part, offset);
        return part.length;
      },
      async sync() {
        step();
      },
      async truncate(size) {
        step();
        resize(size);
      },
      async close() {},
    };
  }
}
