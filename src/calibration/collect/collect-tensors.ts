/**
 * Statistics of any values of a graph (tensor-statistics.ts), for the value as a whole or for each channel of an axis. Extremes and
 * sums are reduced inside the runtime, in the graph as written; only where histograms are wanted do values cross, those of one
 * sample at a time. The number of axes, which reductions need, is asked of the runtime on the first sample.
 */

import type { RunOptions } from '../../core/progress.ts';
import { WhittleError } from '../../errors.ts';
import { pruneToOutputs } from '../../formats/onnx/taps/prune.ts';
import { createTapGraph, type TapGraph } from '../../formats/onnx/taps/tap-graph.ts';
import { StreamingHistogram } from '../../numerics/statistics/histogram.ts';
import type { Runtime, RuntimeTensor } from '../../runtime/runtime.ts';
import type { Dataset, Sample } from '../data/dataset.ts';
import { tensorValues } from '../data/tensor-values.ts';
import { HISTOGRAM_BINS, type ValueStatistics } from '../statistics/tensor-statistics.ts';
import { notFiniteError } from './not-finite.ts';
import { floatsOf } from './sums.ts';
import { type CalibrationModel, copyModel, openTapped, walkSamples } from './tapped-model.ts';

export interface CollectTensorsOptions extends RunOptions {
  readonly runtime: Runtime;
  /** Axis whose places get figures of their own; negative ones count from the end. Default: the value as a whole. */
  readonly axis?: number | undefined;
  readonly histograms?: boolean | undefined;
  readonly threads?: number | undefined;
}

/**
 * @param tensors Values of the main graph of float type.
 * @throws WhittleError E_NONFINITE (with the first tensor that is not finite), E_USAGE (no samples; an axis that a value does not
 *   have), E_SHAPE (channels that change from sample to sample), E_GRAPH (no such tensor), E_RUNTIME, E_ABORTED
 */
export async function collectTensorStatistics(
  model: CalibrationModel,
  dataset: Dataset,
  tensors: readonly string[],
  options: CollectTensorsOptions,
): Promise<Map<string, ValueStatistics>> {
  const names = [...new Set(tensors)];
  if (names.length === 0) return new Map();
  const ranks = await ranksOf(model, dataset, names, options);
  const copy = await copyModel(model);
  pruneToOutputs(copy, names);
  const taps = createTapGraph(copy);
  const all = names.map((name) =>
    addTensor(taps, name, axisOf(name, ranks.get(name) ?? 0, options), options),
  );
  await using session = await openTapped(taps.finish(), options.runtime, {
    optimize: false,
    threads: options.threads,
  });
  await walkSamples(dataset, options, 'calibrating', async (sample) => {
    const outputs = await session.run(sample, options);
    for (const tensor of all) {
      if (!tensor.add(outputs)) throw await notFiniteError(model, sample, tensor.name, options);
    }
  });
  return new Map(all.map(({ name, result }) => [name, result()]));
}

interface Collecting {
  readonly name: string;
  /** False where something is not finite. */
  add(outputs: ReadonlyMap<string, RuntimeTensor>): boolean;
  result(): ValueStatistics;
}

interface Axis {
  readonly kept: number | undefined;
  /** Reduced over; undefined: all. */
  readonly reduced: readonly number[] | undefined;
}

function axisOf(tensor: string, rank: number, { axis }: CollectTensorsOptions): Axis {
  if (axis === undefined) return { kept: undefined, reduced: undefined };
  const kept = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(kept) || kept < 0 || kept >= rank) {
    throw new WhittleError('E_USAGE', 'a value has no such axis', {
      tensor,
      expected: `an axis below ${rank}`,
      found: String(axis),
      hint: 'Name only values that have the axis.',
    });
  }
  return { kept, reduced: Array.from({ length: rank }, (_, i) => i).filter((i) => i !== kept) };
}

