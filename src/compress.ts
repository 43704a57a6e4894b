/**
 * The whole story: open → plan → execute → prove → report.
 *
 * Every model file is read once for all modes; results appear together, complete and proved, or not at all.
 */

import { basename } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { Judging } from './compress/max-loss/judging.ts';
import { modelFormat } from './compress/model-format.ts';
import type { CompressionReport, CompressOptions, SkippedMode } from './compress/options.ts';
import { type PlannedOutput, type Request, resolveRequest } from './compress/outputs.ts';
import type { Preparer } from './compress/prepare/preparer.ts';
import { describeModes, type PlannedMode, type PlannedModel, runModes } from './compress/run-modes.ts';
import type { StaticCalibration } from './compress/static/plan-static-mode.ts';
import { isWhittleError, WhittleError } from './errors.ts';
import type { OnnxModel } from './formats/onnx/model.ts';
import { openOnnx } from './formats/onnx/open.ts';
import { checkConfigFile, updateConfigFile } from './hub/index.ts';
import { assertMayWrite } from './io/atomic-file.ts';
import { isFileSource } from './io/file-source.ts';
import { type Planned, planCompression } from './planning/plan-onnx.ts';
import { presetRecipe } from './planning/presets.ts';
import type { Recipe } from './planning/recipe.ts';

export type * from './compress/options.ts';

/**
 * Compresses an ONNX model file, or every session of a model folder, into one file for each mode (GGUF: `quantizeGguf`).
 * @throws WhittleError E_NOTHING_TO_DO where no mode suits; E_VERIFICATION where a result fails its proof; and whatever
 * reading, planning and writing throw. Nothing is left behind then.
 */
