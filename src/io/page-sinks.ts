/**
 * Outputs that a page has: a file that the user chose or of the origin's own file system (by handle), the same in a worker with
 * synchronous access, and any stream, such as an upload.
 *
 * Source: File System Standard (https://fs.spec.whatwg.org), Streams Standard (https://streams.spec.whatwg.org).
 */

import { type ErrorCode, WhittleError } from '../errors.ts';
import { gatherWrites } from './gather-writes.ts';
import type { ByteSink } from './source.ts';

/** What is used of FileSystemFileHandle: from `showSaveFilePicker()`, or `getFileHandle()` of a folder. */
export interface WritableHandle {
  readonly name: string;
  createWritable(): Promise<FileSystemWritableFileStream>;
}

/** Writes a file, which has its old content until everything is written: the browser keeps the new one apart. */
export async function fileHandleSink(handle: WritableHandle): Promise<ByteSink> {
  const { name } = handle;
  const stream = await guard(name, () => handle.createWritable());
  const gathered = gatherWrites((position, data) =>
    guard(name, () => stream.write({ type: 'write', position, data })),
  );
  let isOpen = true;
  return {
    name,
    write: (offset, bytes) => gathered.write(offset, bytes),
    async commit() {
      await gathered.flush();
      isOpen = false;
      await guard(name, () => stream.close());
    },
    async abort() {
      if (!isOpen) return;
      isOpen = false;
      await stream.abort().catch(() => undefined);
    },
  };
}

/** What is used of FileSystemSyncAccessHandle, which workers have. */
export interface SyncHandle {
  write(bytes: Uint8Array<ArrayBuffer>, options: { readonly at: number }): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}

/**
 * Writes a file of the origin's own file system in a worker: the fastest way to the disk. The file is emptied at once, and left
 * empty where the run fails; the handle is closed at the end.
 */
export async function syncHandleSink(handle: SyncHandle, name: string): Promise<ByteSink> {
  await guard(name, () => handle.truncate(0));
  const gathered = gatherWrites((offset, bytes) =>
    guard(name, () => {
      for (let done = 0; done < bytes.length; ) {
        const written = handle.write(bytes.subarray(done), { at: offset + done });
        if (written <= 0) throw noSpace(name);
        done += written;
      }
    }),
  );
  let isOpen = true;
  return {
    name,
    write: (offset, bytes) => gathered.write(offset, bytes),
    async commit() {
      await gathered.flush();
      isOpen = false;
      await guard(name, () => {
        handle.flush();
        handle.close();
      });
    },
    async abort() {
      if (!isOpen) return;
      isOpen = false;
      handle.truncate(0);
      handle.close();
    },
  };
}

/**
 * Writes a stream from its first byte to its last. What comes before its turn is held in memory: little for GGUF; for ONNX the
 * scales of one weight while its codes are written.
 */
export function streamSink(stream: WritableStream<Uint8Array>, name = '<stream>'): ByteSink {
  const writer = stream.getWriter();
  // Who writes learns of a failure from the write.
  writer.closed.catch(() => undefined);
  const held = new Map<number, Uint8Array>();
  let at = 0;
  const pass = async (bytes: Uint8Array): Promise<void> => {
    at += bytes.length;
    await guard(name, async () => {
      await writer.ready;
      await writer.write(bytes);
    });
  };
  return {
    name,
    async write(offset, bytes) {
      if (offset < at) throw new WhittleError('E_IO', 'bytes were written twice', { file: name, offset });
      // The stream may look at the bytes later; the caller uses its buffer again.
      const own = bytes.slice();
      if (offset > at) {
        held.set(offset, own);
        return;
      }
      await pass(own);
      for (let next = held.get(at); next !== undefined; next = held.get(at)) {
        held.delete(at);
        await pass(next);
      }
    },
    async commit() {
      if (held.size > 0) {
        throw new WhittleError('E_IO', 'bytes of the output are missing', { file: name, offset: at });
      }
      await guard(name, () => writer.close());
    },
    async abort() {
      held.clear();
      await writer
        .abort(new WhittleError('E_ABORTED', 'the output was given up', { file: name }))
        .catch(() => undefined);
    },
  };
}

/** What the standards' exceptions mean. */
const MEANING: Readonly<Record<string, readonly [ErrorCode, hint: string]>> = {
  QuotaExceededError: [
    'E_NO_SPACE',
    'Free space: delete other files of this site, or write to a file that the user chooses.',
  ],
  NotAllowedError: ['E_ACCESS', 'Ask the user again: the page lost, or never had, the permission to write.'],
  NoModificationAllowedError: ['E_LOCKED', 'Another handle has the file open. Close it first.'],
  InvalidStateError: ['E_IO', 'The file was closed, moved or deleted meanwhile.'],
  NotFoundError: ['E_NOT_FOUND', 'The file or its folder was deleted. Choose it again.'],
};

async function guard<T>(file: string, run: () => Promise<T> | T): Promise<T> {
  try {
    return await run();
  } catch (cause) {
    if (cause instanceof WhittleError) throw cause.with({ file });
    const name = cause instanceof Error || cause instanceof DOMException ? cause.name : String(cause);
    const [code, hint] = MEANING[name] ?? ['E_IO', 'Try again, or write to another place.'];
    throw new WhittleError(code, 'cannot write the output', { file, found: name, hint, cause });
  }
}

function noSpace(file: string): WhittleError {
  return new WhittleError('E_NO_SPACE', 'the file takes no more bytes', {
    file,
    hint: MEANING.QuotaExceededError?.[1],
  });
}
