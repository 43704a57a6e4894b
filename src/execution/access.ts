/**
 * How jobs reach their bytes. Files on disk are read and written with positioned system calls of the thread that runs
 * the job, straight into and out of kernel memory; synchronous, since that is what a page cache wants and every tile ends
 * in a checkpoint. Anything else (Blob, memory, a sink of the caller) goes through `ByteSource` and `ByteSink`.
 */

import { closeSync, openSync, readSync } from 'node:fs';
import { WhittleError } from '../errors.ts';
import { diskError, writeAllSync } from '../io/disk.ts';
import type { ByteSink, ByteSource } from '../io/source.ts';

/** Bytes by index in the tables of sources and targets. */
export interface Access {
  read(source: number, offset: number, target: Uint8Array): Promise<void> | void;
  write(target: number, offset: number, bytes: Uint8Array): Promise<void> | void;
  /** Bytes moved so far. */
  readonly bytesRead: number;
  readonly bytesWritten: number;
  close(): void;
}

/** One file of the table: what a thread needs to open it, and its name for messages. */
export interface FileEntry {
  readonly name: string;
  readonly path: string;
}

/** Largest single read: Node aborts the process on 2 GiB and more. */
const MAX_READ = 64 << 20;

/** Opens files when a job first needs them. */
export function createFileAccess(
  sources: readonly (FileEntry | undefined)[],
  targets: readonly (FileEntry | undefined)[],
): Access {
  const inputs: (number | undefined)[] = [];
  const outputs: (number | undefined)[] = [];
  let bytesRead = 0;
  let bytesWritten = 0;

  const descriptor = (
    open: (number | undefined)[],
    table: readonly (FileEntry | undefined)[],
    index: number,
    flags: 'r' | 'r+',
  ): number => {
    const known = open[index];
    if (known !== undefined) return known;
    const fd = openSync(entryOf(table, index).path, flags);
    open[index] = fd;
    return fd;
  };

  return {
    read(source, offset, target) {
      const entry = entryOf(sources, source);
      try {
        const fd = descriptor(inputs, sources, source, 'r');
        let done = 0;
        while (done < target.length) {
          const length = Math.min(target.length - done, MAX_READ);
          const got = readSync(fd, target, done, length, offset + done);
          if (got <= 0) throw truncated(entry.name, offset + done, target.length - done);
          done += got;
        }
      } catch (error) {
        throw diskError(error, 'read the model', { file: entry.name });
      }
      bytesRead += target.length;
    },
    write(target, offset, bytes) {
      const entry = entryOf(targets, target);
      try {
        writeAllSync(descriptor(outputs, targets, target, 'r+'), offset, bytes);
      } catch (error) {
        throw diskError(error, 'write the output', { file: entry.name });
      }
      bytesWritten += bytes.length;
    },
    get bytesRead() {
      return bytesRead;
    },
    get bytesWritten() {
      return bytesWritten;
    },
    close() {
      for (const fd of [...inputs, ...outputs]) if (fd !== undefined) closeSync(fd);
      inputs.length = 0;
      outputs.length = 0;
    },
  };
}

/** Sources that are files are read directly, others through their `readInto`; the same for sinks. */
export function createMixedAccess(sources: readonly ByteSource[], sinks: readonly ByteSink[]): Access {
  const files = createFileAccess(sources.map(fileEntry), sinks.map(fileEntry));
  let bytesRead = 0;
  let bytesWritten = 0;
  return {
    read(index, offset, target) {
      const source = sources[index];
      if (source === undefined || source.path !== undefined) return files.read(index, offset, target);
      bytesRead += target.length;
      return source.readInto(offset, target);
    },
    write(index, offset, bytes) {
      const sink = sinks[index];
      if (sink === undefined || sink.path !== undefined) return files.write(index, offset, bytes);
      bytesWritten += bytes.length;
      return sink.write(offset, bytes);
    },
    get bytesRead() {
      return bytesRead + files.bytesRead;
    },
    get bytesWritten() {
      return bytesWritten + files.bytesWritten;
    },
    close: () => files.close(),
  };
}

export function fileEntry(item: ByteSource | ByteSink): FileEntry | undefined {
  return item.path === undefined ? undefined : { name: item.name, path: item.path };
}

function entryOf(table: readonly (FileEntry | undefined)[], index: number): FileEntry {
  const entry = table[index];
  if (entry === undefined) throw new Error(`no file with the index ${index}`);
  return entry;
}

function truncated(name: string, offset: number, missing: number): WhittleError {
  return new WhittleError('E_TRUNCATED', 'the file ends before the tensor does', {
    file: name,
    offset,
    expected: `${missing} more bytes`,
    found: 'the end of the file',
    hint: 'Get the file again: it is incomplete, or was changed while it was read.',
  });
}
