/**
 * The step between planning and writing, where an algorithm or data were given: every planned mode of every model is solved on
 * the data, and goes on with the bytes of its solved weights in place.
 */

import type { Dataset } from '../../calibration/data/dataset.ts';
import { nearest } from '../../core/nearest.ts';
import { WhittleError } from '../../errors.ts';
import type { OnnxModel } from '../../formats/onnx/model.ts';
import type { Operation } from '../../numerics/operation.ts';
import { openModelData } from '../calibration-data.ts';
import type { CompressOptions } from '../options.ts';
import type { PlannedMode, PlannedModel } from '../run-modes.ts';
import { applyAlgorithm } from './apply.ts';
import { METHODS } from './methods.ts';
import { ALGORITHM_NAMES, type AlgorithmName, isAlgorithm } from './names.ts';
import type { Method } from './solve.ts';
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
  for (const { model, modes } of models) {
    const dataset = options.data && (await openModelData(model, options.data, options));
    const algorithm = chosenAlgorithm(options.algorithm, dataset);
    const method = METHODS.get(algorithm);
    if (method === undefined) solved.push({ model, modes });
    else solved.push({ model, modes: await solveEach(model, modes, method, dataset, options, spool) });
  }
  return solved;
}

async function solveEach(
  model: OnnxModel,
  modes: readonly PlannedMode[],
  method: Method,
  dataset: Dataset | undefined,
  { threads, signal, onProgress }: CompressOptions,
  spool: Spool,
): Promise<PlannedMode[]> {
  const results: PlannedMode[] = [];
  for (const mode of modes) {
    // Scales of a static mode and codes of its weights were made together, from the same data. Round to nearest is what the
    // encoders do by themselves, with onnxruntime's own ranges; real zero points they fit.
    const encoded = method.name === 'rtn' && !mode.tasks.some(({ operation }) => hasRealZeros(operation));
    if (mode.output.recipe.static !== undefined || encoded) {
      results.push(mode);
      continue;
    }
    const started = performance.now();
    const { planned, layers, weights, notes } = await applyAlgorithm(mode.prepared?.model ?? model, mode, {
      method,
      dataset: method.needs.length === 0 ? undefined : dataset,
      threads,
      signal,
      onProgress,
      spool,
    });
    results.push({
      ...mode,
      ...planned,
      solution: {
        weights,
        notes: [...notes, ...unusedData(method, dataset)],
        solved: {
          algorithm: method.name,
          data: method.needs.length === 0 ? undefined : dataset?.description,
          synthetic: method.needs.length === 0 ? undefined : dataset?.synthetic,
          layers,
          seconds: (performance.now() - started) / 1000,
        },
      },
    });
  }
  return results;
}

function hasRealZeros(operation: Operation): boolean {
  return operation.kind === 'matmul-nbits' && operation.zeroPoints === 'real';
}

function unusedData({ name, needs }: Method, dataset: Dataset | undefined): string[] {
  return dataset !== undefined && needs.length === 0
    ? [`${name} looks at the weights only: the data was not used.`]
    : [];
}

/** @throws WhittleError E_USAGE */
export function chosenAlgorithm(
  wanted: string | undefined,
  dataset: Dataset | undefined,
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
  if (name === 'auto') return dataset === undefined ? 'fit' : 'gptq-act-order';
  const needs = METHODS.get(name)?.needs ?? [];
  if (needs.length > 0 && dataset === undefined) {
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
