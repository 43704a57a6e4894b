/**
 * Collects the ranges of any tensors of a model for static quantization, with the graph as written (optimizations off), as
 * onnxruntime's own calibration runs it. Extremes are taken inside the runtime; observers that need a histogram are shown the values of
 * one sample at a time, so memory does not grow with the samples.
 *
 * onnxruntime gathers all samples before it makes a histogram (and so needs 100 GB where there are many: its issues 10503,
 * 21979). Observers that can `prepare` get the same bins here from a first walk that only takes extremes; a second walk fills them.
 */

import type { RunOptions } from '../../core/progress.ts';
import { WhittleError } from '../../errors.ts';
import { pruneToOutputs } from '../../formats/onnx/taps/prune.ts';
import { createTapGraph, type TapGraph } from '../../formats/onnx/taps/tap-graph.ts';
import type { ValueRange } from '../../numerics/affine.ts';
import type { Runtime, RuntimeTensor } from '../../runtime/runtime.ts';
import type { Dataset, Sample } from '../data/dataset.ts';
import { MovingAverageObserver } from '../observers/min-max.ts';
import type { Extent, RangeObserver } from '../observers/observer.ts';
import { notFiniteError } from './not-finite.ts';
import { floatsOf } from './sums.ts';
import { type CalibrationModel, copyModel, openTapped, walkSamples } from './tapped-model.ts';

export interface RangeOptions extends RunOptions {
  readonly runtime: Runtime;
  /**
   * How values become a range: the extremes of everything seen, extremes that follow each sample slowly, or an observer for
   * each tensor (percentile, entropy, mean squared error).
   */
  readonly observer: 'min-max' | 'moving-average' | ((tensor: string) => RangeObserver);
  /** Let the runtime fuse. Default false: fusion changes some ranges in the seventh digit. */
  readonly optimize?: boolean | undefined;
  readonly threads?: number | undefined;
}

/**
 * Range of each of `tensors`, values of the main graph of float type. An infinity that the model makes on purpose (masks) is
 * in the range for 'min-max' and 'moving-average'; NaN never is.
 * @throws WhittleError E_NONFINITE (NaN; for observers infinity too), E_GRAPH (no such tensor), E_USAGE (no samples, an input
 *   without values), E_RUNTIME, E_ABORTED
 */
export async function collectRanges(
  model: CalibrationModel,
  dataset: Dataset,
  tensors: readonly string[],
  options: RangeOptions,
): Promise<Map<string, ValueRange>> {
  const names = [...new Set(tensors)];
  if (names.length === 0) return new Map();
  const { observer } = options;
  if (observer === 'min-max') return collectExtents(model, dataset, names, options);
  if (observer === 'moving-average') {
    const averages = new Map(names.map((name) => [name, new MovingAverageObserver()]));
    await collectExtents(model, dataset, names, options, (name, { min, max }) =>
      averages.get(name)?.observe(Float32Array.of(min, max)),
    );
    return rangesOf(averages);
  }
  const observers = new Map(names.map((name) => [name, observer(name)]));
  if ([...observers.values()].some(({ prepare }) => prepare !== undefined)) {
    const extents = await collectExtents(model, dataset, names, options);
    for (const [name, made] of observers) named(name, () => made.prepare?.(extents.get(name)!));
  }
  await showValues(model, dataset, observers, options);
  return rangesOf(observers);
}

function named(tensor: string, run: () => void): void {
  try {
    run();
  } catch (error) {
    throw error instanceof WhittleError ? error.with({ tensor }) : error;
  }
}

function rangesOf(observers: ReadonlyMap<string, RangeObserver>): Map<string, ValueRange> {
  return new Map([...observers].map(([name, observer]) => [name, observer.range()]));
}

type Kind = 'min' | 'max' | 'smallest' | 'sum';

