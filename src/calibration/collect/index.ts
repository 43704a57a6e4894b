/** Public surface of collecting: a model, a data set and a runtime in; statistics and ranges out. */

export { type CollectOptions, collectInputStatistics } from './collect-inputs.ts';
export { type CollectTensorsOptions, collectTensorStatistics } from './collect-tensors.ts';
export { findProducts, findUncollected, type Uncollected } from './find-products.ts';
export type { Collected, Product } from './products.ts';
export { collectRanges, type RangeOptions } from './ranges.ts';
export type { CalibrationModel } from './tapped-model.ts';
