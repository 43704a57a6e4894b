/**
 * The whole story for GGUF: open → plan each type → choose codes from data, where asked for → execute all → report. The input is opened once, every type is planned before a
 * byte is written, and the files of all types appear together, complete, or not at all.
 */

import { basename, dirname, join } from 'node:path';
import { turn } from '../../core/turn.ts';
import { isWhittleError, WhittleError } from '../../errors.ts';
import { type ExecutionReport, executeSets } from '../../execution/execute.ts';
import type { GgufModel } from '../../formats/gguf/gguf.ts';
import type { Imatrix } from '../../formats/gguf/imatrix-types.ts';
import { openGguf } from '../../formats/gguf/open.ts';
import { assertMayWrite } from '../../io/atomic-file.ts';
import { isFileSource } from '../../io/file-source.ts';
import { makeFolder } from '../../io/folder.ts';
import type { PlannedGguf } from '../../planning/gguf/options.ts';
import { describeOutput, perWeight } from './describe.ts';
import { imatrixSources } from './imatrix-sources.ts';
import type { GgufReport, QuantizeGgufOptions } from './options.ts';
import { ggufOutputPaths } from './outputs.ts';
import { canonicalTypes, planType } from './plan-types.ts';
import type { GgufSolver, SolvedGguf } from './solve/solver.ts';
import { valueCount } from './values.ts';

/**
 * Writes one file (with `keepSplit`: as many as the input has) for each type asked for.
 * @throws WhittleError E_USAGE, E_REQUANT, E_IMATRIX, E_UNSUPPORTED from planning; whatever reading and writing throw; E_ABORTED
 */
