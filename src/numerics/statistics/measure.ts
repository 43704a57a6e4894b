/**
 * Statistics of a tensor in memory, whole and for each group of a granularity. Per-group rows carry everything but at a
 * coarser resolution (256 bins inside), so that thousands of channels stay cheap.
 */

import type { Shape } from '../../core/shape.ts';
import { type Granularity, gatherGroup, layOutGroups } from '../granularity.ts';
import { checkShape, toFloat32, type WeightOptions, type WeightValues } from '../weights.ts';
import { StatisticsAccumulator, type StatisticsOptions, type TensorStatistics } from './accumulator.ts';

export interface MeasureOptions extends StatisticsOptions, WeightOptions {
  /** Adds `groups`. */
  readonly granularity?: Granularity | undefined;
}

export interface MeasuredTensor extends TensorStatistics {
  readonly shape: Shape;
  /** One row for each group, in the row-major order of `groupShape`. */
  readonly groups?: readonly TensorStatistics[];
  readonly groupShape?: Shape;
}

/** Values at a time: small enough to stay in the cache between the passes of one chunk. */
const CHUNK = 1 << 16;

/** Measures `values`. `shape` defaults to one dimension; throws E_SHAPE where it does not fit. */
export function measureTensor(
  values: WeightValues,
  shape: Shape = [values.length],
  options: MeasureOptions = {},
): MeasuredTensor {
  checkShape(shape, values.length);
  const floats = toFloat32(values, options);
  const whole = { ...measureValues(floats, options), shape };
  if (options.granularity === undefined) return whole;
  const layout = layOutGroups(shape, options.granularity);
  const scratch = new Float32Array(layout.largest);
  const coarse = { ...options, resolution: Math.min(options.resolution ?? 256, 256) };
  const groups: TensorStatistics[] = [];
  for (let g = 0; g < layout.groups; g++) {
    groups.push(measureValues(gatherGroup(floats, layout.group(g), scratch), coarse));
  }
  return { ...whole, groups, groupShape: layout.scaleShape };
}

function measureValues(values: Float32Array, options: StatisticsOptions): TensorStatistics {
  const accumulator = new StatisticsAccumulator(options);
  for (let start = 0; start < values.length; start += CHUNK) {
    accumulator.add(values.subarray(start, start + CHUNK));
  }
  return accumulator.result();
}
