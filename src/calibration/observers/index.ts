/** Range observers: see observer.ts for the contract; one method per file. */

export { EntropyObserver, type EntropyOptions } from './entropy.ts';
export { MseObserver, type MseOptions, mseRange } from './mean-squared-error.ts';
export { MinMaxObserver, MovingAverageObserver } from './min-max.ts';
export type { Extent, RangeObserver } from './observer.ts';
export { PercentileObserver, type PercentileOptions } from './percentile.ts';
