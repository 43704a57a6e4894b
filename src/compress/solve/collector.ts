/**
 * Statistics for solving, stage after stage: the settled prefix computes with the values that the runtime will multiply with, and a
 * stage's run begins where that of the stage before it ended.
 */

import { collectStage } from '../../calibration/collect/collect-inputs.ts';
import { createPrefixMemory } from '../../calibration/collect/prefix.ts';
import { areConstants, type Progress } from '../../calibration/collect/prefix-plan.ts';
import type { Collected, Product } from '../../calibration/collect/products.ts';
import type { CalibrationModel } from '../../calibration/collect/tapped-model.ts';
import type { Dataset } from '../../calibration/data/dataset.ts';
import type { RunOptions } from '../../core/progress.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import type { Runtime } from '../../runtime/runtime.ts';
import type { Layer } from './layers.ts';
import type { CollectStatistics } from './solve.ts';
import { substituteWeights } from './substitute.ts';

export interface CollectorOptions extends RunOptions {
  readonly runtime: Runtime;
  readonly kernels: Kernels;
  readonly threads?: number | undefined;
  /** Values between stages that are held in memory, in bytes (default 512 MiB); more goes to temporary files. */
  readonly heldBytes?: number | undefined;
}

export interface Collector extends AsyncDisposable {
  readonly collect: CollectStatistics;
}

/**
 * @param layers - all that will be solved, whose products are asked for in the order of their stages
 * @param model - the float model; its tensors are read through it
 */
export function createCollector(
  model: CalibrationModel,
  dataset: Dataset,
  layers: readonly Layer[],
  { runtime, kernels, threads, heldBytes, signal, onProgress }: CollectorOptions,
): Collector {
  const memory = createPrefixMemory(heldBytes);
  const { proto, resolve } = model;
  const names = layers.map(({ weight }) => weight.name);
  const canReuse = proto.graph !== undefined && areConstants(proto.graph, names);
  return {
    collect(products, replaced, collect) {
      const prefix = canReuse
        ? { progress: progressOf(layers, products, replaced, collect), memory }
        : undefined;
      return collectStage(
        { proto: substituteWeights(proto, replaced, kernels), resolve: (tensor) => resolve(tensor) },
        dataset,
        products,
        { runtime, collect, reference: model, threads, signal, onProgress, prefix },
      );
    },
    [Symbol.asyncDispose]: () => memory[Symbol.asyncDispose](),
  };
}

function progressOf(
  layers: readonly Layer[],
  products: readonly Product[],
  replaced: ReadonlyMap<string, Float32Array>,
  collect: readonly Collected[],
): Progress {
  const now = new Set(products);
  const isOpen = ({ key }: Layer): boolean => !replaced.has(key);
  const nameOf = ({ weight }: Layer): string => weight.name;
  const later = layers
    .filter(isOpen)
    .flatMap((layer) => layer.products)
    .filter((product) => !now.has(product))
    .flatMap(({ input, sum }) =>
      collect.includes('drift') && sum !== undefined ? [input, sum.name] : [input],
    );
  return {
    settled: new Set(layers.filter((layer) => !isOpen(layer)).map(nameOf)),
    open: new Set(layers.filter(isOpen).map(nameOf)),
    later: [...new Set(later)],
  };
}