export async function compress(input: string, options: CompressOptions): Promise<CompressionReport> {
  const started = performance.now();
  if (options.to.length === 0)
    throw new WhittleError('E_USAGE', 'no mode was asked for', { hint: 'Try q8 or q4.' });
  if (options.maxLoss !== undefined && (options.solution ?? options.saveSolution) !== undefined) {
    throw new WhittleError(
      'E_USAGE',
      'a search within a largest loss solves anew: it takes and saves no solution',
      {
        hint: 'Leave out --solution and --save-solution, or --max-loss.',
      },
    );
  }
  if ((await modelFormat(input)) === 'gguf') {
    throw new WhittleError('E_USAGE', 'recipes and modes are for ONNX models', {
      file: input,
      found: 'a GGUF model',
      hint: 'Use quantizeGguf with a file type such as Q4_K_M.',
    });
  }
  const recipes = options.to.map((mode) => {
    const recipe = typeof mode === 'string' ? presetRecipe(mode) : mode;
    return withPreparations(recipe, options);
  });
  const request = await resolveRequest(input, recipes, options.output);
  const judging = await judgingOf(options, recipes);
  const preparer = await preparerOf(recipes);
  const open: OnnxModel[] = [];
  const planned: PlannedModel[] = [];
  const skipped: Unsuited[] = [];
  try {
    for (const file of new Set(request.outputs.map((output) => output.input))) {
      const model = await openOnnx(file);
      open.push(model);
      const own = judging === undefined ? options : await judging.optionsOf(model);
      const modes: PlannedMode[] = [];
      for (const output of request.outputs.filter((output) => output.input === file)) {
        // Planning never waits for anything: without a turn of the event loop a signal would not be heard.
        await setImmediate();
        if (options.signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
        const outcome = await planMode(preparer, model, output, own, judging?.calibrations);
        if ('error' in outcome) skipped.push(outcome);
        else modes.push(outcome);
      }
      if (modes.length > 0) planned.push({ model, modes });
    }
    const [first] = skipped;
    if (planned.length === 0 && first !== undefined) throw first.error;
    return {
      results:
        options.dryRun === true
          ? await describeDry(planned, options)
          : await writeResults(request, planned, options, judging, preparer),
      skipped: skipped.map(({ mode, input, reason }) => ({ mode, input, reason })),
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await preparer?.[Symbol.asyncDispose]();
    await Promise.all(open.map((model) => model.close()));
  }
}

/** @throws WhittleError where solving would be refused */
async function describeDry(models: readonly PlannedModel[], options: CompressOptions) {
  if (isSolving(options)) (await import('./compress/solve/solve-on-data.ts')).checkSolving(models, options);
  return describeModes(models);
}

async function writeResults(
  request: Request,
  models: readonly PlannedModel[],
  options: CompressOptions,
  judging: Judging | undefined,
  preparer: Preparer | undefined,
) {
  const own = judging === undefined ? await solved(models, options) : undefined;
  const solution =
    own ?? (await judging?.keep(models, (...planned) => planWhereSuited(preparer, ...planned)));
  try {
    const results = await writeModels(request, solution?.models ?? models, options);
    await own?.finish();
    return results;
  } catch (error) {
    throw own === undefined ? error : await own.settle(error);
  } finally {
    await solution?.[Symbol.asyncDispose]();
  }
}

async function writeModels(request: Request, planned: readonly PlannedModel[], options: CompressOptions) {
  await request.prepare();
  if (request.folder !== undefined) await checkConfigFile(request.folder);
  const results = await runModes(planned, options);
  if (request.folder !== undefined) {
    const written = results.map(({ files }) => ({
      name: basename(files[0]?.path ?? ''),
      dataFiles: files.length - 1,
    }));
    await updateConfigFile(request.folder, written);
  }
  return results;
}

/** The modes with the weights that an algorithm solved, where one was asked for; to be kept until the files are written. */
async function solved(models: readonly PlannedModel[], options: CompressOptions) {
  if (!isSolving(options)) return undefined;
  const { solveOnData } = await import('./compress/solve/solve-on-data.ts');
  return solveOnData(models, options);
}

function isSolving({ algorithm, data, solution, saveSolution, biasCorrection }: CompressOptions): boolean {
  return [algorithm, data, solution, saveSolution, biasCorrection].some((given) => given !== undefined);
}

/** Where a largest loss was given: what its modes are judged on, and the search for the layers to keep. */
async function judgingOf(options: CompressOptions, recipes: readonly Recipe[]): Promise<Judging | undefined> {
  if (options.maxLoss === undefined) return undefined;
  const { startJudging } = await import('./compress/max-loss/judging.ts');
  return startJudging(options.maxLoss, options, recipes);
}

/** AWQ is a preparation before its codes are chosen. */
function withPreparations(recipe: Recipe, { prepare = recipe.prepare, algorithm }: CompressOptions): Recipe {
  const scaled = algorithm === 'awq' && recipe.static === undefined && !(prepare ?? []).includes('awq');
  if (scaled) return { ...recipe, prepare: [...(prepare ?? []), 'awq'] };
  return prepare === undefined ? recipe : { ...recipe, prepare };
}

/** Where a recipe asks for preparations: what makes them, and keeps what it made until the files are written. */
async function preparerOf(recipes: readonly Recipe[]): Promise<Preparer | undefined> {
  if (recipes.every(({ prepare = [] }) => prepare.length === 0)) return undefined;
  const { createPreparer } = await import('./compress/prepare/preparer.ts');
  return createPreparer();
}

async function planWhereSuited(...planned: Parameters<typeof planMode>): Promise<PlannedMode | undefined> {
  const outcome = await planMode(...planned);
  return 'error' in outcome ? undefined : outcome;
}

interface Unsuited extends SkippedMode {
  readonly error: WhittleError;
}

/** Whether the model is run, or an algorithm at work, before anything is written. */
function takesLong(
  { static: fixed, prepare }: Recipe,
  { algorithm, data, dryRun }: CompressOptions,
): boolean {
  return dryRun !== true && (algorithm ?? data ?? fixed ?? prepare) !== undefined;
}

/** What stands in the way of an output is said before the work, not after it. A run that goes on has its own rules. */
async function assertMayAppear(
  { path }: PlannedOutput,
  { source }: OnnxModel,
  { force, resume }: CompressOptions,
): Promise<void> {
  if (resume === true) return;
  await assertMayWrite(path, { force, ...(isFileSource(source) && { inputs: [source.identity] }) });
}

/** The plan of one mode, or why the mode does not suit. */
async function planMode(
  preparer: Preparer | undefined,
  original: OnnxModel,
  output: PlannedOutput,
  options: CompressOptions,
  calibrations?: Map<string, StaticCalibration>,
): Promise<PlannedMode | Unsuited> {
  const { targets, externalData } = options;
  try {
    if (takesLong(output.recipe, options)) await assertMayAppear(output, original, options);
    const fileName = basename(output.path);
    const planOptions = { targets, externalData, fileName };
    const plan = (model: OnnxModel): Promise<Planned> => planCompression(model, output.recipe, planOptions);
    const prepared = await preparer?.prepare(original, output.recipe, options, () => plan(original));
    const model = prepared?.model ?? original;
    const mode = { output, ...(prepared && { prepared }) };
    if (output.recipe.static === undefined) return { ...(await plan(model)), ...mode };
    const { planStaticMode } = await import('./compress/static/plan-static-mode.ts');
    return { ...(await planStaticMode(model, output.recipe, planOptions, options, calibrations)), ...mode };
  } catch (error) {
    if (!isWhittleError(error) || error.code !== 'E_NOTHING_TO_DO') throw error;
    const { found } = error.details;
    const reason = found === undefined ? error.message : `${error.message}: ${found}`;
    return { mode: output.recipe.name, input: original.file, reason, error };
  }
}
