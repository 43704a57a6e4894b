/**
 * What the reports show, as plain data: the same objects are printed as a table, drawn as HTML and given out as JSON. The
 * command line fills them from a model, a compression or a comparison; nothing here knows a file format.
 */

import type { Shape } from '../core/shape.ts';
import type { HistogramData } from './svg.ts';

/** Statistics of one tensor's values; see docs/numerics.md for the definitions. */
export interface TensorStatistics {
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly std: number;
  readonly absMax: number;
  readonly skewness?: number | undefined;
  readonly kurtosis?: number | undefined;
  readonly zeros: number;
  readonly nan: number;
  readonly infinite: number;
  /** Share of values more than six standard deviations from the mean. */
  readonly outliers: number;
  readonly percentiles?: Readonly<Record<string, number>> | undefined;
  /** Bits of the range that the values make use of. */
  readonly effectiveBits?: number | undefined;
  readonly histogram: HistogramData;
}

export interface TensorReport {
  /** Unique in the model. */
  readonly key: string;
  readonly name: string;
  /** Element type, or type of the blocks. */
  readonly dtype: string;
  readonly shape: Shape;
  readonly count: number;
  readonly bytes: number;
  /** Operators that read it, where the format has any. */
  readonly uses?: readonly string[] | undefined;
  readonly statistics?: TensorStatistics | undefined;
  /** What kept it from being measured. */
  readonly problem?: string | undefined;
}

export interface ModelReport {
  readonly file: string;
  readonly bytes: number;
  /** Bytes of external data files, part of `bytes`. */
  readonly externalBytes: number;
  readonly irVersion: number | undefined;
  readonly opsets: readonly { readonly domain: string; readonly version: number }[];
  readonly producer: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly nodes: number;
  readonly operators: readonly { readonly opType: string; readonly count: number }[];
  readonly parameters: number;
  readonly weightBytes: number;
  readonly tensors: readonly TensorReport[];
  /** Modes and what would become of the model's weights. */
  readonly modes: readonly ModeSuitability[];
  readonly notes: readonly string[];
}

/** A file of tensors and metadata, without a graph. Texts are as they are to be read. */
export interface FileReport {
  readonly file: string;
  readonly description: string;
  /** Figures at the top. */
  readonly facts: readonly (readonly [value: string, label: string])[];
  readonly types: readonly { readonly type: string; readonly tensors: number; readonly bytes: number }[];
  readonly tensors: readonly TensorReport[];
  readonly metadata: readonly { readonly key: string; readonly type: string; readonly value: string }[];
  readonly notes: readonly string[];
}

export interface ModeSuitability {
  readonly mode: string;
  readonly suits: boolean;
  /** Bytes of the output, where the mode suits. */
  readonly bytes?: number | undefined;
  /** Why not. */
  readonly reason?: string | undefined;
}

/** One output file of `quantize`, measured. */
export interface ResultRow {
  readonly mode: string;
  readonly file: string;
  readonly bytes: number;
  /** dB over all measured weights. */
  readonly weightSqnr?: number | undefined;
  /** Of the worst output. */
  readonly cosine?: number | undefined;
  readonly outputSqnr?: number | undefined;
  readonly ms?: number | undefined;
  readonly layers: readonly LayerError[];
  readonly outputs: readonly {
    readonly name: string;
    readonly cosine: number;
    readonly sqnr: number;
    readonly maxAbs: number;
  }[];
  readonly notes: readonly string[];
  /** What it loses for the task, and what stayed as it was for that. */
  readonly loss?: LossRow | undefined;
  /** Extra columns, e.g. what an OCR model read. */
  readonly extra?: Readonly<Record<string, string>> | undefined;
}

export interface LossRow {
  /** One sentence. */
  readonly text: string;
  readonly unit: string;
  readonly kept: readonly { readonly layer: string; readonly bytes: number }[];
  readonly tries: readonly { readonly kept: number; readonly loss: number }[];
}

export interface LayerError {
  readonly tensor: string;
  readonly count: number;
  /** dB; Infinity where exact. */
  readonly sqnr: number;
  readonly maxAbs?: number | undefined;
}

export interface CompressionView {
  readonly title: string;
  readonly input: string;
  readonly inputBytes: number;
  readonly msOriginal?: number | undefined;
  readonly runtime?: string | undefined;
  readonly inputs?: string | undefined;
  readonly results: readonly ResultRow[];
  readonly skipped: readonly { readonly mode: string; readonly reason: string }[];
  readonly seconds?: number | undefined;
  /** Extra columns of the original, by the same titles as those of the results. */
  readonly extra?: Readonly<Record<string, string>> | undefined;
}
