/**
 * The second half of `compress`: planned modes of one model file or of every session of a folder → files and what is known
 * of them. All files of a request appear together, after each model's results were proved, or none does.
 */

import { dirname, join } from 'node:path';
import { isWhittleError } from '../errors.ts';
import { type ExecutionReport, executeSets } from '../execution/execute.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import type { Planned } from '../planning/plan-onnx.ts';
import type { CompressOptions, KeptWithinLoss, ModeResult, SolvedMode, WeightError } from './options.ts';
import type { PlannedOutput } from './outputs.ts';
import { overallSqnr } from './overall-error.ts';
import type { PreparedModel } from './prepare/prepare.ts';
import type { Prover } from './proof.ts';
import { modelBytes } from './size.ts';
import type { BiasReport } from './solve/correct-biases.ts';

export interface PlannedMode extends Planned {
  readonly output: PlannedOutput;
  /** What it was planned for in place of the model: the same function, easier to quantize. */
  readonly prepared?: PreparedModel | undefined;
  /** What an algorithm did to it. */
  readonly solution?:
    | {
        readonly solved: SolvedMode;
        readonly weights: readonly WeightError[];
        readonly notes: readonly string[];
      }
    | undefined;
  /** Biases that took back what quantizing did to the means of outputs. */
  readonly corrected?:
    | { readonly biases: readonly BiasReport[]; readonly notes: readonly string[] }
    | undefined;
  /** What was kept so that it loses no more than was asked for. */
  readonly loss?: KeptWithinLoss | undefined;
}

/** A model that is open, and the modes that suit it. */
export interface PlannedModel {
  readonly model: OnnxModel;
  readonly modes: readonly PlannedMode[];
}

/** What each mode would write, with exact sizes; nothing is read or written. */
export async function describeModes(models: readonly PlannedModel[]): Promise<ModeResult[]> {
  const results: ModeResult[] = [];
  for (const { model, modes } of models) {
    const inputBytes = await modelBytes(model);
    for (const mode of modes) results.push(describe(model, mode, inputBytes, undefined, undefined));
  }
  return results;
}

/** @throws WhittleError whatever executing and proving throw; nothing is left behind then but what `resume` can continue */
export async function runModes(
  models: readonly PlannedModel[],
  options: CompressOptions,
): Promise<ModeResult[]> {
  const jobs = await Promise.all(models.map((planned) => prepare(planned, options)));
  const sets = jobs.flatMap(({ modes }) =>
    modes.map(({ files, tasks, output }) => ({
      files,
      tasks,
      target: { directory: dirname(output.path), force: options.force },
      settings: settingsOf(output.recipe, options),
    })),
  );
  const proves = jobs.some(({ prover }) => prover !== undefined);
  const execution = await executeSets(sets, {
    threads: options.threads,
    measure: options.measure,
    nonFinite: options.nonFinite,
    resume: options.resume,
    journal: options.journal,
    digest: options.sha256,
    signal: options.signal,
    onProgress: options.onProgress,
    inputs: jobs.map(({ model }) => model.source),
    ...(proves && { prove: (paths) => proveAll(jobs, paths) }),
  }).catch((error: unknown) => {
    throw nameFile(error, jobs);
  });
  let index = 0;
  return jobs.flatMap(({ model, modes, inputBytes, prover }) =>
    modes.map((mode) => describe(model, mode, inputBytes, execution.sets[index++], prover)),
  );
}

/** Each option that decides bytes, as text. */
function settingsOf(recipe: PlannedOutput['recipe'], options: CompressOptions): Record<string, string> {
  const { algorithm, biasCorrection, data, externalData, nonFinite, solution, targets } = options;
  const { rules, exclude, fp16, static: fixed, prepare } = recipe;
  const source = data !== undefined && 'source' in data ? data : undefined;
  const all = {
    rules,
    exclude,
    fp16,
    static: fixed,
    prepare,
    algorithm,
    biasCorrection,
    solution,
    data: source,
    externalData,
    nonFinite,
    targets,
  };
  return Object.fromEntries(
    Object.entries(all).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, JSON.stringify(value)]],
    ),
  );
}

interface ModelJob extends PlannedModel {
  readonly inputBytes: number;
  readonly prover: Prover | undefined;
}

async function prepare(planned: PlannedModel, options: CompressOptions): Promise<ModelJob> {
  const inputBytes = await modelBytes(planned.model);
  if (options.verify === false) return { ...planned, inputBytes, prover: undefined };
  const { createProver } = await import('./proof.ts');
  return { ...planned, inputBytes, prover: await createProver(planned.model, inputBytes, options) };
}

async function proveAll(jobs: readonly ModelJob[], paths: readonly (readonly string[])[]): Promise<void> {
  let index = 0;
  for (const { modes, prover } of jobs) {
    const results = modes.map(({ output }) => ({
      mode: output.recipe.name,
      path: paths[index++]?.[0] ?? '',
    }));
    await prover?.prove(results);
  }
}

/** A tensor's error that names no file is one of the model that holds the tensor. */
function nameFile(error: unknown, jobs: readonly ModelJob[]): unknown {
  if (!isWhittleError(error)) return error;
  const { tensor } = error.details;
  if (tensor === undefined) return error;
  const holds = ({ modes }: ModelJob): boolean =>
    modes.some(({ tasks }) => tasks.some((task) => task.tensor === tensor));
  return error.with({ file: jobs.find(holds)?.model.file });
}

function describe(
  model: OnnxModel,
  { plan, files, output, prepared, solution, corrected, loss }: PlannedMode,
  inputBytes: number,
  written: ExecutionReport['sets'][number] | undefined,
  prover: Prover | undefined,
): ModeResult {
  const folder = dirname(output.path);
  const weights = [...(solution?.weights ?? []), ...(written?.tensors ?? [])];
  return {
    mode: output.recipe.name,
    input: model.file,
    inputBytes,
    files: written?.files ?? files.map(({ name, size }) => ({ path: join(folder, name), bytes: size })),
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    plan,
    weights,
    weightSqnr: written && overallSqnr(weights),
    verification: prover?.proofs.get(output.recipe.name),
    solved: solution?.solved,
    ...(prepared && { prepared: prepared.reports }),
    ...(corrected && { biases: corrected.biases }),
    ...(loss && { loss }),
    notes: [
      ...(prepared?.notes ?? []),
      ...plan.notes,
      ...(solution?.notes ?? []),
      ...(corrected?.notes ?? []),
      ...(prover?.notes ?? []),
    ],
  };
}
