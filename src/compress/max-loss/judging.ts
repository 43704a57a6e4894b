/**
 * A run with a largest loss, from the data of each model to the modes that are within it: what `compress` calls instead of solving
 * once. Calibrations are kept, since a plan that leaves layers as they are needs no other.
 */

import { WhittleError } from '../../errors.ts';
import type { OnnxModel } from '../../formats/onnx/model.ts';
import type { Recipe } from '../../planning/recipe.ts';
import type { CompressOptions, MaxLoss } from '../options.ts';
import type { PlannedMode, PlannedModel } from '../run-modes.ts';
import { METHODS } from '../solve/methods.ts';
import { isAlgorithm } from '../solve/names.ts';
import { solveOnData } from '../solve/solve-on-data.ts';
import type { StaticCalibration } from '../static/plan-static-mode.ts';
import { type JudgedData, openJudgedData } from './data.ts';
import { keepWithinLoss, type ModesWithinLoss } from './keep.ts';
import { isLossMeasure, LOSS_NAMES } from './names.ts';

/** Plans a mode; undefined where the recipe leaves nothing to quantize. */
export type PlanMode = (
  model: OnnxModel,
  output: PlannedMode['output'],
  options: CompressOptions,
  calibrations: Map<string, StaticCalibration>,
) => Promise<PlannedMode | undefined>;

export interface Judging {
  readonly calibrations: Map<string, StaticCalibration>;
  /** The options of one model's modes: the data is what they are calibrated on, without what is held out. */
  optionsOf(model: OnnxModel): Promise<CompressOptions>;
  keep(models: readonly PlannedModel[], plan: PlanMode): Promise<ModesWithinLoss>;
}

/** @throws WhittleError E_USAGE for a bound or a measure that is none, in a dry run, and without data */
export function startJudging(
  maxLoss: MaxLoss,
  options: CompressOptions,
  recipes: readonly Recipe[],
): Judging {
  check(maxLoss, options);
  const judged = new Map<OnnxModel, { readonly data: JudgedData; readonly options: CompressOptions }>();
  const calibrations = new Map<string, StaticCalibration>();
  const of = async (model: OnnxModel) => {
    const known = judged.get(model);
    if (known !== undefined) return known;
    const data = await openJudgedData(model, options, maxLoss, isCalibrated(options, recipes));
    const found = { data, options: { ...options, data: data.calibration } };
    judged.set(model, found);
    return found;
  };
  return {
    calibrations,
    optionsOf: async (model) => (await of(model)).options,
    async keep(models, plan) {
      const each = await Promise.all(
        models.map(async (planned) => {
          const { data, options: own } = await of(planned.model);
          return { ...planned, judged: data, options: own };
        }),
      );
      return keepWithinLoss(each, maxLoss, {
        plan: ({ model, options: own }, output) => plan(model, output, own, calibrations),
        solve: async ({ model, options: own }, mode) => {
          if (own.algorithm === undefined && own.data === undefined)
            return { mode, [Symbol.asyncDispose]: async () => {} };
          const solved = await solveOnData([{ model, modes: [mode] }], own);
          return {
            mode: solved.models[0]?.modes[0] ?? mode,
            [Symbol.asyncDispose]: () => solved[Symbol.asyncDispose](),
          };
        },
      });
    },
  };
}

/** Whether anything that is asked for is fitted to data. */
function isCalibrated({ algorithm = 'auto', data }: CompressOptions, recipes: readonly Recipe[]): boolean {
  if (data === undefined) return false;
  if (
    recipes.some(({ static: fixed, prepare }) => fixed !== undefined || prepare !== undefined) ||
    !isAlgorithm(algorithm)
  )
    return true;
  return algorithm === 'auto' || (METHODS.get(algorithm)?.needs.length ?? 0) > 0;
}

function check({ limit, measure }: MaxLoss, { dryRun }: CompressOptions): void {
  if (!(limit >= 0)) {
    throw new WhittleError('E_USAGE', 'the largest loss must be a number of at least 0', {
      found: String(limit),
    });
  }
  if (measure !== undefined && !isLossMeasure(measure)) {
    throw new WhittleError('E_USAGE', `there is no loss ${String(measure)}`, {
      expected: LOSS_NAMES.join(', '),
    });
  }
  if (dryRun === true) {
    throw new WhittleError(
      'E_USAGE',
      'what is lost shows only when files are made and run, which a dry run does not',
      {
        hint: 'Leave out --dry-run, or --max-loss.',
      },
    );
  }
}
