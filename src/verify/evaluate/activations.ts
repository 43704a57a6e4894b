/**
 * Inner tensors of two models on the same inputs: both graphs get the tensors as outputs, run side by side, and what they hold
 * is compared as it comes. Tensors are taken a few at a time, so that few of them are in memory at once; the graphs are reduced
 * to what these need.
 */

import { type CalibrationModel, copyModel, openTapped } from '../../calibration/collect/tapped-model.ts';
import type { Dataset } from '../../calibration/data/dataset.ts';
import type { RunOptions } from '../../core/progress.ts';
import { WhittleError } from '../../errors.ts';
import { pruneToOutputs } from '../../formats/onnx/taps/prune.ts';
import type { Runtime } from '../../runtime/runtime.ts';
import { createSimilarity, type OutputComparison } from '../similarity.ts';
import { feedsOf } from './same-interface.ts';

export interface ActivationOptions extends RunOptions {
  readonly runtime: Runtime;
  readonly threads?: number | undefined;
}

/** Tensors that are outputs of one run. */
const AT_ONCE = 24;

/**
 * Compares `tensors`, which the main graphs of both compute. Tensors that differ in shape are left out.
 * @throws WhittleError E_RUNTIME, E_VERIFICATION (a value is not finite where the original's is), E_GRAPH, E_ABORTED
 */
export async function compareActivations(
  original: CalibrationModel,
  result: CalibrationModel,
  tensors: readonly string[],
  dataset: Dataset,
  options: ActivationOptions,
): Promise<Map<string, OutputComparison>> {
  const { runtime, threads, signal, onProgress } = options;
  const found = new Map<string, OutputComparison>();
  const groups = Math.ceil(tensors.length / AT_ONCE);
  const total = groups * dataset.count;
  let done = 0;
  for (let group = 0; group < groups; group++) {
    const names = tensors.slice(group * AT_ONCE, (group + 1) * AT_ONCE);
    await using a = await openTapped(await tapped(original, names), runtime, { threads });
    await using b = await openTapped(await tapped(result, names), runtime, { threads });
    const similarities = new Map(names.map((name) => [name, createSimilarity(name)]));
    for await (const sample of dataset.samples()) {
      if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped');
      const before = await a.run({ inputs: feedsOf(a.inputs, sample, 'original') });
      const after = await b.run({ inputs: feedsOf(b.inputs, sample, 'result') });
      for (const [name, similarity] of similarities) {
        const [x, y] = [before.get(name), after.get(name)];
        if (x === undefined || y === undefined || x.shape.join() !== y.shape.join())
          similarities.delete(name);
        else similarity.add(x, y);
      }
      done++;
      onProgress?.({ phase: 'activations', bytesDone: done, bytesTotal: total });
    }
    for (const [name, similarity] of similarities) found.set(name, similarity.result());
  }
  return found;
}

async function tapped(model: CalibrationModel, names: readonly string[]) {
  const copy = await copyModel(model);
  pruneToOutputs(copy, names);
  return copy;
}
