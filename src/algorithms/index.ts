/**
 * Every algorithm that chooses quantized weights, and when to choose it:
 *
 *   roundToNearest   nothing known, 8 bits                      clipSearch      cheap gain below 5 bits; with E[x²] needs one pass of data
 *   fitGrid          the default without data below 8 bits      halfQuadratic   HQQ, where others must be matched
 *   awq              loud inputs, and data                      gptq            data and a Gram matrix: the best of one pass
 *   refineRounding   after gptq, where minutes do not matter
 *
 * On other forms than even grids: roundToCodebook, fitCodebook and gptqCodebook on a code book (NF4, FP4), feedBlocks on blocks whose
 * encoder is given (ggml's types).
 *
 * And what makes weights easier to quantize, or takes back what quantizing did: equalizingFactors, smoothingFactors and searchSmoothing
 * (SmoothQuant), createRotation (Hadamard), biasCorrection.
 */

export { type AwqOptions, type AwqResult, awq } from './awq.ts';
export { biasCorrection, clippedNormalMean, meanInput } from './bias-correction.ts';
export {
  type BlockEncoder,
  type BlockFeedbackOptions,
  type BlockFeedbackResult,
  feedBlocks,
} from './block-feedback.ts';
export { type ClipSearchOptions, clipSearch } from './clip-search.ts';
export {
  type CodebookMatrix,
  type CodebookOptions,
  type CodebookResult,
  dequantizeCodebook,
  fitCodebook,
  gptqCodebook,
  roundToCodebook,
} from './codebook.ts';
export type { DampedGram, FactorisedGram } from './damping.ts';
export { equalizingFactors, rangeUse } from './equalization.ts';
export { type GptqOptions, type GptqResult, gptq, type RoundingProblem, roundingProblem } from './gptq.ts';
export { fitGrid, type GridFitOptions } from './grid-fit.ts';
export {
  createRotation,
  type HadamardOrder,
  hadamardOrder,
  type Rotation,
  type RotationOptions,
} from './hadamard.ts';
export { halfQuadratic } from './hqq.ts';
export { type RefineOptions, refineRounding } from './learned-rounding.ts';
export { dequantizeMatrix, type GridOptions, type QuantizedMatrix, type WeightMatrix } from './matrix.ts';
export { roundToNearest } from './rtn.ts';
export {
  type ChannelStatistics,
  expectedError,
  type ReadingWeight,
  readingPeaks,
  type Smoothing,
  searchSmoothing,
  smoothingFactors,
} from './smoothquant.ts';
export type { UnitChooser } from './unit-feedback.ts';