export async function quantizeGguf(input: string, options: QuantizeGgufOptions): Promise<GgufReport> {
  const started = performance.now();
  const types = canonicalTypes(options.to);
  const paths = ggufOutputPaths(input, types, options.output);
  await using model = await openGguf(input);
  await using guide = await openGuide(options.imatrix);
  const { imatrix } = guide;
  await using solver = await solverFor(model, options);
  const planned: PlannedOutput[] = [];
  for (const [index, type] of types.entries()) {
    // Planning waits for little: without a turn of the event loop a signal would not be heard.
    await turn();
    if (options.signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
    const path = paths[index] ?? '';
    const plan = await planWith(solver, imatrix, options.dryRun === true, (guiding, dryRun) =>
      planType(model, type, basename(path), guiding, { ...options, dryRun }),
    );
    const note = solver?.forewarn(plan);
    planned.push({ path, plan: note === undefined ? plan : { ...plan, notes: [note, ...plan.notes] } });
    if (note !== undefined && options.dryRun !== true) options.onNote?.(note);
  }
  const execution =
    options.dryRun === true ? undefined : await solveAndExecute(solver, model, imatrix, planned, options);
  const weights = model.tensors.reduce((sum, tensor) => sum + valueCount(tensor), 0);
  const tensorBytes = model.tensors.reduce((sum, { data }) => sum + data.length, 0);
  return {
    input: model.file,
    inputBytes: model.bytes,
    inputBitsPerWeight: perWeight(tensorBytes, weights),
    weights,
    architecture: model.architecture,
    results: planned.map((output, index) =>
      describeOutput(output.plan, execution?.sets[index], (name) => join(dirname(output.path), name), output),
    ),
    ...(execution && { threads: execution.threads }),
    seconds: (performance.now() - started) / 1000,
  };
}

interface PlannedOutput extends Partial<Omit<SolvedGguf, 'plan'>> {
  readonly path: string;
  readonly plan: PlannedGguf;
}

/** What chooses codes from data is loaded where it is asked for: other runs start sooner and take less memory. */
async function solverFor(model: GgufModel, options: QuantizeGgufOptions): Promise<GgufSolver | undefined> {
  const { algorithm, data, statistics, onnx } = options;
  if ([algorithm, data, statistics, onnx].every((wish) => wish === undefined)) return undefined;
  const { openSolver } = await import('./solve/solver.ts');
  return openSolver(model, options);
}

/** @param planned - gets the plans with solved weights in the place of those without */
async function solveAndExecute(
  solver: GgufSolver | undefined,
  model: GgufModel,
  imatrix: Imatrix | undefined,
  planned: PlannedOutput[],
  options: QuantizeGgufOptions,
): Promise<ExecutionReport> {
  if (solver === undefined) return execute(model, imatrix, planned, options);
  const { removeSolved, settleSolved } = await import('../solve/solved-journal.ts');
  await assertMayAppear(model, planned, options);
  for (const { path } of planned) await makeFolder(dirname(path));
  try {
    for (const [index, { path, plan }] of planned.entries())
      planned[index] = { path, ...(await solver.solve(plan, path)) };
    const execution = await execute(model, imatrix, planned, options);
    for (const { path } of planned) await removeSolved(path);
    return execution;
  } catch (error) {
    let told: unknown = error;
    for (const { path } of planned) told = await settleSolved(path, told);
    throw told;
  }
}

/** What stands in the way of an output is said before the data is run, not after it. A run that goes on has its own rules. */
async function assertMayAppear(
  model: GgufModel,
  planned: readonly PlannedOutput[],
  { force, resume }: QuantizeGgufOptions,
): Promise<void> {
  if (resume === true) return;
  const inputs = model.sources.flatMap((source) => (isFileSource(source) ? [source.identity] : []));
  for (const { path, plan } of planned) {
    for (const { name } of plan.files) await assertMayWrite(join(dirname(path), name), { force, inputs });
  }
}

/** The plan, with importance from the solver's data where a type cannot do without and none was given. */
async function planWith(
  solver: GgufSolver | undefined,
  imatrix: Imatrix | undefined,
  dryRun: boolean,
  plan: (imatrix: Imatrix | undefined, dryRun: boolean) => Promise<PlannedGguf>,
): Promise<PlannedGguf> {
  if (solver === undefined || imatrix !== undefined || dryRun) return plan(imatrix, dryRun);
  const { wantsImatrix } = await plan(undefined, true);
  return plan(wantsImatrix ? await solver.imatrix() : undefined, false);
}

/** A matrix that was opened here is closed here. */
export async function openGuide(
  imatrix: string | Imatrix | undefined,
): Promise<{ readonly imatrix: Imatrix | undefined } & AsyncDisposable> {
  if (typeof imatrix !== 'string') return { imatrix, [Symbol.asyncDispose]: async () => {} };
  const { openImatrix } = await import('../../formats/gguf/open.ts');
  const opened = await openImatrix(imatrix);
  return { imatrix: opened, [Symbol.asyncDispose]: () => opened.close() };
}

async function execute(
  model: GgufModel,
  imatrix: Imatrix | undefined,
  planned: readonly PlannedOutput[],
  options: QuantizeGgufOptions,
): Promise<ExecutionReport> {
  for (const { path } of planned) await makeFolder(dirname(path));
  const sets = planned.map(({ path, plan: { files, tasks } }) => ({
    files,
    tasks,
    target: { directory: dirname(path), force: options.force },
    settings: settingsOf(options),
  }));
  try {
    return await executeSets(sets, {
      threads: options.threads,
      measure: options.measure,
      resume: options.resume,
      journal: options.journal,
      digest: options.sha256,
      signal: options.signal,
      onProgress: options.onProgress,
      inputs: [...model.sources, ...imatrixSources(imatrix)],
      prove: (outputs) => reopen(outputs, planned),
    });
  } catch (error) {
    // A tensor's error that names no file is one of the model.
    throw isWhittleError(error) && error.details.tensor !== undefined
      ? error.with({ file: model.file })
      : error;
  }
}

/** Each option that decides bytes, as text; the type is in the file's name. */
function settingsOf(options: QuantizeGgufOptions): Record<string, string> {
  const { imatrix, includeWeights, excludeWeights, pure, leaveOutputTensor, pruneLayers, overrideKv } =
    options;
  const { outputTensorType, tokenEmbeddingType, tensorTypes, allowRequantize, keepSplit } = options;
  const { algorithm, data, statistics, onnx } = options;
  const all = {
    ...{ algorithm, statistics, onnx },
    data: data !== undefined && 'source' in data ? data : data?.description,
    imatrix: typeof imatrix === 'string' ? imatrix : imatrix && 'given',
    ...{ includeWeights, excludeWeights, pure, leaveOutputTensor, pruneLayers, overrideKv },
    ...{ outputTensorType, tokenEmbeddingType, tensorTypes, allowRequantize, keepSplit },
  };
  return Object.fromEntries(
    Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [[name, textOf(value)]])),
  );
}

function textOf(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => (typeof item === 'bigint' ? String(item) : item));
}

/** What was written is read again, strictly, before it appears: every tensor in its place, and of the type that was planned. */
async function reopen(
  outputs: readonly (readonly string[])[],
  planned: readonly PlannedOutput[],
): Promise<void> {
  for (const [index, [first]] of outputs.entries()) {
    if (first === undefined) continue;
    await using written = await openGguf(first);
    const wanted = planned[index]?.plan.tensors.map(({ name, to }) => `${name} ${to}`) ?? [];
    const found = written.tensors.map(({ name, type }) => `${name} ${type}`);
    const different = wanted.findIndex((tensor, i) => tensor !== found[i]);
    if (different < 0 && wanted.length === found.length) continue;
    throw new WhittleError('E_VERIFICATION', 'the file that was written is not the one that was planned', {
      file: planned[index]?.path,
      expected: wanted[different] ?? `${wanted.length} tensors`,
      found: found[different] ?? `${found.length} tensors`,
      hint: 'Run it again; if it happens twice, please report it.',
    });
  }
}
