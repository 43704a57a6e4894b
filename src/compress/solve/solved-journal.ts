/**
 * What a run has solved so far, so that a stopped one does not solve it again: a folder `<output>.solved` beside the output with a solution
 * file (solution-file.ts) for each layer, and `run.json`, which says what must not have changed. Each file appears when it is
 * complete. The folder is gone when the output is there.
 */

import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isRecord } from '../../calibration/data/read-text.ts';
import { amount } from '../../core/amount.ts';
import { type ErrorCode, EXIT, isWhittleError, WhittleError } from '../../errors.ts';
import { systemCode } from '../../io/disk.ts';
import { ioError } from '../../io/file-source.ts';
import { type SolvedWeight, saveSolution } from './solution-file.ts';
import { openSolution, type Solution } from './solution-reader.ts';

export interface SolvedJournal extends AsyncDisposable {
  /** What a stopped run left; absent where there is nothing. */
  readonly solution: Solution | undefined;
  /** Layers that are kept. */
  readonly count: number;
  keep(weight: SolvedWeight): Promise<void>;
}

/** How a layer is kept in a file of its own. */
interface KeptForm<Kept, Part> {
  save(path: string, kept: Kept): Promise<void>;
  open(path: string): Promise<Part>;
}

interface SolvedFolder<Kept, Part> {
  readonly folder: string;
  /** What a stopped run left. */
  readonly parts: readonly Part[];
  readonly count: number;
  keep(kept: Kept): Promise<void>;
}

const RUN = 'run.json';

export function journalFolder(output: string): string {
  return `${output}.solved`;
}

