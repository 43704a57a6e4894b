/**
 * Settings of static quantization and the operators that it knows. A recipe's `static` member has the same members
 * (planning/recipe.ts). `ONNXRUNTIME_OPERATORS` is what onnxruntime's quantize_static (1.30) touches by default; the settings
 * that equal its defaults are in docs/static-int8.md.
 */

export type ActivationType = 'uint8' | 'int8' | 'uint16' | 'int16';

export interface StaticSettings {
  readonly activations: ActivationType;
  /** Zero point in the middle of the type. Clip and Relu then stay in the graph. */
  readonly symmetricActivations: boolean;
  readonly weights: 'int8' | 'uint8';
  /** Absent: symmetric where the type is signed. Weights with a scale for each channel are always symmetric. */
  readonly symmetricWeights?: boolean | undefined;
  /** A scale for each output channel. */
  readonly perChannel: boolean;
  /** 7-bit weights: sums of two products of 8-bit codes saturate in 16 bits on x86 without VNNI. */
  readonly reduceRange: boolean;
  /** MinimumRealRange: a narrower range of values is widened to this. */
  readonly minimumRealRange?: number | undefined;
  /** Types of the operators that get Q/DQ at inputs and outputs. */
  readonly operators: readonly string[];
  /** Operators of which only the inputs get Q/DQ. */
  readonly floatOutputs?: readonly string[] | undefined;
  /**
   * `convolutions`: elementwise operators, activations and pooling only between convolutions; elsewhere (norms, gates, residual sums of
   * transformers) the runtime's fused float operators are faster and exact. Default: wherever they stand.
   */
  readonly elementwise?: 'everywhere' | 'convolutions' | undefined;
  /** `activations` treats constants of Constant nodes as quantize_static does: like activations, in their type, per tensor. */
  readonly constants: 'weights' | 'activations';
}

/** Names that quantize_static gives what it adds to a tensor. */
export const NAMES = {
  quantized: (tensor: string) => `${tensor}_quantized`,
  scale: (tensor: string) => `${tensor}_scale`,
  zeroPoint: (tensor: string) => `${tensor}_zero_point`,
  quantizeNode: (tensor: string) => `${tensor}_QuantizeLinear`,
  dequantizeNode: (tensor: string) => `${tensor}_DequantizeLinear`,
  quantizeInput: (tensor: string) => `${tensor}_QuantizeLinear_Input`,
  quantizeOutput: (tensor: string) => `${tensor}_QuantizeLinear_Output`,
  dequantizeOutput: (tensor: string) => `${tensor}_DequantizeLinear_Output`,
} as const;

/** Operators that only move elements: their output has the scale of their input. */
export const MOVING_OPERATORS: ReadonlySet<string> = new Set([
  'AveragePool',
  'Flatten',
  'MaxPool',
  'Reshape',
  'Resize',
  'Slice',
  'Squeeze',
  'TopK',
  'Transpose',
  'Unsqueeze',
]);

export const ONNXRUNTIME_OPERATORS = [
  'Add',
  'ArgMax',
  'AveragePool',
  'BatchNormalization',
  'Clip',
  'Concat',
  'Conv',
  'ConvTranspose',
  'CumSum',
  'EmbedLayerNormalization',
  'Flatten',
  'Gather',
  'GatherElements',
  'Gemm',
  'GlobalAveragePool',
  'InstanceNormalization',
  'LayerNormalization',
  'LeakyRelu',
  'MatMul',
  'MaxPool',
  'Mul',
  'Pad',
  'Relu',
  'Reshape',
  'Resize',
  'Sigmoid',
  'Slice',
  'Softmax',
  'Split',
  'Squeeze',
  'TopK',
  'Transpose',
  'Unsqueeze',
  'Where',
] as const;
