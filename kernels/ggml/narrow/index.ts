/** Exports of the module for the narrow family of ggml block types (src/kernels/ggml/narrow). */

export {
  dequantizeMxfp4,
  dequantizeNvfp4,
  quantizeMxfp4,
  quantizeNvfp4,
  setCarry,
  setScale,
} from './float4';
export { dequantizeQ1, dequantizeQ2, quantizeQ1, quantizeQ2 } from './signs';
export { dequantizeTq1, dequantizeTq2, quantizeTq1, quantizeTq2 } from './trits';
