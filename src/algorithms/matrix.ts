/**
 * The one shape in which algorithms see a weight, whatever operator it belongs to: a matrix of `outputs` rows by `inputs`
 * columns, row-major, the product being y = W x. MatMul, Gemm and Conv (im2col) are brought into it and back by who calls.
 * What comes out is a grid: integer codes with a scale and a zero point for each group of consecutive inputs of a row,
 *
 *     w ≈ (code − zeroPoint) · scale
 *
 * so that every encoding with such groups (MatMulNBits, blocked or per-channel DequantizeLinear) can store it exactly.
 */

export interface WeightMatrix {
  /** f32 [outputs, inputs]. */
  readonly values: Float32Array;
  readonly outputs: number;
  readonly inputs: number;
}

export interface GridOptions {
  /** 2 to 8; codes lie in 0 … 2^bits − 1. */
  readonly bits: number;
  /** Consecutive inputs that share a scale; `inputs` (or more) for one scale a row. The last group may be shorter. */
  readonly groupSize: number;
  /** Zero point fixed at 2^(bits−1). */
  readonly symmetric: boolean;
  /** Zero points that are codes (default), or any numbers of the scales' type; a symmetric grid has neither. */
  readonly zeroPoints?: 'integer' | 'real' | undefined;
  /** Type in which scales will be stored: they are rounded to it before codes are chosen. Default f32. */
  readonly scaleType?: 'f32' | 'f16' | undefined;
}

export interface QuantizedMatrix {
  readonly outputs: number;
  readonly inputs: number;
  readonly bits: number;
  readonly groupSize: number;
  readonly symmetric: boolean;
  /** [outputs, inputs]. */
  readonly codes: Uint8Array;
  /** [outputs, groups], groups = ⌈inputs / groupSize⌉; already rounded to the scale type. */
  readonly scales: Float32Array;
  /** [outputs, groups]; integers, but for algorithms that say otherwise (HQQ with real zero points). */
  readonly zeroPoints: Float32Array;
}

/** f32 [outputs, inputs]: what the runtime will multiply with, (code − zeroPoint) · scale rounded as f32. */
export function dequantizeMatrix(quantized: QuantizedMatrix): Float32Array {
  const { outputs, inputs, groupSize, codes, scales, zeroPoints } = quantized;
  const groups = Math.ceil(inputs / groupSize);
  const values = new Float32Array(outputs * inputs);
  for (let row = 0; row < outputs; row++) {
    for (let column = 0; column < inputs; column++) {
      const group = row * groups + Math.floor(column / groupSize);
      const at = row * inputs + column;
      values[at] = Math.fround(Math.fround(codes[at]! - zeroPoints[group]!) * scales[group]!);
    }
  }
  return values;
}
