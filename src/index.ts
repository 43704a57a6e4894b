/**
 * whittle's public entry.
 *
 * Models: `compress` (the whole story) and its steps `openOnnx`, `planCompression`, `executePlan`; `inspectModel`,
 * `compareModels`, `dequantizeModel`.
 * GGUF: `quantizeGguf` (the whole story) and its steps `openGguf`, `planGguf`; `surveyGguf` (every type for one model),
 * `inspectGguf`, `compareGguf`, `dequantizeGguf`, `splitModel`, `mergeModel`, `openImatrix`; the types are `FILE_TYPES`, `GGML_TYPES`.
 * Recipe files are read by `whittle/recipes`, which needs two libraries more; tables and pages are made by `whittle/report`.
 * Tensors: `measureTensor`, `suggestEncoding`, `quantizeTensor`, `dequantizeTensor`, `measureError`, `ENCODINGS`; observers
 * find the range of values that come in batches.
 */

export * from './algorithms/index.ts';
export * from './calibration/collect/index.ts';
export * from './calibration/data/index.ts';
export * from './calibration/index.ts';
export * from './calibration/statistics/index.ts';
export {
  type CalibrateOptions,
  type CalibrateReport,
  calibrate,
  type TensorWishes,
} from './compress/calibrate.ts';
export {
  type CompareOptions,
  type Comparison,
  compareModels,
  type WeightComparison,
} from './compress/compare.ts';
export type {
  ActivationComparison,
  ActivationReport,
  ActivationSettings,
} from './compress/compare-activations.ts';
export { type DequantizeOptions, type DequantizeReport, dequantizeModel } from './compress/dequantize.ts';
export {
  type EvaluateOptions,
  type Evaluation,
  evaluateModel,
  type LayerSettings,
  type ModelFigures,
} from './compress/evaluate.ts';
export { type EvaluateGgufOptions, evaluateGguf } from './compress/evaluate-gguf.ts';
export type {
  Distribution,
  LayerHarm,
  LayerQuality,
  LayerReport as LayerHarmReport,
} from './compress/evaluate-layers.ts';
export { type ExecutePlanOptions, executePlan } from './compress/execute-plan.ts';
export { compareGguf } from './compress/gguf/compare.ts';
export { type DequantizeGgufOptions, dequantizeGguf } from './compress/gguf/dequantize.ts';
export {
  type ConvertImatrixOptions,
  convertImatrix,
  type ImatrixEntrySummary,
  type ImatrixSummary,
  inspectImatrix,
} from './compress/gguf/imatrix.ts';
export type {
  GgufMetadataSummary,
  GgufSummary,
  GgufTensorSummary,
  InspectGgufOptions,
} from './compress/gguf/inspect.ts';
export { inspectGguf } from './compress/gguf/inspect-file.ts';
export type {
  GgufOutputFile,
  GgufReport,
  GgufResult,
  GgufTensorResult,
  QuantizeGgufOptions,
} from './compress/gguf/options.ts';
export { quantizeGguf } from './compress/gguf/quantize.ts';
export {
  type CopyOptions,
  type MergeModelOptions,
  mergeModel,
  type PartsReport,
  type SplitModelOptions,
  splitModel,
} from './compress/gguf/split.ts';
export type { Survey, SurveyedType, SurveyOptions } from './compress/gguf/survey.ts';
export { surveyGguf } from './compress/gguf/survey-file.ts';
export type { TypeShare } from './compress/gguf/type-shares.ts';
export type { InspectOptions, ModelSummary, TensorSummary, ValueSummary } from './compress/inspect.ts';
export { inspectModel } from './compress/inspect-file.ts';
export { LOSS_MEASURES, LOSS_NAMES, type LossMeasure } from './compress/max-loss/names.ts';
export type {
  CalibrationData,
  CompressionReport,
  CompressOptions,
  KeptWithinLoss,
  MaxLoss,
  ModeResult,
  OutputSimilarity,
  SkippedMode,
  SolvedMode,
  TargetName,
  Verification,
  VerifyOptions,
  WeightError,
} from './compress/options.ts';
export type { PassReport, PreparedPlace } from './compress/prepare/pass.ts';
export { type PrepareModelOptions, type PrepareReport, prepareOnnx } from './compress/prepare-model.ts';
export type { BiasReport } from './compress/solve/correct-biases.ts';
export { ALGORITHM_NAMES, type AlgorithmName } from './compress/solve/names.ts';
export type { LayerReport } from './compress/solve/solve.ts';
export { compress } from './compress.ts';
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
export type { ExecuteOptions, SetReport, TensorReport, WrittenFile } from './execution/execute.ts';
export type { NonFinitePolicy } from './execution/operations/context.ts';
export type * from './formats/gguf/gguf.ts';
export type { OpenImatrixOptions } from './formats/gguf/imatrix.ts';
export type { Imatrix, ImatrixEntry } from './formats/gguf/imatrix-types.ts';
export type { ImatrixContent, ImatrixSums } from './formats/gguf/imatrix-writer.ts';
export { openGguf, openImatrix } from './formats/gguf/open.ts';
export type { OpenGgufOptions } from './formats/gguf/open-source.ts';
export { layoutGguf } from './formats/gguf/writer.ts';
export type { OutputFile, Segment, TensorBytes } from './formats/layout.ts';
export type { Limits } from './formats/limits.ts';
export type * from './formats/onnx/messages.ts';
export type { OnnxModel, OpenOptions, Weight, WeightUse } from './formats/onnx/model.ts';
export { openOnnx } from './formats/onnx/open.ts';
export type { RestoredWeight } from './formats/onnx/restore/restore.ts';
export type { ActivationType, StaticSettings } from './formats/onnx/rewrite/static/settings.ts';
export { blobSource } from './io/blob-source.ts';
export { type FileIdentity, type FileSource, type OpenFileOptions, openFile } from './io/file-source.ts';
export { memorySource } from './io/memory-source.ts';
export type { ByteSink, ByteSource, SiblingOpener } from './io/source.ts';
export type {
  AlgebraKernels,
  ColumnGrid,
  FactoriseBlock,
  RowProblem,
  RowSet,
} from './kernels/algebra/algebra.ts';
export type {
  GridKernels,
  GridShape,
  GridTarget,
  HalfQuadraticOptions,
  SearchOptions,
} from './kernels/grid/grid.ts';
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
export { type Planned, type PlanOptions, planCompression, rebuildPlan } from './planning/plan-onnx.ts';
export {
  DATA_MODE_NAMES,
  type DataModeName,
  MODE_NAMES,
  type ModeName,
  presetRecipe,
} from './planning/presets.ts';
export type { Match, Recipe, Rule, Scheme, StaticRecipe } from './planning/recipe.ts';
export { type ActivationRanges, planStatic, staticTensors } from './planning/static.ts';
export type {
  LanguageModel,
  LanguageModelOptions,
  LanguageRuntime,
  TokenLogits,
  WindowRequest,
} from './runtime/language-model.ts';
export { llamaCpp } from './runtime/llama-cpp.ts';
export { hasOnnxruntimeNode, onnxruntimeNode } from './runtime/onnxruntime-node.ts';
export {
  type OnnxruntimeWeb,
  type OnnxruntimeWebOptions,
  onnxruntimeWeb,
} from './runtime/onnxruntime-web.ts';
export type {
  Runtime,
  RuntimeLoadOptions,
  RuntimeRunOptions,
  RuntimeSession,
} from './runtime/runtime.ts';
export type { ModelCost } from './verify/evaluate/cost-messages.ts';
export type { DataQuality } from './verify/evaluate/on-data.ts';
export type { ScoreKind } from './verify/evaluate/score-rows.ts';
export type { ScoreDistance, ScoreResult, TaskQuality } from './verify/evaluate/score-sums.ts';
export {
  type BaseModel,
  baseModel,
  type CodedDistribution,
  type Divergence,
  measurePerplexity,
  type PerplexityOptions,
  type PerplexityReport,
} from './verify/perplexity.ts';
export type { OutputComparison } from './verify/similarity.ts';
