/** Follows a plan that was made earlier (`planCompression`, `quantize --save-plan`), maybe edited by hand since. */

import { WhittleError } from '../errors.ts';
import { type ExecuteOptions, executeFiles, type SetReport } from '../execution/execute.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import { makeFolder } from '../io/folder.ts';
import type { Plan } from '../planning/plan.ts';
import { rebuildPlan } from '../planning/plan-onnx.ts';
import { needsData, parsePreparation } from '../planning/preparation.ts';
import { rebuildStatic } from '../planning/static.ts';
import { createPreparer } from './prepare/preparer.ts';

export interface ExecutePlanOptions extends Omit<ExecuteOptions, 'prove' | 'inputs'> {
  /** Folder of the files that the plan names; made where it is missing. */
  readonly directory: string;
  readonly force?: boolean | undefined;
}

/**
 * Writes the plan's files, of the model as its recipe prepares it. The schemes of its tensors decide; sizes and offsets follow from them.
 * @throws WhittleError E_USAGE where the recipe names a preparation that needs data, which a plan does not hold; E_INPUT_CHANGED where
 *   the model is not the one that was planned, and what `executeFiles` throws
 */
export async function executePlan(
  model: OnnxModel,
  plan: Plan,
  options: ExecutePlanOptions,
): Promise<SetReport> {
  const { directory, force, ...rest } = options;
  assertRepeatable(plan);
  await using preparer = createPreparer();
  const prepared = await preparer.prepare(model, plan.recipe, rest);
  const source = prepared?.model ?? model;
  const isStatic = plan.recipe.static !== undefined;
  const { files, tasks } = await (isStatic ? rebuildStatic(source, plan) : rebuildPlan(source, plan));
  await makeFolder(directory);
  return await executeFiles({ ...rest, files, tasks, target: { directory, force }, inputs: [model.source] });
}

function assertRepeatable({ recipe }: Plan): void {
  const passes = parsePreparation(recipe.prepare ?? []).map(({ pass }) => pass);
  const found = passes.filter(needsData);
  if (found.length === 0) return;
  throw new WhittleError('E_USAGE', 'a preparation that looks at data cannot be made again from a plan', {
    found: found.join(', '),
    hint: 'Write the prepared model (whittle prepare, prepareOnnx), and plan that.',
  });
}
