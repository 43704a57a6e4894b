/** Solves the planned modes of a run on its data, corrects biases where that is asked for, and keeps what was solved until the files are written. */

import { WhittleError } from '../../errors.ts';
import { openModelData } from '../calibration-data.ts';
import type { CompressOptions } from '../options.ts';
import type { PlannedMode, PlannedModel } from '../run-modes.ts';
import { checkChoice, solveModes } from './modes.ts';
import { removeSolved, settleSolved } from './solved-journal.ts';
import { createSpool } from './spool.ts';

export interface SolvedModels extends AsyncDisposable {
  readonly models: readonly PlannedModel[];
  /** The files are there: what was kept for a run that goes on is removed. */
  finish(): Promise<void>;
  /** They are not, because of `error`: what is of use stays, and the error that comes back says how to go on. */
  settle(error: unknown): Promise<unknown>;
}

/** What `solveOnData` refuses before it opens the data. @throws WhittleError E_USAGE */
export function checkSolving(models: readonly PlannedModel[], options: CompressOptions): void {
  if (options.biasCorrection === true && options.data === undefined) throw needsData();
  checkChoice(models, options);
}

/** @throws WhittleError E_USAGE where biases are to be corrected without data; what opening the data and solving throw; nothing is kept then */
export async function solveOnData(
  models: readonly PlannedModel[],
  options: CompressOptions,
): Promise<SolvedModels> {
  if (options.biasCorrection === true && options.data === undefined) throw needsData();
  const spool = createSpool();
  try {
    const solved = await solveModes(models, options, spool);
    const corrected = options.biasCorrection === true ? await withBiases(solved, options) : solved;
    const outputs = models.flatMap(({ modes }) => modes.map(({ output }) => output.path));
    return {
      models: corrected,
      finish: async () => {
        for (const output of outputs) await removeSolved(output);
      },
      async settle(error) {
        let told = error;
        for (const output of outputs) told = await settleSolved(output, told);
        return told;
      },
      [Symbol.asyncDispose]: () => spool[Symbol.asyncDispose](),
    };
  } catch (error) {
    await spool[Symbol.asyncDispose]();
    throw error;
  }
}

function needsData(): WhittleError {
  return new WhittleError('E_USAGE', 'bias correction compares means of outputs, and no data was given', {
    expected: '--data with a text, arrays or images (docs/data.md)',
  });
}

async function withBiases(
  models: readonly PlannedModel[],
  options: CompressOptions,
): Promise<readonly PlannedModel[]> {
  const { data, threads, nonFinite, signal, onProgress } = options;
  if (data === undefined) throw needsData();
  const { correctBiases } = await import('./correct-biases.ts');
  const corrected: PlannedModel[] = [];
  for (const { model, modes } of models) {
    const dataset = await openModelData(model, data, options);
    const own: PlannedMode[] = [];
    for (const mode of modes) {
      const run = { dataset, threads, nonFinite, signal, onProgress };
      const { planned, biases, notes } = await correctBiases(mode.prepared?.model ?? model, mode, run);
      own.push({ ...mode, ...planned, corrected: { biases, notes } });
    }
    corrected.push({ model, modes: own });
  }
  return corrected;
}
