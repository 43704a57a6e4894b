/**
 * whittle's public entry.
 *
 * Models: `compress` (the whole story), `inspectModel`, and its steps `openOnnx`, `planCompression`, `executePlan`.
 * Recipe files are read by `whittle/recipes`, which needs two libraries more.
 * Tensors: `measureTensor`, `suggestEncoding`, `quantizeTensor`, `dequantizeTensor`, `measureError`, `ENCODINGS`.
 */

export { type ExecutePlanOptions, executePlan } from './compress/execute-plan.ts';
export {
  type InspectOptions,
  inspectModel,
  type ModelSummary,
  type TensorSummary,
  type ValueSummary,
} from './compress/inspect.ts';
export type {
  CompressionReport,
  CompressOptions,
  ModeResult,
  OutputSimilarity,
  SkippedMode,
  TargetName,
  Verification,
  VerifyOptions,
  WeightError,
} from './compress/options.ts';
export { compress } from './compress.ts';
export { type DType, isWeightDType, type WeightDType } from './core/dtype.ts';
export { decodeFloat, encodeFloat } from './core/floats.ts';
export type { OnProgress, Progress, RunOptions } from './core/progress.ts';
export { createRandom, type Random } from './core/random.ts';
export type { Shape } from './core/shape.ts';
export {
  ERROR_CODES,
  type ErrorCode,
  type ErrorDetails,
  EXIT,
  formatError,
  isWhittleError,
  WhittleError,
} from './errors.ts';
export type { TensorBytes } from './formats/layout.ts';
export {
  type OnnxModel,
  type OpenOptions,
  openOnnx,
  type Weight,
  type WeightUse,
} from './formats/onnx/model.ts';
export { blobSource } from './io/blob-source.ts';
export { openFile } from './io/file-source.ts';
export { memorySource } from './io/memory-source.ts';
export type { ByteSink, ByteSource, SiblingOpener } from './io/source.ts';
export { type Kernels, referenceKernels, selectKernels, wasmKernels } from './kernels/index.ts';
export * from './numerics/index.ts';
export type { Plan, PlannedPart, PlannedTensor } from './planning/plan.ts';
export { type Planned, type PlanOptions, planCompression, rebuildPlan } from './planning/plan-onnx.ts';
export { MODE_NAMES, type ModeName, presetRecipe } from './planning/presets.ts';
export type { Match, Recipe, Rule, Scheme } from './planning/recipe.ts';
