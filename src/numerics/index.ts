/** Public surface of the numerics layer: measure, choose, quantize, dequantize. */

export * from './affine.ts';
export * from './error.ts';
export * from './granularity.ts';
export * from './onnxruntime-scale.ts';
export * from './operation.ts';
export * from './statistics/index.ts';
export * from './task.ts';
export { toFloat32, type WeightOptions, type WeightValues } from './weights.ts';
