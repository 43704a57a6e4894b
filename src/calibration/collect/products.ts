/**
 * Products of a graph as calibration sees them: which tensor is multiplied with which weight, and how its values become rows.
 * A MatMul or Gemm takes the last axis of its input as x (Gemm with transA the first); a Conv's x are its patches (im2col):
 * channel-major, then kernel positions in row-major order, as a stored filter [M, C/group, …kernel] reads.
 */

export type Product = {
  /** Key that results are returned under: the weight's key. */
  readonly weight: string;
  /** Tensor that is multiplied. */
  readonly input: string;
  /** Length of x (for a group of a grouped Conv: of one group). */
  readonly inputs: number;
  /** The sum that the product's output goes into and nothing else does (a residual connection), and its last axis. */
  readonly sum?: { readonly name: string; readonly outputs: number } | undefined;
} & (
  | { readonly kind: 'rows' }
  /** Gemm with transA: x runs along the first axis. */
  | { readonly kind: 'columns' }
  | {
      readonly kind: 'patches';
      readonly kernel: readonly number[];
      readonly strides: readonly number[];
      readonly dilations: readonly number[];
      /** Begins, then ends, per spatial axis. */
      readonly pads: readonly number[];
      readonly groups: number;
      /** Pads follow from the input: as much as keeps ⌈size / stride⌉ positions (`pads` are then 0). */
      readonly autoPad?: 'SAME_UPPER' | 'SAME_LOWER' | undefined;
    }
);

/** 'drift' stands for 'cross' where a product goes into no sum, or into one that broadcasts it. */
export type Collected = 'squares' | 'magnitudes' | 'sums' | 'peaks' | 'gram' | 'cross' | 'drift';
