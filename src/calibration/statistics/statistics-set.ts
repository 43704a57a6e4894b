/** Statistics of all products of a model, with what they were made from. */

import type { InputStatistics } from './input-statistics.ts';
import { mergeStatistics } from './merge.ts';
import { mergeTensors, type ValueStatistics } from './tensor-statistics.ts';

export interface StatisticsSet {
  /** By the key of the weight. */
  readonly entries: ReadonlyMap<string, InputStatistics>;
  /** What the samples were, for people: one line for each run that was merged. */
  readonly datasets: readonly string[];
  readonly samples: number;
  /** Values that were asked for by name, whatever reads them. */
  readonly tensors?: ReadonlyMap<string, ValueStatistics> | undefined;
}

/** Both together. @throws WhittleError E_SHAPE where they are of different models */
export function mergeSets(a: StatisticsSet, b: StatisticsSet): StatisticsSet {
  const entries = new Map(a.entries);
  for (const [key, found] of b.entries) {
    const before = entries.get(key);
    entries.set(key, before === undefined ? found : mergeStatistics(before, found));
  }
  const tensors = new Map(a.tensors);
  for (const [name, found] of b.tensors ?? []) {
    const before = tensors.get(name);
    tensors.set(name, before === undefined ? found : mergeTensors(before, found));
  }
  return {
    entries,
    ...(tensors.size > 0 && { tensors }),
    datasets: [...new Set([...a.datasets, ...b.datasets])],
    samples: a.samples + b.samples,
  };
}