/** Extremes of each tensor over all samples. `each` is shown those of every sample. */
async function collectExtents(
  model: CalibrationModel,
  dataset: Dataset,
  names: readonly string[],
  options: RangeOptions,
  each?: (name: string, extent: Extent) => void,
): Promise<Map<string, Extent>> {
  const taps = await tappedCopy(model, names);
  const values = names.map((name) => taps.asFloat(name));
  const magnitudes = values.map((value) => taps.node('Abs', [value]));
  const outputs: Record<Kind, string> = {
    min: gather(
      taps,
      values.map((value) => taps.reduce('ReduceMin', value)),
    ),
    max: gather(
      taps,
      values.map((value) => taps.reduce('ReduceMax', value)),
    ),
    smallest: gather(
      taps,
      magnitudes.map((value) => taps.reduce('ReduceMin', value)),
    ),
    // NaN shows in the sum; the extremes may pass over it.
    sum: gather(
      taps,
      values.map((value) => taps.reduce('ReduceSum', value)),
    ),
  };
  await using session = await openTapped(taps.finish(), options.runtime, {
    optimize: options.optimize ?? false,
    threads: options.threads,
  });
  const extents = new Map<string, Extent>();
  await walkSamples(dataset, options, 'calibrating', async (sample) => {
    const found = await session.run(sample, options);
    const [min, max, smallest, sum] = [outputs.min, outputs.max, outputs.smallest, outputs.sum].map((name) =>
      floatsOf(found, name),
    );
    for (const [i, name] of names.entries()) {
      if (Number.isNaN(sum![i]!)) await refuseNaN(model, sample, name, options);
      const extent = { min: min![i]!, max: max![i]!, smallest: smallest![i]! };
      each?.(name, extent);
      const old = extents.get(name);
      extents.set(name, old === undefined ? extent : widened(old, extent));
    }
  });
  return extents;
}

/** Scalars as one vector: a model has hundreds, and each output of a run costs. */
function gather(taps: TapGraph, scalars: readonly string[]): string {
  const vectors = scalars.map((scalar) => taps.reshape(scalar, [1]));
  const all = taps.concat(vectors, 0);
  taps.output(all);
  return all;
}

function widened(a: Extent, b: Extent): Extent {
  return {
    min: Math.min(a.min, b.min),
    max: Math.max(a.max, b.max),
    smallest: Math.min(a.smallest, b.smallest),
  };
}

/** The sum of +∞ and −∞ is NaN too: only a value that is NaN, or infinities of both signs, end here as an error. */
async function refuseNaN(
  model: CalibrationModel,
  sample: Sample,
  tensor: string,
  options: RangeOptions,
): Promise<never> {
  throw await notFiniteError(model, sample, tensor, options);
}

async function showValues(
  model: CalibrationModel,
  dataset: Dataset,
  observers: ReadonlyMap<string, RangeObserver>,
  options: RangeOptions,
): Promise<void> {
  const taps = await tappedCopy(model, [...observers.keys()]);
  const outputs = new Map<string, string>();
  for (const name of observers.keys()) {
    // A value that no node gives cannot be an output of every runtime.
    const output = taps.node('Identity', [taps.asFloat(name)]);
    taps.output(output);
    outputs.set(name, output);
  }
  await using session = await openTapped(taps.finish(), options.runtime, {
    optimize: options.optimize ?? false,
    threads: options.threads,
  });
  await walkSamples(dataset, options, 'observing', async (sample) => {
    const found: ReadonlyMap<string, RuntimeTensor> = await session.run(sample, options);
    for (const [name, observer] of observers) {
      try {
        observer.observe(floatsOf(found, outputs.get(name) ?? ''));
      } catch (error) {
        if (!(error instanceof WhittleError)) throw error;
        if (error.code === 'E_NONFINITE') throw await notFiniteError(model, sample, name, options);
        throw error.with({ tensor: name });
      }
    }
  });
}

async function tappedCopy(model: CalibrationModel, names: readonly string[]): Promise<TapGraph> {
  const copy = await copyModel(model);
  pruneToOutputs(copy, names);
  return createTapGraph(copy);
}
