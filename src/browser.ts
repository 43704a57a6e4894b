/**
 * whittle in a page or a worker: the entry `whittle/browser`. It imports nothing of Node, and does what `whittle` does with the same
 * jobs and kernels, and so the same bytes; what it reads is a `Blob` or a `ByteSource`, what it writes a `Blob` or a `ByteSink`.
 * The work is done in the thread that calls it (docs/browser.md).
 *
 * Models: `openGguf`, `summarizeGguf`, `surveyTypes`, `planGguf`, `quantizeGguf`; `openOnnx`, `summarizeModel`, `planCompression`,
 * `compress`. Sinks: `createBlobSink`, `createMemorySink`, `fileHandleSink`, `syncHandleSink`, `streamSink`.
 * Tensors: everything of `whittle`.
 */

export { type QuantizeOptions, type QuantizeResult, quantizeGguf } from './browser/gguf.ts';
export { type Input, openGguf, openImatrix, openOnnx } from './browser/inputs.ts';
export { type CompressOptions, type CompressResult, compress } from './browser/onnx.ts';
export type { OutputFileResult, OutputOptions, PlannedFile } from './browser/outputs.ts';
export * from './calibration/index.ts';
export {
  type GgufMetadataSummary,
  type GgufSummary,
  type GgufTensorSummary,
  type InspectGgufOptions,
  summarizeGguf,
} from './compress/gguf/inspect.ts';
export type { GgufTensorResult } from './compress/gguf/options.ts';
export { type Survey, type SurveyedType, type SurveyOptions, surveyTypes } from './compress/gguf/survey.ts';
export type { TypeShare } from './compress/gguf/type-shares.ts';
export {
  type InspectOptions,
  type ModelSummary,
  summarizeModel,
  type TensorSummary,
  type ValueSummary,
} from './compress/inspect.ts';
export { type DType, isWeightDType, type WeightDType } from './core/dtype.ts';
export { decodeFloat, encodeFloat, type NarrowFloat } from './core/floats.ts';
export {
  BLOCK_TYPES,
  type BlockFamily,
  type BlockType,
  GGML_TYPES,
  type GgmlType,
  ggmlBytes,
  type Importance,
  isBlockType,
  isGgmlType,
  type PlainType,
} from './core/ggml-types.ts';
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
export type { NonFinitePolicy } from './execution/operations/context.ts';
export type { TensorReport } from './execution/report.ts';
export type * from './formats/gguf/gguf.ts';
export type { Imatrix, ImatrixEntry } from './formats/gguf/imatrix-types.ts';
export type { OpenGgufOptions } from './formats/gguf/open-source.ts';
export type { OutputFile, Segment, TensorBytes } from './formats/layout.ts';
export type { Limits } from './formats/limits.ts';
export type * from './formats/onnx/messages.ts';
export type { OnnxModel, OpenOptions, Weight, WeightUse } from './formats/onnx/model.ts';
export type { ActivationType, StaticSettings } from './formats/onnx/rewrite/static/settings.ts';
export { type BlobSink, createBlobSink } from './io/blob-sink.ts';
export { blobSource } from './io/blob-source.ts';
export { createMemorySink, type MemorySink } from './io/memory-sink.ts';
export { memorySource } from './io/memory-source.ts';
export {
  fileHandleSink,
  type SyncHandle,
  streamSink,
  syncHandleSink,
  type WritableHandle,
} from './io/page-sinks.ts';
export type { ByteSink, ByteSource, SiblingOpener } from './io/source.ts';
export * from './kernels/index.ts';
export type { ValueDType } from './numerics/dequantize-operation.ts';
export * from './numerics/index.ts';
export {
  COPY,
  FILE_TYPES,
  type FileType,
  type FileTypeName,
  fileTypeName,
  parseFileType,
} from './planning/gguf/file-types.ts';
export type { GgufQuantizeOptions, PlannedGguf, PlannedGgufTensor } from './planning/gguf/options.ts';
export { planGguf } from './planning/gguf/plan-gguf.ts';
export type { Plan, PlannedActivation, PlannedPart, PlannedTensor } from './planning/plan.ts';
export { type Planned, type PlanOptions, planCompression } from './planning/plan-onnx.ts';
export { MODE_NAMES, type ModeName, presetRecipe } from './planning/presets.ts';
export type { Match, Recipe, Rule, Scheme, StaticRecipe } from './planning/recipe.ts';
