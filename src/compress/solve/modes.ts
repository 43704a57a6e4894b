/**
 * The step between planning and writing, where an algorithm or data were given: every planned mode of every model is solved on
 * the data, and goes on with the bytes of its solved weights in place.
 */

import { dirname, resolve } from 'node:path';
import type { Dataset } from '../../calibration/data/dataset.ts';
import { nearest } from '../../core/nearest.ts';
import { WhittleError } from '../../errors.ts';
import { ownVersion } from '../../execution/fingerprint.ts';
import type { TensorBytes } from '../../formats/layout.ts';
import type { OnnxModel } from '../../formats/onnx/model.ts';
import { assertMayWrite } from '../../io/atomic-file.ts';
import { isFileSource } from '../../io/file-source.ts';
import type { Operation } from '../../numerics/operation.ts';
import { openModelData } from '../calibration-data.ts';
import type { CompressOptions } from '../options.ts';
import type { PlannedMode, PlannedModel } from '../run-modes.ts';
import { applyAlgorithm } from './apply.ts';
import { METHODS } from './methods.ts';
import { ALGORITHM_NAMES, type AlgorithmName, isAlgorithm } from './names.ts';
import { saveSolution } from './solution-file.ts';
import { openSolution, type Solution } from './solution-reader.ts';
import type { Method } from './solve.ts';
import { openSolvedJournal, type SolvedJournal, settleSolved, stampOf } from './solved-journal.ts';
import type { Spool } from './spool.ts';

/**
 * @param spool Holds what was solved until the files are written.
 * @throws WhittleError E_USAGE for an unknown algorithm, or one that needs data where there is none; and what `applyAlgorithm` throws
 */
export async function solveModes(
  models: readonly PlannedModel[],
  options: CompressOptions,
  spool: Spool,
): Promise<PlannedModel[]> {
  const solved: PlannedModel[] = [];
  checkChoice(models, options);
  await assertMaySave(options, models);
  await using solution = options.solution === undefined ? undefined : await openSolution(options.solution);
  for (const { model, modes } of models) {
    const dataset = options.data && (await openModelData(model, options.data, options));
    // A solution alone is written as it is; with an algorithm or data, what it lacks is solved.
    const wanted = options.algorithm !== undefined || dataset !== undefined || solution === undefined;
    const method = wanted ? methodOf(chosenAlgorithm(options.algorithm, dataset)) : undefined;
    const given = { method, dataset, solution };
    if (method === undefined && solution === undefined) solved.push({ model, modes });
    else solved.push({ model, modes: await solveEach(model, modes, given, options, spool) });
  }
  return solved;
}

interface Given {
  readonly method: Method | undefined;
  readonly dataset: Dataset | undefined;
  readonly solution: Solution | undefined;
}

/**
 * What can be said before the data is opened.
 * @throws WhittleError E_USAGE for an unknown algorithm, one that needs data where there is none, and a solution file that nothing goes into
 */
export function checkChoice(models: readonly PlannedModel[], options: CompressOptions): void {
  checkSolutionOptions(options, models);
  if (models.length > 0) chosenAlgorithm(options.algorithm, options.data);
}

/** @throws WhittleError E_USAGE */
function checkSolutionOptions(
  { saveSolution, solution, algorithm, data }: CompressOptions,
  models: readonly PlannedModel[],
): void {
  if (saveSolution === undefined) return;
  const modes = models.flatMap(({ modes }) => modes.map(({ output }) => output.recipe));
  if (modes.length > 1) {
    throw new WhittleError('E_USAGE', 'a solution file holds the weights of one model in one mode', {
      found: modes.map(({ name }) => name).join(', '),
      hint: 'Ask for one mode; its solution can be given to the others with --solution.',
    });
  }
  const solves = algorithm !== undefined || data !== undefined || solution !== undefined;
  if (solves && modes.every((recipe) => recipe.static === undefined)) return;
  throw new WhittleError('E_USAGE', 'there is no solution to save: no algorithm chooses codes here', {
    hint: 'Say which with --algorithm (docs/algorithms.md).',
  });
}

