/** Public surface of data sets. */

export type { RuntimeTensor, RuntimeValueInfo } from '../../runtime/runtime.ts';
export type {
  ArchiveSpec,
  DataSpec,
  DatasetOptions,
  ImagesSpec,
  JsonSpec,
  ModuleSpec,
  NpySpec,
  SyntheticSpec,
  TextSpec,
} from './data-spec.ts';
export type { Dataset, Sample } from './dataset.ts';
export {
  type GraphView,
  graphHints,
  type InputHints,
  type NodeView,
  type TensorView,
} from './graph-hints.ts';
export type { ImagePreparation } from './image-preparation.ts';
export { openDataset } from './open-dataset.ts';
export { type ParseDataOptions, parseDataSpec } from './parse-data-spec.ts';
