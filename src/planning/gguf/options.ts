/**
 * What can be asked of a GGUF quantization: the options of llama-quantize under their own names, and those that go beyond
 * it, each off unless asked for, since the bytes differ then.
 */

import type { GgmlType } from '../../core/ggml-types.ts';
import type { GgufScalarType, GgufValue } from '../../formats/gguf/gguf.ts';
import type { Imatrix } from '../../formats/gguf/imatrix-types.ts';
import type { OutputFile, TensorBytes } from '../../formats/layout.ts';
import type { Task } from '../../numerics/task.ts';

export interface GgufQuantizeOptions {
  /** File type by name or alias of llama-quantize, any case (`Q4_K_M`, `q4_k`, `15`, `COPY`), or `MXFP4`, `NVFP4`. */
  readonly to: string;
  readonly imatrix?: Imatrix | undefined;
  /** Only imatrix entries whose name contains one of these; not together with `excludeWeights`. */
  readonly includeWeights?: readonly string[] | undefined;
  readonly excludeWeights?: readonly string[] | undefined;
  /** Every tensor gets the file type's main type. */
  readonly pure?: boolean | undefined;
  /** Keep `output.weight` as it is. */
  readonly leaveOutputTensor?: boolean | undefined;
  readonly outputTensorType?: GgmlType | undefined;
  readonly tokenEmbeddingType?: GgmlType | undefined;
  /** In order; the first pattern (ECMAScript, searched anywhere in the name) that matches decides. */
  readonly tensorTypes?: readonly { readonly pattern: string; readonly type: GgmlType }[] | undefined;
  /** Layers to leave out. */
  readonly pruneLayers?: readonly number[] | undefined;
  readonly overrideKv?:
    | readonly { readonly key: string; readonly type: GgufScalarType; readonly value: GgufValue }[]
    | undefined;
  /** Take quantized tensors as a source. */
  readonly allowRequantize?: boolean | undefined;
  /** As many files as the input has. */
  readonly keepSplit?: boolean | undefined;
  /** A plan to look at: what is missing for the work (importance, leave to requantize) is told in the notes, not refused. */
  readonly dryRun?: boolean | undefined;
  /** Bare file name of the output (of its first shard), `model-Q4_K_M.gguf`. */
  readonly fileName: string;
}

/** What becomes of one tensor. */
export interface PlannedGgufTensor {
  /** Name in the output (renumbered where layers were pruned). */
  readonly name: string;
  readonly source: string;
  /** As the file has it, fastest dimension first. */
  readonly shape: readonly number[];
  readonly from: GgmlType;
  readonly to: GgmlType;
  readonly fromBytes: number;
  readonly toBytes: number;
  /** Why this type: the rule that decided, the fallback, or why it is kept. */
  readonly reason: string;
  /** Id in `tasks`; undefined where the bytes are copied (what copies them is no conversion to speak of). */
  readonly task?: number | undefined;
  readonly importance: boolean;
  /** Index in `files`, and place of the payload in it. */
  readonly file: number;
  readonly offset: number;
}

export interface PlannedGguf {
  /** Number that `general.file_type` gets; undefined for COPY. */
  readonly fileType: number | undefined;
  /** Canonical name: `Q4_K_M`. */
  readonly name: string;
  readonly files: readonly OutputFile[];
  readonly tasks: readonly Task<TensorBytes>[];
  readonly tensors: readonly PlannedGgufTensor[];
  /** Layers or keys that changed, fallbacks, approximations: what the user should know. */
  readonly notes: readonly string[];
  /** Whether llama-quantize would want an importance matrix for this. */
  readonly wantsImatrix: boolean;
}