/** What stands in the way of the solution file is said before the work. A run that goes on replaces what it saved before it was stopped. */
async function assertMaySave(
  { saveSolution, solution, force, resume }: CompressOptions,
  models: readonly PlannedModel[],
): Promise<void> {
  if (saveSolution === undefined) return;
  const path = resolve(saveSolution);
  const taken = models.some(({ modes }) =>
    modes.some(({ output, files }) => files.some(({ name }) => resolve(dirname(output.path), name) === path)),
  );
  if (taken) {
    throw new WhittleError('E_USAGE', 'the solution and the model are to be one file', {
      file: saveSolution,
      hint: 'Name another file with --save-solution.',
    });
  }
  if (solution !== undefined && resolve(solution) === path) {
    throw new WhittleError('E_USAGE', 'a solution cannot be saved over the one that is taken over', {
      file: saveSolution,
      hint: 'Name another file with --save-solution.',
    });
  }
  const inputs = models.flatMap(({ model }) => (isFileSource(model.source) ? [model.source.identity] : []));
  const replaces = force === true || (resume === true && (await isSolution(saveSolution)));
  await assertMayWrite(saveSolution, { force: replaces, inputs });
}

async function isSolution(path: string): Promise<boolean> {
  try {
    await (await openSolution(path))[Symbol.asyncDispose]();
    return true;
  } catch {
    return false;
  }
}

async function solveEach(
  model: OnnxModel,
  modes: readonly PlannedMode[],
  given: Given,
  options: CompressOptions,
  spool: Spool,
): Promise<PlannedMode[]> {
  const { method, dataset, solution } = given;
  const { threads, matrixBytes, signal, onProgress, saveSolution: path } = options;
  // What --resume may replace was settled before the work.
  const force = options.force === true || options.resume === true;
  const uses = (method?.needs.length ?? 0) > 0;
  const algorithm = method?.name ?? solution?.algorithm ?? 'rtn';
  const data = uses ? dataset?.description : method === undefined ? solution?.data : undefined;
  const results: PlannedMode[] = [];
  for (const mode of modes) {
    // Scales of a static mode and codes of its weights were made together, from the same data. Round to nearest is what the
    // encoders do by themselves, with onnxruntime's own ranges; real zero points they fit.
    const encoded =
      method?.name === 'rtn' &&
      solution === undefined &&
      path === undefined &&
      !mode.tasks.some(({ operation }) => hasRealZeros(operation));
    if (mode.output.recipe.static !== undefined) {
      const { plan } = mode;
      results.push({ ...mode, plan: { ...plan, notes: [...plan.notes, ...unusedChoice(options)] } });
      continue;
    }
    if (encoded) {
      results.push(mode);
      continue;
    }
    const started = performance.now();
    await using journal = uses && method ? await journalOf(model, mode, method, given, options) : undefined;
    const { planned, layers, weights, notes } = await applyAlgorithm(mode.prepared?.model ?? model, mode, {
      method,
      solutions: [journal?.solution, solution].filter((one) => one !== undefined),
      keep: journal?.keep,
      save: path === undefined ? undefined : (all) => saveSolution(path, all, { algorithm, data }, { force }),
      dataset: uses ? dataset : undefined,
      threads,
      matrixBytes,
      signal,
      onProgress,
      spool,
    }).catch(async (error: unknown) => {
      await journal?.[Symbol.asyncDispose]();
      throw journal === undefined ? error : await settleSolved(mode.output.path, error);
    });
    results.push({
      ...mode,
      ...planned,
      solution: {
        weights,
        notes: [...notes, ...unusedData(method, options.biasCorrection === true ? undefined : dataset)],
        solved: {
          algorithm,
          data,
          synthetic: uses ? dataset?.synthetic : undefined,
          layers,
          seconds: (performance.now() - started) / 1000,
        },
      },
    });
  }
  return results;
}

