/**
 * The whole story: open → plan → execute → prove → report.
 *
 * Every model file is read once for all modes; results appear together, complete and proved, or not at all.
 */

import { basename, dirname } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { CompressionReport, CompressOptions, ModeResult, SkippedMode } from './compress/options.ts';
import { type PlannedOutput, resolveRequest } from './compress/outputs.ts';
import { overallSqnr } from './compress/overall-error.ts';
import type { Prover } from './compress/proof.ts';
import { modelBytes } from './compress/size.ts';
import { isWhittleError, WhittleError } from './errors.ts';
import { type ExecutionReport, executeSets } from './execution/execute.ts';
import { type OnnxModel, openOnnx } from './formats/onnx/model.ts';
import { checkConfigFile, updateConfigFile } from './hub/index.ts';
import { type Planned, planCompression } from './planning/plan-onnx.ts';
import { presetRecipe } from './planning/presets.ts';

export type * from './compress/options.ts';

/**
 * Compresses a model file, or every session of a model folder, into one file for each mode.
 * @throws WhittleError E_NOTHING_TO_DO where no mode suits; E_VERIFICATION where a result fails its proof; and whatever
 * reading, planning and writing throw. Nothing is left behind then.
 */
export async function compress(input: string, options: CompressOptions): Promise<CompressionReport> {
  const started = performance.now();
  if (options.to.length === 0)
    throw new WhittleError('E_USAGE', 'no mode was asked for', { hint: 'Try q8 or q4.' });
  const recipes = options.to.map((mode) => (typeof mode === 'string' ? presetRecipe(mode) : mode));
  const request = await resolveRequest(input, recipes, options.output);
  const results: ModeResult[] = [];
  const skipped: (SkippedMode & { readonly error: WhittleError })[] = [];
  for (const file of new Set(request.outputs.map((output) => output.input))) {
    const outputs = request.outputs.filter((output) => output.input === file);
    const model = await openOnnx(file);
    try {
      const planned: PlannedMode[] = [];
      for (const output of outputs) {
        // Planning never waits for anything: without a turn of the event loop a signal would not be heard.
        await setImmediate();
        if (options.signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
        const outcome = await planMode(model, output, options);
        if ('error' in outcome) skipped.push(outcome);
        else planned.push(outcome);
      }
      if (planned.length === 0) continue;
      if (options.dryRun !== true) {
        await request.prepare();
        if (request.folder !== undefined) await checkConfigFile(request.folder);
      }
      results.push(...(await runModes(model, planned, options)));
    } finally {
      await model.close();
    }
  }
  const [first] = skipped;
  if (results.length === 0 && first !== undefined) throw first.error;
  if (options.dryRun !== true && request.folder !== undefined) {
    const written = results.map(({ files }) => ({
      name: basename(files[0]?.path ?? ''),
      dataFiles: files.length - 1,
    }));
    await updateConfigFile(request.folder, written);
  }
  return {
    results,
    skipped: skipped.map(({ mode, input, reason }) => ({ mode, input, reason })),
    seconds: (performance.now() - started) / 1000,
  };
}

interface PlannedMode extends Planned {
  readonly output: PlannedOutput;
}

/** The plan of one mode, or why the mode does not suit. */
async function planMode(
  model: OnnxModel,
  output: PlannedOutput,
  options: CompressOptions,
): Promise<PlannedMode | (SkippedMode & { readonly error: WhittleError })> {
  const { targets, externalData } = options;
  try {
    const fileName = basename(output.path);
    return { ...(await planCompression(model, output.recipe, { targets, externalData, fileName })), output };
  } catch (error) {
    if (!isWhittleError(error) || error.code !== 'E_NOTHING_TO_DO') throw error;
    const { found } = error.details;
    const reason = found === undefined ? error.message : `${error.message}: ${found}`;
    return { mode: output.recipe.name, input: model.file, reason, error };
  }
}

async function runModes(
  model: OnnxModel,
  planned: readonly PlannedMode[],
  options: CompressOptions,
): Promise<ModeResult[]> {
  const inputBytes = await modelBytes(model);
  if (options.dryRun === true)
    return planned.map((mode) => describe(model, mode, inputBytes, undefined, undefined));
  const prover =
    options.verify === false
      ? undefined
      : await (await import('./compress/proof.ts')).createProver(model, inputBytes, options);
  const sets = planned.map(({ files, tasks, output }) => ({
    files,
    tasks,
    target: { directory: dirname(output.path), force: options.force },
  }));
  const execution = await executeSets(sets, {
    threads: options.threads,
    measure: options.measure,
    nonFinite: options.nonFinite,
    signal: options.signal,
    onProgress: options.onProgress,
    inputs: [model.source],
    ...(prover && {
      prove: (paths) =>
        prover.prove(
          planned.map(({ output }, i) => ({ mode: output.recipe.name, path: paths[i]?.[0] ?? '' })),
        ),
    }),
  }).catch((error: unknown) => {
    // A tensor's error that names no file is one of the model's.
    throw isWhittleError(error) && error.details.tensor !== undefined
      ? error.with({ file: model.file })
      : error;
  });
  return planned.map((mode, index) => describe(model, mode, inputBytes, execution.sets[index], prover));
}

function describe(
  model: OnnxModel,
  { plan, files, output }: PlannedMode,
  inputBytes: number,
  written: ExecutionReport['sets'][number] | undefined,
  prover: Prover | undefined,
): ModeResult {
  const folder = dirname(output.path);
  return {
    mode: output.recipe.name,
    input: model.file,
    inputBytes,
    files: written?.files ?? files.map(({ name, size }) => ({ path: `${folder}/${name}`, bytes: size })),
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    plan,
    weights: written?.tensors ?? [],
    weightSqnr: written && overallSqnr(written.tensors),
    verification: prover?.proofs.get(output.recipe.name),
    notes: [...plan.notes, ...(prover?.notes ?? [])],
  };
}