function addTensor(
  taps: TapGraph,
  name: string,
  { kept, reduced }: Axis,
  { histograms }: CollectTensorsOptions,
): Collecting {
  const value = taps.asFloat(name);
  const given = (made: string): string => {
    taps.output(made);
    return made;
  };
  // A vector with an axis of its own has nothing to reduce.
  const reduce = (kind: 'ReduceMin' | 'ReduceMax' | 'ReduceSum', of: string): string =>
    given(reduced?.length === 0 ? taps.node('Identity', [of]) : taps.reduce(kind, of, reduced));
  const outputs = {
    minima: reduce('ReduceMin', value),
    maxima: reduce('ReduceMax', value),
    sums: reduce('ReduceSum', value),
    squares: reduce('ReduceSum', taps.node('Mul', [value, value])),
  };
  const size = given(taps.node('Size', [value]));
  const whole = histograms === true ? given(taps.node('Identity', [value])) : undefined;
  const histogram = new StreamingHistogram(HISTOGRAM_BINS);
  let state: Omit<ValueStatistics, 'histogram' | 'axis' | 'count'> | undefined;
  let numbers = 0;
  return {
    name,
    add(found) {
      const [minima, maxima, sums, squares] = [
        outputs.minima,
        outputs.maxima,
        outputs.sums,
        outputs.squares,
      ].map((output) => floatsOf(found, output));
      if (minima === undefined || maxima === undefined || sums === undefined || squares === undefined) {
        return false;
      }
      const tensor = found.get(size);
      const seen = tensor === undefined ? 0 : (tensorValues(tensor)[0] ?? 0);
      if (seen === 0) return true;
      if (![minima, maxima, sums, squares].every((values) => values.every(Number.isFinite))) return false;
      const channels = minima.length;
      state ??= {
        channels,
        minima: new Float32Array(channels).fill(Infinity),
        maxima: new Float32Array(channels).fill(-Infinity),
        sums: new Float64Array(channels),
        squares: new Float64Array(channels),
      };
      if (channels !== state.channels) {
        throw new WhittleError('E_SHAPE', 'the channels of a value change from sample to sample', {
          tensor: name,
          expected: `${state.channels} along axis ${kept}`,
          found: `${channels}`,
          hint: 'Take an axis of fixed size, or samples of one size.',
        });
      }
      for (let i = 0; i < channels; i++) {
        state.minima[i] = Math.min(state.minima[i]!, minima[i]!);
        state.maxima[i] = Math.max(state.maxima[i]!, maxima[i]!);
        state.sums[i]! += sums[i]!;
        state.squares[i]! += squares[i]!;
      }
      numbers += seen;
      if (whole !== undefined) {
        const low = minima.reduce((a, b) => Math.min(a, b), Infinity);
        const high = maxima.reduce((a, b) => Math.max(a, b), -Infinity);
        histogram.add(floatsOf(found, whole), low, high);
      }
      return true;
    },
    result() {
      const { channels, ...found } = state ?? {
        channels: 0,
        minima: new Float32Array(0),
        maxima: new Float32Array(0),
        sums: new Float64Array(0),
        squares: new Float64Array(0),
      };
      return {
        ...(kept === undefined ? {} : { axis: kept }),
        channels,
        count: channels === 0 ? 0 : numbers / channels,
        ...found,
        ...(whole === undefined ? {} : { histogram: histogram.result() }),
      };
    },
  };
}

/** Number of axes of each value on the first sample. */
async function ranksOf(
  model: CalibrationModel,
  dataset: Dataset,
  names: readonly string[],
  { runtime, threads, axis, signal }: CollectTensorsOptions,
): Promise<Map<string, number>> {
  if (axis === undefined) return new Map();
  let first: Sample | undefined;
  for await (const sample of dataset.samples()) {
    first = sample;
    break;
  }
  if (first === undefined) return new Map();
  const copy = await copyModel(model);
  pruneToOutputs(copy, names);
  const taps = createTapGraph(copy);
  const shapes = names.map((name) => taps.node('Shape', [name]));
  for (const shape of shapes) taps.output(shape);
  await using session = await openTapped(taps.finish(), runtime, { optimize: false, threads });
  const found = await session.run(first, { signal });
  return new Map(names.map((name, i) => [name, found.get(shapes[i] ?? '')?.shape[0] ?? 0]));
}
