/**
 * The preparations of one run: each model is prepared once for all modes that ask for the same, and what was written for it is kept
 * until the files of the run are.
 */

import type { OnnxModel } from '../../formats/onnx/model.ts';
import { type PreparationStep, parsePreparation } from '../../planning/preparation.ts';
import type { CompressOptions } from '../options.ts';
import { createSpool } from '../solve/spool.ts';
import { type PreparedModel, type PrepareOptions, prepareModel } from './prepare.ts';

export interface Preparer extends AsyncDisposable {
  /**
   * The model after the preparations that `texts` name; undefined where they name none.
   * @throws WhittleError as `parsePreparation` and `prepareModel`
   */
  prepare(
    model: OnnxModel,
    texts: readonly string[] | undefined,
    options: CompressOptions,
    gridOf?: PrepareOptions['gridOf'],
  ): Promise<PreparedModel | undefined>;
}

/** Dispose of it when the files are written. */
export function createPreparer(): Preparer {
  const spool = createSpool();
  const made = new Map<OnnxModel, Map<string, Promise<PreparedModel>>>();
  return {
    async prepare(model, texts = [], { data, threads, verify, signal, onProgress }, gridOf) {
      const steps: readonly PreparationStep[] = parsePreparation(texts);
      if (steps.length === 0) return undefined;
      const known = made.get(model) ?? new Map<string, Promise<PreparedModel>>();
      made.set(model, known);
      const key = JSON.stringify(steps);
      const before = known.get(key);
      if (before !== undefined) return before;
      const prepared = prepareModel(model, steps, {
        data,
        threads,
        verify,
        signal,
        onProgress,
        gridOf,
        spool,
      });
      known.set(key, prepared);
      return prepared;
    },
    [Symbol.asyncDispose]: () => spool[Symbol.asyncDispose](),
  };
}
