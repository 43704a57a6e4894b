/** Follows a plan that was made earlier (`planCompression`, `quantize --save-plan`), maybe edited by hand since. */

import { type ExecuteOptions, executeFiles, type SetReport } from '../execution/execute.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import { makeFolder } from '../io/folder.ts';
import type { Plan } from '../planning/plan.ts';
import { rebuildPlan } from '../planning/plan-onnx.ts';
import { rebuildStatic } from '../planning/static.ts';

export interface ExecutePlanOptions extends Omit<ExecuteOptions, 'prove' | 'inputs'> {
  /** Folder of the files that the plan names; made where it is missing. */
  readonly directory: string;
  readonly force?: boolean | undefined;
}

/**
 * Writes the plan's files. The schemes of its tensors decide; sizes and offsets follow from them.
 * @throws WhittleError E_INPUT_CHANGED where the model is not the one that was planned, and what `executeFiles` throws
 */
export async function executePlan(
  model: OnnxModel,
  plan: Plan,
  options: ExecutePlanOptions,
): Promise<SetReport> {
  const isStatic = plan.recipe.static !== undefined;
  const { files, tasks } = await (isStatic ? rebuildStatic(model, plan) : rebuildPlan(model, plan));
  const { directory, force, ...rest } = options;
  await makeFolder(directory);
  return executeFiles({ ...rest, files, tasks, target: { directory, force }, inputs: [model.source] });
}
