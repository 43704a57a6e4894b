/**
 * whittle's public entry.
 *
 * Models: `compress` (the whole story) and its steps `openOnnx`, `planCompression`, `executePlan`; `inspectModel`,
 * `compareModels`, `dequantizeModel`.
 * Recipe files are read by `whittle/recipes`, which needs two libraries more; tables and pages are made by `whittle/report`.
 * Tensors: `measureTensor`, `suggestEncoding`, `quantizeTensor`, `dequantizeTensor`, `measureError`, `ENCODINGS`; observers
 * find the range of values that come in batches.
 */

export * from './calibration/index.ts';
export {
  type CompareOptions,
  type Comparison,
  compareModels,
  type WeightComparison,
} from './compress/compare.ts';
export { type DequantizeOptions, type DequantizeReport, dequantizeModel } from './compress/dequantize.ts';
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
export { decodeFloat, encodeFloat, type NarrowFloat } from './core/floats.ts';
export type { OnProgress, Progress, RunOptions } from './core/progress.ts';
export { createRandom, type Random } from './core/random.ts';
export type { Shape } from './core/shape.ts';
export {
  ERROR_CODES,
  type ErrorCode,
  type ErrorDetails,
  EXIT,
  type ExitCode,
  formatError,
  isWhittleError,
  WhittleError,
} from './errors.ts';
export type { ExecuteOptions, SetReport, TensorReport } from './execution/execute.ts';
export type { NonFinitePolicy } from './execution/operations/context.ts';
export type { OutputFile, Segment, TensorBytes } from './formats/layout.ts';
export type { Limits } from './formats/limits.ts';
export type * from './formats/onnx/messages.ts';
export {
  type OnnxModel,
  type OpenOptions,
  openOnnx,
  type Weight,
  type WeightUse,
} from './formats/onnx/model.ts';
export type { RestoredWeight } from './formats/onnx/restore/restore.ts';
export { blobSource } from './io/blob-source.ts';
export { type FileIdentity, type FileSource, type OpenFileOptions, openFile } from './io/file-source.ts';
export { memorySource } from './io/memory-source.ts';
export type { ByteSink, ByteSource, SiblingOpener } from './io/source.ts';
export * from './kernels/index.ts';
export type { ValueDType } from './numerics/dequantize-operation.ts';
export * from './numerics/index.ts';
export type { Plan, PlannedPart, PlannedTensor } from './planning/plan.ts';
export { type Planned, type PlanOptions, planCompression, rebuildPlan } from './planning/plan-onnx.ts';
export { MODE_NAMES, type ModeName, presetRecipe } from './planning/presets.ts';
export type { Match, Recipe, Rule, Scheme } from './planning/recipe.ts';
