/**
 * A static mode of one model: data → samples → ranges of the activations → plan. The model runs as its file has it, without graph
 * optimization, as onnxruntime's own calibration does. Without data its inputs are made up, and
 * the data set's notes say what that is worth.
 */

import { collectRanges, type RangeOptions } from '../../calibration/collect/ranges.ts';
import { EntropyObserver, MseObserver, PercentileObserver } from '../../calibration/observers/index.ts';
import type { OnnxModel } from '../../formats/onnx/model.ts';
import { assertLoadable } from '../../planning/loadable.ts';
import type { Planned, PlanOptions } from '../../planning/plan-onnx.ts';
import type { Recipe, StaticRecipe } from '../../planning/recipe.ts';
import { planStatic, staticTensors } from '../../planning/static.ts';
import { commonAbilities, resolveTargets } from '../../planning/targets.ts';
import { onnxruntimeNode } from '../../runtime/onnxruntime-node.ts';
import { openModelData } from '../calibration-data.ts';
import type { CompressOptions } from '../options.ts';

/**
 * @throws WhittleError E_TARGET where a target does not load the model's versions; E_MISSING_PEER without onnxruntime-node; E_NOTHING_TO_DO where the recipe's operators are not in the model;
 *   what opening the data, running on it and planning throw
 */
export async function planStaticMode(
  model: OnnxModel,
  recipe: Recipe,
  planOptions: PlanOptions,
  options: CompressOptions,
): Promise<Planned> {
  // What stands in the way is said before anything is run.
  assertLoadable(model, commonAbilities(resolveTargets(planOptions.targets)));
  const tensors = await staticTensors(model, recipe);
  if (tensors.length === 0 || recipe.static === undefined)
    return planStatic(model, new Map(), recipe, planOptions);
  const dataset = await openModelData(model, options.data ?? { source: { kind: 'synthetic' } }, options);
  const ranges = await collectRanges(
    { proto: model.proto, resolve: (tensor) => model.tensorBytes(tensor) },
    dataset,
    tensors,
    {
      runtime: onnxruntimeNode(),
      observer: observerOf(recipe.static),
      threads: options.threads,
      signal: options.signal,
      onProgress: options.onProgress,
    },
  );
  const planned = await planStatic(model, ranges, recipe, planOptions);
  const notes = [`Calibrated on ${dataset.description}.`, ...dataset.notes];
  return { ...planned, plan: { ...planned.plan, notes: [...planned.plan.notes, ...notes] } };
}

function observerOf({ observer, percentile }: StaticRecipe): RangeOptions['observer'] {
  switch (observer) {
    case 'minmax':
      return 'min-max';
    case 'moving-average':
      return 'moving-average';
    case 'percentile':
      return () => new PercentileObserver({ percentile });
    case 'entropy':
      return () => new EntropyObserver();
    case 'mse':
      return () => new MseObserver();
    default:
      return observer satisfies never;
  }
}
