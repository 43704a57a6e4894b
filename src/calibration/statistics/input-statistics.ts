/**
 * What calibration knows of the inputs of a product y = W x: sums over all rows x (tokens, or im2col patches) that were seen.
 * Sums, not means, so that statistics of two runs merge by addition; `rows` divides them.
 */

export interface InputStatistics {
  /** Length of x. */
  readonly inputs: number;
  /**
   * Groups of a grouped Conv, each with inputs of its own; 1 where absent. Every array then has the groups as its first axis:
   * squares [groups, inputs], gram [groups, inputs, inputs].
   */
  readonly groups?: number | undefined;
  /** Number of x seen. */
  readonly rows: number;
  /** Σ x², per input; the diagonal of `gram`. */
  readonly squares: Float64Array;
  /** Σ |x|, per input; absent where not asked for. */
  readonly magnitudes?: Float64Array | undefined;
  /** Σ x, per input (bias correction). */
  readonly sums?: Float64Array | undefined;
  /** max |x|, per input. */
  readonly peaks?: Float32Array | undefined;
  /** H = Σ x xᵀ, f32 [inputs, inputs], symmetric. */
  readonly gram?: Float32Array | undefined;
  /** Σ (x_float − x) xᵀ, f32 [inputs, inputs]: x_float is what the float model has here (GPTAQ's asymmetric term). */
  readonly cross?: Float32Array | undefined;
  /**
   * Σ (t_float − t) xᵀ, f32 [outputs, inputs]: t is the sum that the product's output goes into, with the weight as it is and all else
   * as it was when x was seen, and t_float what the float model has there.
   */
  readonly drift?: Float32Array | undefined;
}