/** The journal of ONNX weights, as solution files. @throws WhittleError as `openSolvedFolder`, and what reading solutions throws */
export async function openSolvedJournal(
  output: string,
  run: Readonly<Record<string, unknown>>,
  resume: boolean,
): Promise<SolvedJournal> {
  const opened: Solution[] = [];
  const close = async (): Promise<void> => {
    for (const part of opened.splice(0)) await part[Symbol.asyncDispose]();
  };
  try {
    const kept = await openSolvedFolder<SolvedWeight, Solution>(output, run, resume, {
      async open(path) {
        const part = await openSolution(path);
        opened.push(part);
        return part;
      },
      save: (path, weight) =>
        saveSolution(path, [weight], { algorithm: weight.report.algorithm }, { force: true }),
    });
    const { folder, parts } = kept;
    return {
      solution: parts.length === 0 ? undefined : joined(folder, parts),
      get count() {
        return kept.count;
      },
      keep: kept.keep,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * @param run - all that decides what is solved, as plain data
 * @param resume - go on with what is there; else it is removed
 * @throws WhittleError E_RESUME where the run is another one, E_OUTPUT_EXISTS where the folder is not ours, and what opening its files throws
 */
export async function openSolvedFolder<Kept, Part>(
  output: string,
  run: Readonly<Record<string, unknown>>,
  resume: boolean,
  form: KeptForm<Kept, Part>,
): Promise<SolvedFolder<Kept, Part>> {
  const folder = journalFolder(output);
  const text = JSON.stringify(run);
  const before = await textOf(join(folder, RUN));
  if (before === undefined && (await holdsSomething(folder))) {
    throw new WhittleError('E_OUTPUT_EXISTS', 'a folder stands where solved layers are to be kept', {
      file: folder,
      hint: 'Move it away.',
    });
  }
  if (resume && before !== undefined && before !== text) {
    const changed = changedMembers(before, run);
    const named = changed.map(({ name }) => name).join(', ');
    throw new WhittleError(
      'E_RESUME',
      `the run cannot be continued: what its layers were solved with changed (${named})`,
      {
        file: folder,
        expected: changed.map(({ was }) => was).join(', '),
        found: changed.map(({ is }) => is).join(', '),
        hint: 'Continue with what the first run had, or start anew without --resume.',
      },
    );
  }
  if (!resume) await removeSolved(output);
  const parts: Part[] = [];
  try {
    await mkdir(folder, { recursive: true });
    for (const name of (await readdir(folder)).sort()) {
      if (isPart(name)) parts.push(await form.open(join(folder, name)));
    }
    await writeFile(join(folder, RUN), text);
  } catch (cause) {
    throw cause instanceof WhittleError ? cause : ioError(folder, cause);
  }
  let count = parts.length;
  return {
    folder,
    parts,
    get count() {
      return count;
    },
    async keep(kept) {
      await form.save(join(folder, `${String(count).padStart(6, '0')}.safetensors`), kept);
      count++;
    },
  };
}

/** What stands in the way of the output, or of going on, can be put right: what was solved is of use then. */
const CALLED_WRONGLY: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'E_RESUME',
  'E_LOCKED',
  'E_OUTPUT_EXISTS',
  'E_OUTPUT_IS_INPUT',
]);

/** Whether what was done is good for a later run: the user stopped it, the machine failed it, or a bug did. */
function leavesWork(error: unknown): boolean {
  return (
    !(error instanceof WhittleError) || error.exitCode === EXIT.interrupted || error.exitCode === EXIT.io
  );
}

/** After a failure: what is of use stays, and the error says how to go on; else nothing does. */
export async function settleSolved(output: string, error: unknown): Promise<unknown> {
  const names = await readdir(journalFolder(output)).catch((): string[] => []);
  const layers = names.filter(isPart).length;
  if (isWhittleError(error) && CALLED_WRONGLY.has(error.code)) return error;
  if (!leavesWork(error) || layers === 0) {
    await removeSolved(output);
    return error;
  }
  if (!(error instanceof WhittleError) || error.details.hint?.includes('--resume') === true) return error;
  const hint = `Run the same command with --resume to continue: ${amount(layers, 'layer is', 'layers are')} solved.`;
  const told = new WhittleError(error.code, error.message, { ...error.details, hint });
  if (error.stack !== undefined) told.stack = error.stack;
  return told;
}

function isPart(name: string): boolean {
  return name.endsWith('.safetensors') && !name.startsWith('.');
}

/** Removes what a run kept beside `output`. */
export async function removeSolved(output: string): Promise<void> {
  const folder = journalFolder(output);
  if ((await textOf(join(folder, RUN))) !== undefined) await rm(folder, { recursive: true, force: true });
}

/** Several files as one. */
function joined(file: string, parts: readonly Solution[]): Solution {
  const owners = new Map(parts.flatMap((part) => [...part.layers.keys()].map((key) => [key, part] as const)));
  return {
    file,
    algorithm: parts[0]?.algorithm ?? '',
    layers: new Map(parts.flatMap(({ layers }) => [...layers])),
    read: (layer) => {
      const owner = owners.get(layer.weight);
      if (owner === undefined) throw new Error('a layer of no file');
      return owner.read(layer);
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

async function textOf(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** Whether there is a folder that is not empty, or a file. */
async function holdsSomething(path: string): Promise<boolean> {
  try {
    return (await readdir(path)).length > 0;
  } catch (cause) {
    return systemCode(cause) !== 'ENOENT';
  }
}

interface Changed {
  readonly name: string;
  readonly was: string;
  readonly is: string;
}

/** What two runs do not have in common; the whole where the first cannot be read. */
function changedMembers(before: string, run: Readonly<Record<string, unknown>>): Changed[] {
  const [then, now] = [parsed(before), parsed(JSON.stringify(run))];
  const names = then === undefined ? [] : [...new Set([...Object.keys(then), ...Object.keys(now ?? {})])];
  const changed = names.flatMap((name): Changed[] => {
    const [was, is] = [then?.[name], now?.[name]].map((value) => JSON.stringify(value) ?? 'none');
    return was === undefined || is === undefined || was === is ? [] : [{ name, was, is }];
  });
  return changed.length > 0 ? changed : [{ name: RUN, was: 'the file of the first run', is: 'another' }];
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Size and time of change of a file of data, where it is one. */
export async function stampOf(path: string): Promise<string | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() === true ? `${found.size} bytes, ${found.mtimeMs}` : undefined;
}
