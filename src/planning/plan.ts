/**
 * The plan: what becomes of every tensor, resolved, as plain JSON. `planCompression` makes it, `quantize --dry-run --json`
 * prints it, `executePlan` follows it and refuses where the model no longer matches it.
 */

import type { DType } from '../core/dtype.ts';
import type { Shape } from '../core/shape.ts';
import type { Recipe, Scheme } from './recipe.ts';

export const PLAN_VERSION = 1;

export interface PlannedPart {
  /** Name of the tensor in the output. */
  readonly name: string;
  readonly role: string;
  readonly dtype: DType;
  readonly shape: Shape;
  /** Where its bytes will stand; absent where they are embedded in a small message. */
  readonly file: string;
  readonly offset: number;
  readonly length: number;
}

export interface PlannedTensor {
  /** Unique key of the weight in the source model (name, prefixed by its subgraph path). */
  readonly key: string;
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  /** Operators that read it, with their node names. */
  readonly uses: readonly { readonly opType: string; readonly node: string; readonly input: number }[];
  readonly source: { readonly file: string; readonly offset: number; readonly length: number };
  readonly scheme: Scheme;
  /** Why this scheme: the rule that matched, or why the tensor is kept. */
  readonly reason: string;
  readonly parts: readonly PlannedPart[];
}

/** Scale and zero point of an activation, and the range that they come from. */
export interface PlannedActivation {
  readonly name: string;
  readonly type: string;
  readonly scale: number;
  readonly zeroPoint: number;
  readonly min: number;
  readonly max: number;
}

export interface Plan {
  readonly version: typeof PLAN_VERSION;
  readonly format: 'onnx';
  readonly recipe: Recipe;
  readonly targets: readonly string[];
  readonly source: { readonly file: string; readonly bytes: number };
  readonly tensors: readonly PlannedTensor[];
  /** Static quantization only. */
  readonly activations?: readonly PlannedActivation[] | undefined;
  readonly outputs: readonly { readonly file: string; readonly bytes: number }[];
  /** What the user should know: approximations, tensors that were left, opset raised … */
  readonly notes: readonly string[];
}
