/**
 * What every rewrite form answers: can this weight, in these uses, take the form (and if not, why), and the edit
 * itself. Forms are picked by the scheme's `as`; see planning/decide.ts for the order in which they are asked.
 */

import type { DType, WeightDType } from '../../../core/dtype.ts';
import { isWeightDType } from '../../../core/dtype.ts';
import type { ScaleDType } from '../../../numerics/operation.ts';
import type { Weight } from '../model.ts';
import { readFloat, readInt } from './build.ts';
import type { RewriteContext } from './context.ts';
import type { ResolvedUse } from './uses.ts';

/** A refusal is a reason for people: it stands in the plan beside the tensor. */
export type Verdict =
  | { readonly ok: true; readonly note?: string }
  | { readonly ok: false; readonly reason: string };

export const OK: Verdict = { ok: true };

export function refuse(reason: string): Verdict {
  return { ok: false, reason };
}

/** Settings of each form. The schemes of a recipe have the same members (planning/recipe.ts). */
export interface NBitsSettings {
  readonly bits: 2 | 4 | 8;
  readonly blockSize: number;
  readonly symmetric: boolean;
  readonly accuracyLevel: number;
  /** `real` (never symmetric): numbers of the scales' type in place of packed codes. */
  readonly zeroPoints?: 'integer' | 'real' | undefined;
}

export interface Bnb4Settings {
  readonly codebook: 'nf4' | 'fp4';
  readonly blockSize: number;
}

export interface DynamicSettings {
  /** Resolved for the whole graph: `auto` is decided before. */
  readonly weightType: 'int8' | 'uint8';
  readonly perChannel: boolean;
  /** `auto`: for signed weights only (their products with uint8 saturate on x86 without VNNI). */
  readonly reduceRange: boolean | 'auto';
}

export interface QdqSettings {
  readonly type: 'int4' | 'uint4' | 'int8' | 'uint8';
  readonly granularity: 'tensor' | 'channel' | 'block';
  readonly blockSize: number;
}

export interface CastSettings {
  readonly type: 'f16' | 'bf16' | 'f8_e4m3fn' | 'f8_e5m2' | 'f8_e4m3fnuz' | 'f8_e5m2fnuz';
  readonly scale: 'none' | 'tensor' | 'channel';
}

export interface GatherSettings {
  readonly bits: 4 | 8;
  readonly blockSize: number;
  readonly symmetric: boolean;
}

/** What the forms may rely on: common abilities of the targets and of the model's opset. */
export interface FormAbilities {
  readonly nbits: {
    readonly bits: readonly number[];
    readonly blocks: readonly number[];
    readonly f16Bits: readonly number[];
    readonly realZeroBits: readonly number[];
  };
  readonly gatherBlock: { readonly bits: readonly number[]; readonly oddZeroPoints: boolean };
  /** ai.onnx version of the output; raising it is decided once, before any form is asked. */
  readonly opset: number;
  /** Whether the whole graph becomes f16 after the rewrites. */
  readonly fp16: boolean;
}

export interface Form<S> {
  /** Can this use of the weight take the form? */
  check(weight: Weight, use: ResolvedUse, scheme: S, abilities: FormAbilities): Verdict;
  /** Edits the model; all `uses` passed `check`. */
  apply(
    context: RewriteContext,
    weight: Weight,
    uses: readonly ResolvedUse[],
    scheme: S,
    abilities: FormAbilities,
  ): void;
}

/** 7-bit range for weights of `type`? */
export function reducesRange({ reduceRange }: DynamicSettings, type: 'int8' | 'uint8'): boolean {
  return reduceRange === 'auto' ? type === 'int8' : reduceRange;
}

/** Matrix of a weight that a MatMul or Gemm reads: leading unit dimensions are dropped. */
export interface MatrixView {
  readonly rows: number;
  readonly columns: number;
  /** Stored [N, K]. */
  readonly transposed: boolean;
  /** Unit dimensions that were dropped. */
  readonly unitDims: number;
}

/** The weight of a MatMul or Gemm as a matrix; a reason where it is none. */
export function matrixView(weight: Weight, use: ResolvedUse): MatrixView | string {
  const { role, node } = use;
  if (role.kind !== 'matmul' && role.kind !== 'gemm') return `${node.opType} does not read it as a matrix`;
  const { shape } = weight;
  if (shape.length < 2) return 'a vector is no matrix';
  const lead = shape.slice(0, -2);
  if (lead.some((dim) => dim !== 1))
    return `batched weights (${shape.join('×')}) have no block-quantized operator`;
  const a = shape[shape.length - 2] ?? 0;
  const b = shape[shape.length - 1] ?? 0;
  if (a === 0 || b === 0) return 'it is empty';
  if (role.kind === 'gemm') {
    const problem = gemmProblem(use);
    if (problem !== undefined) return problem;
  }
  const { transposed } = role;
  return { rows: transposed ? b : a, columns: transposed ? a : b, transposed, unitDims: lead.length };
}

/** Why a Gemm cannot become a product and a sum; undefined where it can. */
export function gemmProblem({ node }: ResolvedUse): string | undefined {
  if (readInt(node, 'transA', 0) !== 0) return 'Gemm with transA';
  if (readFloat(node, 'alpha', 1) !== 1) return 'Gemm with alpha other than 1';
  const hasC = (node.input[2] ?? '') !== '';
  if (hasC && readFloat(node, 'beta', 1) !== 1) return 'Gemm with beta other than 1';
  return undefined;
}

export function weightType(weight: Weight): WeightDType {
  // findWeights lists float constants only; f32 stands in for the impossible rest.
  return isWeightDType(weight.dtype) ? weight.dtype : 'f32';
}

/** Type in which a block-quantized operator computes: f16 stays, everything else is f32 (casts around it). */
export function scaleTypeOf(dtype: DType): ScaleDType {
  return dtype === 'f16' ? 'f16' : 'f32';
}
