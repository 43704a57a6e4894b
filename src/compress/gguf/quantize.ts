/**
 * The whole story for GGUF: open → plan each type → execute all → report. The input is opened once, every type is planned before a
 * byte is written, and the files of all types appear together, complete, or not at all.
 */

import { basename, dirname, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { isWhittleError, WhittleError } from '../../errors.ts';
import { type ExecutionReport, executeSets } from '../../execution/execute.ts';
import type { GgufModel } from '../../formats/gguf/gguf.ts';
import type { Imatrix } from '../../formats/gguf/imatrix-types.ts';
import { openGguf } from '../../formats/gguf/open.ts';
import { makeFolder } from '../../io/folder.ts';
import { COPY, parseFileType } from '../../planning/gguf/file-types.ts';
import type { GgufQuantizeOptions, PlannedGguf } from '../../planning/gguf/options.ts';
import { planGguf } from '../../planning/gguf/plan-gguf.ts';
import { overallSqnr } from '../overall-error.ts';
import { imatrixSources } from './imatrix-sources.ts';
import type { GgufReport, GgufResult, GgufTensorResult, QuantizeGgufOptions } from './options.ts';
import { ggufOutputPaths } from './outputs.ts';
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
  const planned: PlannedOutput[] = [];
  for (const [index, type] of types.entries()) {
    // Planning waits for little: without a turn of the event loop a signal would not be heard.
    await setImmediate();
    if (options.signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
    const path = paths[index] ?? '';
    planned.push({ path, plan: await planType(model, type, path, imatrix, options) });
  }
  const execution = options.dryRun === true ? undefined : await execute(model, imatrix, planned, options);
  const weights = model.tensors.reduce((sum, tensor) => sum + valueCount(tensor), 0);
  const tensorBytes = model.tensors.reduce((sum, { data }) => sum + data.length, 0);
  return {
    input: model.file,
    inputBytes: model.bytes,
    inputBitsPerWeight: perWeight(tensorBytes, weights),
    weights,
    architecture: model.architecture,
    results: planned.map((output, index) => describe(output, execution?.sets[index])),
    ...(execution && { threads: execution.threads }),
    seconds: (performance.now() - started) / 1000,
  };
}

interface PlannedOutput {
  readonly path: string;
  readonly plan: PlannedGguf;
}

/** Canonical names. @throws WhittleError E_USAGE where there is none, or no such type */
export function canonicalTypes(to: string | readonly string[]): string[] {
  const words = typeof to === 'string' ? [to] : to;
  if (words.length === 0) {
    throw new WhittleError('E_USAGE', 'no type was asked for', {
      hint: 'Try Q4_K_M; `whittle types` lists them all.',
    });
  }
  return words.map((word) => {
    const type = parseFileType(word);
    return type === COPY ? COPY : type.name;
  });
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

/** The options that the planner knows. */
export async function planType(
  model: GgufModel,
  to: string,
  path: string,
  imatrix: Imatrix | undefined,
  options: Omit<QuantizeGgufOptions, 'to'>,
): Promise<PlannedGguf> {
  const wishes: GgufQuantizeOptions = {
    to,
    fileName: basename(path),
    imatrix,
    includeWeights: options.includeWeights,
    excludeWeights: options.excludeWeights,
    pure: options.pure,
    leaveOutputTensor: options.leaveOutputTensor,
    outputTensorType: options.outputTensorType,
    tokenEmbeddingType: options.tokenEmbeddingType,
    tensorTypes: options.tensorTypes,
    pruneLayers: options.pruneLayers,
    overrideKv: options.overrideKv,
    allowRequantize: options.allowRequantize,
    keepSplit: options.keepSplit,
    dryRun: options.dryRun,
  };
  try {
    return await planGguf(model, wishes);
  } catch (error) {
    throw isWhittleError(error) ? error.with({ file: model.file }) : error;
  }
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
    });
  } catch (error) {
    // A tensor's error that names no file is one of the model.
    throw isWhittleError(error) && error.details.tensor !== undefined
      ? error.with({ file: model.file })
      : error;
  }
}

function describe(
  { path, plan }: PlannedOutput,
  written: ExecutionReport['sets'][number] | undefined,
): GgufResult {
  const errors = new Map(written?.tensors.map((report) => [report.task, report]));
  const tensors = plan.tensors.map((tensor): GgufTensorResult => {
    const error = tensor.task === undefined ? undefined : errors.get(tensor.task);
    return error?.sqnr === undefined ? tensor : { ...tensor, sqnr: error.sqnr, maxAbs: error.maxAbs };
  });
  const weights = plan.tensors.reduce((sum, tensor) => sum + valueCount(tensor), 0);
  const tensorBytes = plan.tensors.reduce((sum, { toBytes }) => sum + toBytes, 0);
  const weightSqnr = written && overallSqnr(written.tensors);
  return {
    type: plan.name,
    fileType: plan.fileType,
    files:
      written?.files ??
      plan.files.map(({ name, size }) => ({ path: join(dirname(path), name), bytes: size })),
    bytes: plan.files.reduce((sum, { size }) => sum + size, 0),
    tensorBytes,
    bitsPerWeight: perWeight(tensorBytes, weights),
    tensors,
    ...(weightSqnr !== undefined && { weightSqnr }),
    wantsImatrix: plan.wantsImatrix,
    notes: plan.notes,
  };
}

export function perWeight(bytes: number, weights: number): number {
  return weights === 0 ? 0 : (bytes * 8) / weights;
}
