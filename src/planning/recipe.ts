/**
 * The recipe: what the user asked for, as plain data (JSON or YAML; schema in recipe-schema.ts). A mode such as `q4` is
 * nothing but a recipe in presets.ts. Rules are tried in order and the first that matches a use of a weight decides;
 * a weight that no rule matches is kept.
 */

import type { DType } from '../core/dtype.ts';
import type { StaticSettings } from '../formats/onnx/rewrite/static/settings.ts';

/** Scheme of one weight: which form it takes in the file. The names of `as` are those of the operator forms. */
export type Scheme =
  | { readonly as: 'keep' }
  | {
      readonly as: 'matmul-nbits';
      readonly bits: 2 | 4 | 8;
      readonly blockSize: 16 | 32 | 64 | 128 | 256;
      readonly symmetric: boolean;
      /** 0 = computed in the activation's type; 4 = activations rounded to int8 (approximate, fast on CPU). */
      readonly accuracyLevel: 0 | 1 | 2 | 3 | 4;
      /** `real`: numbers of the scales' type (2 and 4 bits, not symmetric); closer to the original, larger, slower on node. Default integer. */
      readonly zeroPoints?: 'integer' | 'real' | undefined;
    }
  | { readonly as: 'bnb4'; readonly codebook: 'nf4' | 'fp4'; readonly blockSize: 16 | 32 | 64 | 128 | 256 }
  | {
      /** DynamicQuantizeLinear + MatMulInteger / ConvInteger / DynamicQuantizeLSTM. */
      readonly as: 'dynamic-int8';
      /** auto: uint8 where the graph has any Conv, GroupQueryAttention or MultiHeadAttention, else int8. */
      readonly weightType: 'int8' | 'uint8' | 'auto';
      readonly perChannel: boolean;
      /**
       * 7-bit weights: the integer products of uint8 activations with signed 8-bit weights saturate on x86 without
       * VNNI. `auto`: for signed weights only.
       */
      readonly reduceRange: boolean | 'auto';
    }
  | {
      /** Weight-only DequantizeLinear in front of any operator. */
      readonly as: 'qdq';
      readonly type: 'int4' | 'uint4' | 'int8' | 'uint8';
      readonly granularity: 'tensor' | 'channel' | 'block';
      readonly blockSize: number;
    }
  | {
      /** Stored in a narrower float and cast back; f8 types carry scales. */
      readonly as: 'cast';
      readonly type: Extract<DType, 'f16' | 'bf16' | 'f8_e4m3fn' | 'f8_e5m2' | 'f8_e4m3fnuz' | 'f8_e5m2fnuz'>;
      readonly scale: 'none' | 'tensor' | 'channel';
    }
  | {
      readonly as: 'gather-block';
      readonly bits: 4 | 8;
      readonly blockSize: 16 | 32 | 64 | 128 | 256;
      readonly symmetric: boolean;
    };

/** Which uses of weights a rule speaks of; every given condition must hold. Patterns are globs (`*`, `?`, `**`). */
export interface Match {
  readonly tensor?: string | readonly string[] | undefined;
  readonly node?: string | readonly string[] | undefined;
  readonly opType?: string | readonly string[] | undefined;
  /** Fewest elements. */
  readonly minElements?: number | undefined;
  /** Only (true) or not (false) weights of convolutions in groups, which share few values per channel. */
  readonly depthwise?: boolean | undefined;
  /** Weights to which one int8 scale for the whole tensor would leave fewer dB than this (weight-noise.ts). */
  readonly int8SqnrBelow?: number | undefined;
}

export interface Rule {
  readonly match: Match;
  readonly scheme: Scheme;
}

/**
 * Static quantization: activations get fixed scales, made from what runs over a data set show (docs/static-int8.md). Decides over
 * the whole graph, so a recipe has either this or rules.
 */
export interface StaticRecipe extends StaticSettings {
  /** How values become a range (calibration/observers). */
  readonly observer: 'minmax' | 'moving-average' | 'percentile' | 'entropy' | 'mse';
  /** Of the percentile observer: share of the values inside the range, in percent. */
  readonly percentile?: number | undefined;
  /** Fold BatchNormalization and constant factors and offsets into convolutions first. */
  readonly fold: boolean;
  /** Only nodes that read or give tensors with such names, or have such names themselves. */
  readonly include?: readonly string[] | undefined;
}

export interface Recipe {
  /** Mode name, e.g. `q4`; names the output file's suffix unless `suffix` is given. */
  readonly name: string;
  readonly description?: string | undefined;
  /** Suffix of the file in the layout of transformers.js, e.g. `_q4`, `_quantized`. */
  readonly suffix?: string | undefined;
  readonly rules: readonly Rule[];
  readonly exclude?: Match | readonly Match[] | undefined;
  readonly static?: StaticRecipe | undefined;
  /** Passes over the float model that come before everything else, as `equalize` or `smooth=0.5` (preparation.ts). */
  readonly prepare?: readonly string[] | undefined;
  /** Runs after the rules: the whole graph in half precision (docs/onnx.md 1b). */
  readonly fp16?:
    | { readonly keepIoTypes: boolean; readonly blockedOps?: readonly string[] | undefined }
    | undefined;
}
