/** Public surface of the numerics layer: measure, choose, quantize, dequantize. */

export * from './affine.ts';
export { FP4_LEVELS, NF4_LEVELS } from './encodings/codebooks.ts';
export * from './encodings/encoding.ts';
export { ggmlTypeTable, supportMatrix } from './encodings/ggml-table.ts';
export { ENCODINGS, type EncodingId, encoding } from './encodings/registry.ts';
export { encodingTable, policyTable } from './encodings/table.ts';
export * from './error.ts';
export * from './granularity.ts';
export * from './onnx-operators.ts';
export { type RawTensor, readElements, writeElements } from './onnx-tensor.ts';
export * from './onnxruntime-scale.ts';
export * from './operation.ts';
export {
  dequantizeGgml,
  type GgmlOptions,
  type GgmlTensor,
  type GgmlWeightType,
  quantizeGgml,
} from './quantize-ggml.ts';
export {
  dequantizeTensor,
  type QuantizedData,
  type QuantizedTensor,
  quantizeTensor,
} from './quantize-tensor.ts';
export { type ResolvedScheme, resolveScheme, type TensorScheme } from './scheme.ts';
export * from './statistics/index.ts';
export * from './suggest.ts';
export * from './task.ts';
export { toFloat32, type WeightOptions, type WeightValues } from './weights.ts';
