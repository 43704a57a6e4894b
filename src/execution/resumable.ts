/**
 * An output that a later run may continue: its files under stable temporary names, its journal and its lock.
 *
 *   lock → journal with the fingerprint, durable → temporary files → … → files in place → journal and lock removed
 *
 * So a temporary file without a journal is none of ours, and never replaced unasked.
 */

import { join } from 'node:path';
import { WhittleError } from '../errors.ts';
import type { OutputFile } from '../formats/layout.ts';
import {
  type AtomicFile,
  type AtomicFileOptions,
  assertMayWrite,
  createAtomicFile,
  partialPath,
} from '../io/atomic-file.ts';
import { type Disk, type DiskIdentity, diskError, realDisk } from '../io/disk.ts';
import { assertUnlocked, lockOutput, type OutputLock } from '../io/output-lock.ts';
import { assertSame, type Fingerprint } from './fingerprint.ts';
import {
  continueJournal,
  type Journal,
  type JournalContent,
  type JournalRecord,
  journalPath,
  readJournal,
  startJournal,
} from './journal.ts';

export interface ResumableRequest {
  readonly directory: string;
  readonly files: readonly OutputFile[];
  readonly force: boolean;
  readonly disk: Disk;
  readonly inputs: readonly Pick<DiskIdentity, 'dev' | 'ino'>[];
  readonly fingerprint: Fingerprint;
  /** Go on where the run that stopped was. */
  readonly resume: boolean;
}

export interface Resumable {
  /** In the order of the request, the model first. */
  readonly files: readonly AtomicFile[];
  /** Windows that the stopped run finished, by its own account. */
  readonly records: ReadonlyMap<string, JournalRecord>;
  readonly journal: Journal;
  readonly lock: OutputLock;
  /** An earlier run began it. */
  readonly continued: boolean;
  /** Closes and removes what belongs to the run; with `keep` a later run can continue it. */
  close(keep: boolean): Promise<void>;
  /** The files are in place: nothing else is left of the run. */
  settle(): Promise<void>;
}

/**
 * @throws WhittleError E_LOCKED, E_RESUME (input, options or version changed; the journal cannot be read), E_OUTPUT_EXISTS, and
 * what `createAtomicFile` throws.
 */
export async function openResumable(request: ResumableRequest): Promise<Resumable> {
  const { directory, files, disk, force, inputs, fingerprint, resume } = request;
  const finals = files.map(({ name }) => join(directory, name));
  const [model] = finals;
  if (model === undefined) throw new Error('an output without files');
  const guard = async <T>(action: string, run: () => Promise<T>): Promise<T> => {
    try {
      return await run();
    } catch (error) {
      throw diskError(error, action, { file: model });
    }
  };
  const lock = await guard('create the output', () => lockOutput(disk, model));
  const path = journalPath(model);
  const opened: AtomicFile[] = [];
  let journal: Journal | undefined;
  let continues = false;
  const close = async (keep: boolean): Promise<void> => {
    await journal?.close().catch(() => undefined);
    await Promise.allSettled(opened.map((file) => (keep ? file.leave() : file.abort())));
    if (!keep && journal !== undefined) await disk.remove(path).catch(() => undefined);
    await lock.release().catch(() => undefined);
  };
  try {
    const before = await guard('read the journal', () => readJournal(disk, path));
    continues = resume && (await canContinue(before, finals, request));
    if (continues && before?.committing === true) {
      await guard('go on with the output', () => takeBack(disk, finals, files));
    }
    const options: AtomicFileOptions = { force, disk, inputs };
    for (const final of finals) await assertMayWrite(final, options);
    if (continues && before !== undefined) {
      journal = await guard('continue the journal', () => continueJournal(disk, path, before));
    } else {
      await guard('remove what an earlier run left', () => clearAway(disk, finals, path, before, force));
      journal = await guard('create the journal', () => startJournal(disk, path, fingerprint));
    }
    for (const [index, final] of finals.entries()) {
      const stable = continues ? 'continue' : 'create';
      opened.push(await createAtomicFile(final, { ...options, size: files[index]?.size, stable }));
    }
    return {
      files: opened,
      records: continues && before !== undefined ? before.records : new Map(),
      journal,
      lock,
      continued: continues,
      close,
      async settle() {
        await journal?.close().catch(() => undefined);
        // The output is there: what cannot be removed now is cleared away by the next run.
        await disk.remove(path).catch(() => undefined);
        await lock.release().catch(() => undefined);
      },
    };
  } catch (error) {
    await close(continues);
    throw error;
  }
}

/** Whether there is a run to continue. @throws WhittleError E_RESUME where it is not the same one */
async function canContinue(
  before: JournalContent | undefined,
  finals: readonly string[],
  { disk, fingerprint }: ResumableRequest,
): Promise<boolean> {
  if (before === undefined) return false;
  if (before.fingerprint === undefined) {
    if (!(await anyPartial(disk, finals))) return false;
    throw new WhittleError('E_RESUME', 'the journal of the stopped run cannot be read', {
      file: finals[0],
      hint: 'Start anew without --resume, and with --force.',
    });
  }
  assertSame(before.fingerprint, fingerprint, finals[0] ?? '');
  return true;
}

/** A run was stopped while its files were put in place: those that are go back, and are checked like the rest. */
async function takeBack(disk: Disk, finals: readonly string[], files: readonly OutputFile[]): Promise<void> {
  for (const [index, final] of finals.entries()) {
    if ((await disk.identity(partialPath(final))) !== undefined) continue;
    const found = await disk.identity(final);
    if (found?.size === files[index]?.size) await disk.rename(final, partialPath(final));
  }
}

/** Removes temporary files and journal of an earlier run; files under such names that are no run's stay. */
async function clearAway(
  disk: Disk,
  finals: readonly string[],
  path: string,
  before: JournalContent | undefined,
  force: boolean,
): Promise<void> {
  if (before?.fingerprint === undefined && !force && (await anyPartial(disk, finals))) {
    throw new WhittleError('E_OUTPUT_EXISTS', 'a file has the name of the temporary output', {
      file: partialPath(finals[0] ?? ''),
      hint: 'Move it away, choose another output, or pass --force to replace it.',
    });
  }
  for (const final of finals) await disk.remove(partialPath(final));
  if (before !== undefined) await disk.remove(path);
}

async function anyPartial(disk: Disk, finals: readonly string[]): Promise<boolean> {
  for (const final of finals) if ((await disk.identity(partialPath(final))) !== undefined) return true;
  return false;
}

/**
 * For a run without a journal: refuses an output that another run is writing, and removes what a stopped one left.
 * @throws WhittleError E_LOCKED
 */
export async function clearStopped(
  directory: string,
  files: readonly OutputFile[],
  disk: Disk = realDisk,
): Promise<void> {
  const finals = files.map(({ name }) => join(directory, name));
  const [model] = finals;
  if (model === undefined) return;
  await assertUnlocked(disk, model);
  const before = await readJournal(disk, journalPath(model)).catch(() => undefined);
  if (before?.fingerprint === undefined) return;
  for (const { name } of before.fingerprint.files) await disk.remove(partialPath(join(directory, name)));
  await disk.remove(journalPath(model));
  await disk.remove(`${model}.lock`);
}