/** Floats below which solving again is no great loss, in bytes; as for the files themselves (execution/execute.ts). */
const WORTH_A_JOURNAL = 64 << 20;

async function journalOf(
  model: OnnxModel,
  { output, tasks, plan }: PlannedMode,
  { name: algorithm }: Method,
  { dataset, solution }: Given,
  { journal = 'auto', resume = false, maxLoss, data }: CompressOptions,
): Promise<SolvedJournal | undefined> {
  const bytes = tasks.reduce((sum, { source }) => sum + lengthOf(source), 0);
  const wanted = resume || journal === true || (journal === 'auto' && bytes >= WORTH_A_JOURNAL);
  // A search within a largest loss solves one output many times.
  if (!wanted || maxLoss !== undefined) return undefined;
  const source = data !== undefined && 'source' in data ? data.source : undefined;
  const stamp = typeof source === 'string' ? await stampOf(source) : undefined;
  const about = {
    version: ownVersion(),
    algorithm,
    data: dataset?.description,
    count: dataset?.count,
    stamp,
    // Other weights and biases decide what the layers see.
    model: await stampOf(model.file),
    solution: solution?.file,
  };
  const settings = data !== undefined && 'source' in data ? { ...data, source: undefined } : undefined;
  return openSolvedJournal(
    output.path,
    { ...about, settings, recipe: output.recipe, targets: plan.targets },
    resume,
  );
}

function lengthOf(source: TensorBytes): number {
  return source.kind === 'inline' ? source.bytes.length : source.length;
}

/** Scales of AWQ are in the prepared model already (prepare/awq.ts): what is left is its clip search. */
function methodOf(algorithm: string): Method | undefined {
  const clip = METHODS.get('clip-weighted');
  return algorithm === 'awq' && clip !== undefined ? { ...clip, name: algorithm } : METHODS.get(algorithm);
}

function hasRealZeros(operation: Operation): boolean {
  return operation.kind === 'matmul-nbits' && operation.zeroPoints === 'real';
}

/** What was asked for by name and a static mode has no use for. */
function unusedChoice({ algorithm = 'auto', solution }: CompressOptions): string[] {
  const unused = [
    ...(algorithm === 'auto' || algorithm === 'rtn' ? [] : [`the algorithm ${algorithm}`]),
    ...(solution === undefined ? [] : ['the solution']),
  ];
  if (unused.length === 0) return [];
  return [
    `Static modes round weights to nearest, on scales made with those of the activations: ${unused.join(' and ')} was not used. Preparations and bias correction improve them.`,
  ];
}

function unusedData(method: Method | undefined, dataset: Dataset | undefined): string[] {
  return dataset !== undefined && method?.needs.length === 0
    ? [`${method.name} looks at the weights only: the data was not used.`]
    : [];
}

/** @throws WhittleError E_USAGE */
export function chosenAlgorithm(
  wanted: string | undefined,
  data: CompressOptions['data'],
): Exclude<AlgorithmName, 'auto'> {
  const name = wanted ?? 'auto';
  if (!isAlgorithm(name)) {
    const near = nearest(name, ALGORITHM_NAMES);
    throw new WhittleError('E_USAGE', `there is no algorithm ${name}`, {
      expected: ALGORITHM_NAMES.join(', '),
      found: name,
      ...(near !== undefined && { hint: `Did you mean ${near}?` }),
    });
  }
  if (name === 'auto') return data === undefined ? 'fit' : 'gptq-act-order';
  const needs = METHODS.get(name)?.needs ?? [];
  if (needs.length > 0 && data === undefined) {
    const without = [...METHODS.values()]
      .filter((method) => method.needs.length === 0)
      .map((method) => method.name);
    throw new WhittleError('E_USAGE', `${name} looks at what the layers see, and no data was given`, {
      expected: '--data with a text, arrays or images (docs/algorithms.md)',
      hint: `Without data there are ${without.join(', ')}.`,
    });
  }
  return name;
}
