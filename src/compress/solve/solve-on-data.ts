/** Solves the planned modes of a run on its data, and keeps what was solved until the files are written. */

import type { CompressOptions } from '../options.ts';
import type { PlannedModel } from '../run-modes.ts';
import { solveModes } from './modes.ts';
import { createSpool } from './spool.ts';

export interface SolvedModels extends AsyncDisposable {
  readonly models: readonly PlannedModel[];
}

/** @throws WhittleError what opening the data and solving throw; nothing is kept then */
export async function solveOnData(
  models: readonly PlannedModel[],
  options: CompressOptions,
): Promise<SolvedModels> {
  const spool = createSpool();
  try {
    const solved = await solveModes(models, options, spool);
    return { models: solved, [Symbol.asyncDispose]: () => spool[Symbol.asyncDispose]() };
  } catch (error) {
    await spool[Symbol.asyncDispose]();
    throw error;
  }
}
