/** Statistics of tensors: see accumulator.ts (streams), measure.ts (in memory), distribution.ts (definitions). */

export { StatisticsAccumulator, type StatisticsOptions, type TensorStatistics } from './accumulator.ts';
export {
  type EffectiveRank,
  effectiveRank,
  outlierShare,
  type Percentile,
  percentileOf,
  shareBelow,
} from './distribution.ts';
export { type Histogram, StreamingHistogram } from './histogram.ts';
export { type MeasuredTensor, type MeasureOptions, measureTensor } from './measure.ts';
export { combineMoments, type Moments, momentsFromSums } from './moments.ts';
