/**
 * Where the files of a run go: a folder on disk, where they appear together and only when complete, or sinks of the
 * caller. The first file of an output is its model, and is committed last.
 */

import { join } from 'node:path';
import { WhittleError } from '../errors.ts';
import type { OutputFile } from '../formats/layout.ts';
import {
  type AtomicFile,
  assertSpace,
  commitTogether,
  createAtomicFile,
  finishTogether,
} from '../io/atomic-file.ts';
import type { Disk } from '../io/disk.ts';
import { isFileSource } from '../io/file-source.ts';
import { withLinkedFiles } from '../io/linked-files.ts';
import type { ByteSink, ByteSource } from '../io/source.ts';

export type Target =
  | {
      readonly directory: string;
      /** Replace files that exist. */
      readonly force?: boolean | undefined;
      /** Another file system, as tests have one. */
      readonly disk?: Disk | undefined;
    }
  /** One for each file, in order; their `commit` is called when all is written, or their `abort`. */
  | { readonly sinks: readonly ByteSink[] };

export interface TargetRequest {
  readonly files: readonly OutputFile[];
  readonly target: Target;
}

export interface OpenTargets {
  /** By target index: the files of the first request, then those of the second … */
  readonly sinks: readonly ByteSink[];
  /** Paths (or names, of sinks) by request. */
  readonly paths: readonly (readonly string[])[];
  /** Lets the disk start on what was written so far. */
  flush(): Promise<void>;
  /** Calls `look` with the complete files, linked under their final names in folders that exist only during the call. */
  stage(look: (outputs: readonly (readonly string[])[]) => Promise<void>): Promise<void>;
  commit(): Promise<void>;
  abort(): Promise<void>;
}

/** All files of a run together must fit: each alone may. */
async function assertRoom(requests: readonly TargetRequest[]): Promise<void> {
  const sizes = new Map<string, { size: number; disk: Disk | undefined }>();
  for (const { files, target } of requests) {
    if ('sinks' in target) continue;
    const size = files.reduce((sum, file) => sum + file.size, sizes.get(target.directory)?.size ?? 0);
    sizes.set(target.directory, { size, disk: target.disk });
  }
  for (const [directory, { size, disk }] of sizes) await assertSpace(directory, directory, size, disk);
}

/** @throws WhittleError as `createAtomicFile`; nothing is left behind then. */
export async function openTargets(
  requests: readonly TargetRequest[],
  inputs: readonly ByteSource[],
): Promise<OpenTargets> {
  const identities = inputs.filter(isFileSource).map((source) => source.identity);
  const sinks: ByteSink[] = [];
  const paths: string[][] = [];
  const atomic: AtomicFile[] = [];
  const models: AtomicFile[] = [];
  const foreign: ByteSink[] = [];
  const byRequest: AtomicFile[][] = [];
  const abort = async (): Promise<void> => {
    await Promise.allSettled([...atomic, ...models, ...foreign].map((sink) => sink.abort()));
  };
  try {
    await assertRoom(requests);
    for (const { files, target } of requests) {
      const names: string[] = [];
      const own: AtomicFile[] = [];
      for (const [index, file] of files.entries()) {
        if ('sinks' in target) {
          const sink = target.sinks[index];
          if (sink === undefined) throw new Error(`no sink for the file ${file.name}`);
          sinks.push(sink);
          foreign.push(sink);
          names.push(sink.name);
          continue;
        }
        const { force, disk } = target;
        const path = join(target.directory, file.name);
        if (paths.flat().includes(path) || names.includes(path)) {
          throw new WhittleError('E_USAGE', 'two outputs have the same path', {
            file: path,
            hint: 'Give the modes different suffixes, or write them into different folders.',
          });
        }
        const sink = await createAtomicFile(path, { size: file.size, inputs: identities, force, disk });
        sinks.push(sink);
        (index === 0 ? models : atomic).push(sink);
        names.push(path);
        own.push(sink);
      }
      paths.push(names);
      byRequest.push(own);
    }
  } catch (error) {
    await abort();
    throw error;
  }
  return {
    sinks,
    paths,
    async flush() {
      await Promise.all([...atomic, ...models].map((sink) => sink.flush()));
    },
    async stage(look) {
      if (foreign.length > 0) return;
      await finishTogether([...atomic, ...models]);
      await withLinkedFiles(
        requests.map((_, index) => byRequest[index] ?? []),
        look,
      );
    },
    async commit() {
      if (atomic.length + models.length > 0) await commitTogether([...atomic, ...models]);
      for (const sink of foreign) await sink.commit();
    },
    abort,
  };
}
