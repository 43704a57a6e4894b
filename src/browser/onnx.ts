/** ONNX in a page: the files that `compress` of `whittle` writes, from Blobs and into Blobs or sinks; not proved in a runtime. */

import { overallSqnr } from '../compress/overall-error.ts';
import { turn } from '../core/turn.ts';
import { WhittleError } from '../errors.ts';
import type { NonFinitePolicy } from '../execution/operations/context.ts';
import type { TensorReport } from '../execution/report.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import { outputName, suffixOf } from '../hub/names.ts';
import type { Plan } from '../planning/plan.ts';
import { type Planned, type PlanOptions, planCompression } from '../planning/plan-onnx.ts';
import { presetRecipe } from '../planning/presets.ts';
import type { Recipe } from '../planning/recipe.ts';
import { bareName, nameModel } from './inputs.ts';
import { type OutputFileResult, type OutputOptions, writeOutputs } from './outputs.ts';

export interface CompressOptions extends OutputOptions, Omit<PlanOptions, 'fileName'> {
  /** Mode names (`q4`) or whole recipes; one output each. */
  readonly to: readonly (string | Recipe)[];
  /** NaN and Inf among weights: refuse (default), or take them as they come. */
  readonly nonFinite?: NonFinitePolicy | undefined;
}

export interface CompressResult {
  readonly mode: string;
  /** Model file first, then its data files. */
  readonly files: readonly OutputFileResult[];
  readonly bytes: number;
  readonly plan: Plan;
  /** What became of each weight that was converted. */
  readonly weights: readonly TensorReport[];
  /** Over all measured weights; dB. */
  readonly weightSqnr?: number | undefined;
}

/**
 * Writes one output for each mode; all appear, or none.
 * @throws WhittleError E_NOTHING_TO_DO where a mode suits no weight; whatever reading, planning and the sinks throw; E_ABORTED
 */
export async function compress(model: OnnxModel, options: CompressOptions): Promise<CompressResult[]> {
  const { to, nonFinite, measure, sink, signal, onProgress, ...planning } = options;
  const recipes = to.map((mode) => (typeof mode === 'string' ? presetRecipe(mode) : mode));
  if (recipes.length === 0) {
    throw new WhittleError('E_USAGE', 'no mode was asked for', { hint: 'Try q8 or q4.' });
  }
  const planned: Planned[] = [];
  for (const recipe of recipes) {
    await turn();
    if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
    const fileName = outputName(bareName(model.file, 'model.onnx'), suffixOf(recipe));
    planned.push(await planCompression(model, recipe, { ...planning, fileName }));
  }
  const { report, files } = await writeOutputs(planned, {
    sink,
    measure,
    nonFinite,
    signal,
    onProgress,
  }).catch((error: unknown) => {
    throw nameModel(error, model.file);
  });
  return planned.map(({ plan }, index) => {
    const weights = report.sets[index]?.tensors ?? [];
    const written = files[index] ?? [];
    return {
      mode: plan.recipe.name,
      files: written,
      bytes: written.reduce((sum, { bytes }) => sum + bytes, 0),
      plan,
      weights,
      weightSqnr: overallSqnr(weights),
    };
  });
}
