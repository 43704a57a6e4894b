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
  partialPath,
} from '../io/atomic-file.ts';
import { type Disk, realDisk } from '../io/disk.ts';
import { isFileSource } from '../io/file-source.ts';
import { withLinkedFiles } from '../io/linked-files.ts';
import type { ByteSink, ByteSource } from '../io/source.ts';
import { fileDigest } from './digest.ts';
import type { Fingerprint } from './fingerprint.ts';
import { clearStopped, openResumable, type Resumable } from './resumable.ts';

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

/** Asks for outputs that a later run can continue. */
export interface Journaling {
  /** Go on where a run that was stopped had got to. */
  readonly resume: boolean;
  /** By request. */
  readonly fingerprints: readonly Fingerprint[];
}

export interface OpenTargets {
  /** By target index: the files of the first request, then those of the second … */
  readonly sinks: readonly ByteSink[];
  /** Paths (or names, of sinks) by request. */
  readonly paths: readonly (readonly string[])[];
  /** By request: what can be continued; undefined without a journal. */
  readonly resumables: readonly (Resumable | undefined)[];
  /** Lets the disk start on what was written so far. */
  flush(): Promise<void>;
  /** Calls `look` with the complete files, linked under their final names in folders that exist only during the call. */
  stage(look: (outputs: readonly (readonly string[])[]) => Promise<void>): Promise<void>;
  /** SHA-256 of the files of each request, before `commit`; undefined for sinks of the caller. */
  digests(): Promise<(readonly (string | undefined)[])[]>;
  commit(): Promise<void>;
  /** With `keep`, files that a later run can continue stay. */
  abort(keep?: boolean): Promise<void>;
}

/** All files of a run together must fit: each alone may. */
async function assertRoom(requests: readonly TargetRequest[], journaled: boolean): Promise<void> {
  const sizes = new Map<string, { size: number; disk: Disk | undefined }>();
  for (const { files, target } of requests) {
    if ('sinks' in target) continue;
    const { directory, disk = realDisk } = target;
    let size = sizes.get(directory)?.size ?? 0;
    for (const file of files) {
      size += file.size;
      if (!journaled) continue;
      // What a stopped run left is continued or replaced: its room counts as free.
      const there = await disk.identity(partialPath(join(directory, file.name))).catch(() => undefined);
      size -= Math.min(file.size, there?.allocated ?? there?.size ?? 0);
    }
    sizes.set(directory, { size, disk: target.disk });
  }
  for (const [directory, { size, disk }] of sizes) await assertSpace(directory, directory, size, disk);
}

/**
 * @param journaling - undefined for a run that leaves nothing behind when it is stopped.
 * @throws WhittleError as `createAtomicFile` and `openResumable`; nothing is left behind then but what was there to be continued.
 */
export async function openTargets(
  requests: readonly TargetRequest[],
  inputs: readonly ByteSource[],
  journaling?: Journaling,
): Promise<OpenTargets> {
  const identities = inputs.filter(isFileSource).map((source) => source.identity);
  const sinks: ByteSink[] = [];
  const foreign: ByteSink[] = [];
  /** By request; empty for sinks of the caller. */
  const own: AtomicFile[][] = [];
  const resumables: (Resumable | undefined)[] = [];
  const abort = async (keep: boolean | 'continued' = false): Promise<void> => {
    await Promise.allSettled([
      ...foreign.map((sink) => sink.abort()),
      ...resumables.map((one) => one?.close(keep === 'continued' ? one.continued : keep)),
      // Files of a resumable are closed by then; for them this does nothing.
      ...own.flatMap((files, index) =>
        resumables[index] === undefined ? files.map((file) => file.abort()) : [],
      ),
    ]);
  };
  const paths = requests.map(({ files, target }) =>
    files.map((file, index) =>
      'sinks' in target ? (target.sinks[index]?.name ?? file.name) : join(target.directory, file.name),
    ),
  );
  const seen = new Set<string>();
  try {
    await assertRoom(requests, journaling !== undefined);
    for (const [index, { files, target }] of requests.entries()) {
      const atomic: AtomicFile[] = [];
      own.push(atomic);
      if ('sinks' in target) {
        resumables.push(undefined);
        for (const [i, file] of files.entries()) {
          const sink = target.sinks[i];
          if (sink === undefined) throw new Error(`no sink for the file ${file.name}`);
          sinks.push(sink);
          foreign.push(sink);
        }
        continue;
      }
      assertDistinct(paths[index] ?? [], seen);
      const { directory, force = false, disk = realDisk } = target;
      const fingerprint = journaling?.fingerprints[index];
      if (journaling !== undefined && fingerprint !== undefined) {
        const { resume } = journaling;
        const request = { directory, files, force, disk, inputs: identities, fingerprint, resume };
        const resumable = await openResumable(request);
        resumables.push(resumable);
        atomic.push(...resumable.files);
      } else {
        resumables.push(undefined);
        for (const file of files) {
          const path = join(directory, file.name);
          atomic.push(await createAtomicFile(path, { size: file.size, inputs: identities, force, disk }));
        }
        await clearStopped(directory, files, disk);
      }
      sinks.push(...atomic);
    }
  } catch (error) {
    // Nothing was done yet: what a stopped run left is as good as before.
    await abort('continued');
    throw error;
  }
  // Models last: their presence says that their data files are complete.
  const ordered = [...own.flatMap((files) => files.slice(1)), ...own.flatMap((files) => files.slice(0, 1))];
  return {
    sinks,
    paths,
    resumables,
    async flush() {
      await Promise.all(ordered.map((sink) => sink.flush()));
    },
    async stage(look) {
      if (foreign.length > 0) return;
      await finishTogether(ordered);
      await withLinkedFiles(own, look);
    },
    digests: () =>
      Promise.all(
        requests.map(({ files }, index) =>
          Promise.all(
            files.map(async ({ size }, i) => {
              const file = own[index]?.[i];
              return file && fileDigest(file, size);
            }),
          ),
        ),
      ),
    async commit() {
      for (const resumable of resumables) await resumable?.journal.commit();
      if (ordered.length > 0) {
        await commitTogether(ordered, { onFailure: journaling === undefined ? 'remove' : 'leave' });
      }
      for (const resumable of resumables) await resumable?.settle();
      for (const sink of foreign) await sink.commit();
    },
    abort,
  };
}

function assertDistinct(paths: readonly string[], seen: Set<string>): void {
  for (const path of paths) {
    if (seen.has(path)) {
      throw new WhittleError('E_USAGE', 'two outputs have the same path', {
        file: path,
        hint: 'Give the modes different suffixes, or write them into different folders.',
      });
    }
    seen.add(path);
  }
}
