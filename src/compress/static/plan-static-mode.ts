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
import { type ActivationRanges, planStatic, staticTensors } from '../../planning/static.ts';
import { commonAbilities, resolveTargets } from '../../planning/targets.ts';
import { onnxruntimeNode } from '../../runtime/onnxruntime-node.ts';
import { openModelData } from '../calibration-data.ts';
import type { CompressOptions } from '../options.ts';

/** What one calibration of a model found: plans that leave some of its operators alone need no other. */
export interface StaticCalibration {
  readonly tensors: ReadonlySet<string>;
  readonly ranges: ActivationRanges;
  readonly notes: readonly string[];
}

/**
 * @param calibrations - of earlier plans, by model and recipe name; the one of this plan is added
 * @throws WhittleError E_TARGET where a target does not load the model's versions; E_MISSING_PEER without onnxruntime-node; E_NOTHING_TO_DO where the recipe's operators are not in the model;
 *   what opening the data, running on it and planning throw
 */
export async function planStaticMode(
  model: OnnxModel,
  recipe: Recipe,
  planOptions: PlanOptions,
  options: CompressOptions,
  calibrations?: Map<string, StaticCalibration>,
): Promise<Planned> {
  // What stands in the way is said before anything is run.
  assertLoadable(model, commonAbilities(resolveTargets(planOptions.targets)));
  const tensors = await staticTensors(model, recipe);
  if (tensors.length === 0 || recipe.static === undefined)
    return planStatic(model, new Map(), recipe, planOptions);
  const key = `${recipe.name} ${model.file}`;
  const known = calibrations?.get(key);
  const fits = known !== undefined && tensors.every((name) => known.tensors.has(name));
  const calibration = fits ? known : await calibrate(model, recipe.static, tensors, options);
  calibrations?.set(key, calibration);
  const planned = await planStatic(model, calibration.ranges, recipe, planOptions);
  return { ...planned, plan: { ...planned.plan, notes: [...planned.plan.notes, ...calibration.notes] } };
}

async function calibrate(
  model: OnnxModel,
  recipe: StaticRecipe,
  tensors: readonly string[],
  options: CompressOptions,
): Promise<StaticCalibration> {
  const dataset = await openModelData(model, options.data ?? { source: { kind: 'synthetic' } }, options);
  const ranges = await collectRanges(
    { proto: model.proto, resolve: (tensor) => model.tensorBytes(tensor) },
    dataset,
    tensors,
    {
      runtime: onnxruntimeNode(),
      observer: observerOf(recipe),
      threads: options.threads,
      signal: options.signal,
      onProgress: options.onProgress,
    },
  );
  const notes = [`Calibrated on ${dataset.description}.`, ...dataset.notes];
  return { tensors: new Set(tensors), ranges, notes };
}

function observerOf({
  observer,
  percentile,
  activations,
  symmetricActivations: symmetric,
}: StaticRecipe): RangeOptions['observer'] {
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
      // The error is that of the grid which the values will be rounded to.
      return () =>
        new MseObserver({
          bits: activations.endsWith('16') ? 16 : 8,
          signed: activations.startsWith('int'),
          symmetric,
        });
    default:
      return observer satisfies never;
  }
}
