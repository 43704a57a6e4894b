/**
 * The preparations of one run: each model is prepared once for all modes that ask for the same, and what was written for it is kept
 * until the files of the run are.
 */

import type { OnnxModel } from '../../formats/onnx/model.ts';
import type { Planned } from '../../planning/plan-onnx.ts';
import { type PreparationName, type PreparationStep, parsePreparation } from '../../planning/preparation.ts';
import type { Recipe } from '../../planning/recipe.ts';
import { createSpool } from '../solve/spool.ts';
import { gridsOf } from './grids.ts';
import { type PreparedModel, type PrepareOptions, prepareModel } from './prepare.ts';

export type PrepareRunOptions = Omit<PrepareOptions, 'spool' | 'gridOf'>;

export interface Preparer extends AsyncDisposable {
  /**
   * The model after the preparations that a recipe names; undefined where it names none.
   * @param plan That of the model as it is: for passes that look ahead to how weights will be stored.
   * @throws WhittleError as `parsePreparation` and `prepareModel`
   */
  prepare(
    model: OnnxModel,
    recipe: Pick<Recipe, 'name' | 'prepare' | 'static'>,
    options: PrepareRunOptions,
    plan?: () => Promise<Planned>,
  ): Promise<PreparedModel | undefined>;
}

/** Passes whose result depends on how the mode stores weights. */
const READS_GRIDS: ReadonlySet<PreparationName> = new Set<PreparationName>(['awq']);

/** Dispose of it when the files are written. */
export function createPreparer(): Preparer {
  const spool = createSpool();
  const made = new Map<OnnxModel, Map<string, Promise<PreparedModel>>>();
  return {
    async prepare(model, { name: mode, prepare = [], static: isStatic }, options, plan) {
      const { data, threads, verify, dryRun, signal, onProgress } = options;
      const steps: readonly PreparationStep[] = parsePreparation(prepare);
      if (steps.length === 0) return undefined;
      const known = made.get(model) ?? new Map<string, Promise<PreparedModel>>();
      made.set(model, known);
      const looksAhead = steps.some(({ pass }) => READS_GRIDS.has(pass));
      const key = JSON.stringify(looksAhead ? { steps, mode } : steps);
      const before = known.get(key);
      if (before !== undefined) return before;
      const prepared = prepareModel(model, steps, {
        data,
        threads,
        verify,
        dryRun,
        signal,
        onProgress,
        gridOf: plan && isStatic === undefined ? gridsOf(plan) : undefined,
        spool,
      });
      known.set(key, prepared);
      return prepared;
    },
    [Symbol.asyncDispose]: () => spool[Symbol.asyncDispose](),
  };
}
