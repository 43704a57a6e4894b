/**
 * Importance matrices as files: what is in one, entry by entry, and the old form (.dat) written as GGUF, which llama.cpp's tools of
 * today combine and show. Values are looked at one entry at a time.
 */

import { basename, dirname, join } from 'node:path';
import type { RunOptions } from '../../core/progress.ts';
import { WhittleError } from '../../errors.ts';
import { executeFiles } from '../../execution/execute.ts';
import type { ImatrixEntry } from '../../formats/gguf/imatrix-types.ts';
import { imatrixContent, layoutImatrix, readImportance } from '../../formats/gguf/imatrix-writer.ts';
import { openImatrix } from '../../formats/gguf/open.ts';
import { makeFolder } from '../../io/folder.ts';
import { imatrixSources } from './imatrix-sources.ts';
import { ggufStem } from './outputs.ts';

export interface ImatrixEntrySummary {
  readonly name: string;
  readonly columns: number;
  /** Experts, else 1. */
  readonly matrices: number;
  /** Sum of the importance over the columns (of all matrices): how strongly the weight's input was activated. */
  readonly sum: number;
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  /** Share of columns that were activated at all (above 1e-5). */
  readonly active: number;
  /** Share of the sum that the strongest hundredth of the columns has. */
  readonly top: number;
}

export interface ImatrixSummary {
  readonly file: string;
  readonly form: 'dat' | 'gguf';
  readonly datasets: readonly string[];
  /** 0 where it is not said. */
  readonly chunks: number;
  readonly chunkSize: number | undefined;
  /** In file order. */
  readonly entries: readonly ImatrixEntrySummary[];
}

/** As llama-imatrix counts. */
const ACTIVE = 1e-5;

/** @throws WhittleError as `openImatrix` */
export async function inspectImatrix(
  file: string,
  { signal, onProgress }: RunOptions = {},
): Promise<ImatrixSummary> {
  const imatrix = await openImatrix(file);
  try {
    const entries: ImatrixEntrySummary[] = [];
    for (const entry of imatrix.entries.values()) {
      if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
      entries.push(summarize(entry, await readImportance(entry)));
      onProgress?.({ phase: 'reading', bytesDone: entries.length, bytesTotal: imatrix.entries.size });
    }
    const { form, datasets, chunks, chunkSize } = imatrix;
    return { file, form, datasets, chunks, chunkSize, entries };
  } finally {
    await imatrix.close();
  }
}

function summarize({ name, columns, matrices }: ImatrixEntry, importance: Float32Array): ImatrixEntrySummary {
  let [sum, min, max, active] = [0, Number.POSITIVE_INFINITY, 0, 0];
  for (const value of importance) {
    sum += value;
    if (value < min) min = value;
    if (value > max) max = value;
    if (value > ACTIVE) active++;
  }
  const count = Math.max(1, importance.length);
  const strongest = importance.toSorted().subarray(-Math.ceil(importance.length / 100));
  const top = strongest.reduce((total, value) => total + value, 0);
  return {
    name,
    columns,
    matrices,
    sum,
    min: importance.length === 0 ? 0 : min,
    max,
    mean: sum / count,
    active: active / count,
    top: sum === 0 ? 0 : top / sum,
  };
}

export interface ConvertImatrixOptions extends RunOptions {
  /** The file. Default: `<name>.gguf` beside the input. */
  readonly output?: string | undefined;
  readonly force?: boolean | undefined;
}

/** Writes a matrix in the GGUF form, entries sorted by name as llama-imatrix has them. @throws WhittleError as `openImatrix` */
export async function convertImatrix(
  file: string,
  { output, force, signal }: ConvertImatrixOptions = {},
): Promise<{ readonly path: string; readonly bytes: number; readonly entries: number }> {
  const path = output ?? join(dirname(file), `${ggufStem(file).replace(/\.(?:dat|imatrix)$/i, '')}.gguf`);
  const imatrix = await openImatrix(file);
  try {
    const layout = layoutImatrix(await imatrixContent(imatrix), basename(path));
    await makeFolder(dirname(path));
    const { files } = await executeFiles({
      files: [layout],
      tasks: [],
      target: { directory: dirname(path), force },
      inputs: imatrixSources(imatrix),
      signal,
      journal: false,
      threads: 1,
    });
    return { path: files[0]?.path ?? path, bytes: layout.size, entries: imatrix.entries.size };
  } finally {
    await imatrix.close();
  }
}
