/** What can be asked of `compress`, and what it answers: plain data, the same for the library and the command line. */

import type { DataSpec, DatasetOptions } from '../calibration/data/data-spec.ts';
import type { Dataset } from '../calibration/data/dataset.ts';
import type { ImagePreparation } from '../calibration/data/image-preparation.ts';
import type { RunOptions } from '../core/progress.ts';
import type { Plan } from '../planning/plan.ts';
import type { Recipe } from '../planning/recipe.ts';
import type { LossMeasure } from './max-loss/names.ts';
import type { PassReport } from './prepare/pass.ts';
import type { BiasReport } from './solve/correct-biases.ts';
import type { AlgorithmName } from './solve/names.ts';
import type { LayerReport } from './solve/solve.ts';

export type TargetName = 'onnxruntime-node' | 'onnxruntime-web' | 'transformers.js';

export interface VerifyOptions {
  /** Default onnxruntime-node. */
  readonly runtime?: 'onnxruntime-node' | 'onnxruntime-web' | undefined;
  /** Runs of each model for the timing; the median counts. Default 5. */
  readonly runs?: number | undefined;
  /** Fixed shapes for inputs whose dimensions are symbolic: input name → shape. */
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  /** Real inputs: input name → file (.npy, .json or raw little-endian). Others are synthesized, seeded. */
  readonly inputs?: Readonly<Record<string, string>> | undefined;
}

/** Where samples are, and how many of them; the model says what they must fit. */
export interface CalibrationData extends Omit<DatasetOptions, 'hints' | 'signal' | 'vocabulary'> {
  /** A path, or a description of the source. */
  readonly source: string | DataSpec;
  /** For a text: tokenizer.json, or the folder that holds it; default: that of the model's folder. */
  readonly tokenizer?: string | undefined;
  /** Of pictures: how they become values, or the file that says so; default: that beside the pictures or the model. */
  readonly preprocessing?: ImagePreparation | string | undefined;
}

/** How much a result may lose for the task; layers stay as they were, the worst first, until it does not lose more. */
export interface MaxLoss {
  /** In the unit of the measure: points of accuracy, percent of perplexity or of output error, nats. */
  readonly limit: number;
  /** Default: accuracy where the data has labels, perplexity for a language model, else error. */
  readonly measure?: LossMeasure | undefined;
  /** What is judged on. Default: a part of `data` that is held out of the calibration. */
  readonly data?: CalibrationData | Dataset | undefined;
  /** Rows to judge on at most. Default 512 with labels, else 64. */
  readonly samples?: number | undefined;
}

export interface CompressOptions extends RunOptions {
  /** Mode names (`q4`) or whole recipes; one output each. */
  readonly to: readonly (string | Recipe)[];
  /**
   * A file (one mode, one model file) or a folder. Default: beside the input as `<name>_<suffix>.onnx`; for a folder
   * in the layout of transformers.js, its own `onnx/`.
   */
  readonly output?: string | undefined;
  /** Default: onnxruntime-web and onnxruntime-node. */
  readonly targets?: readonly TargetName[] | undefined;
  /**
   * Chooses the codes of the weights (docs/algorithms.md). Default: round to nearest, as the mode says; with data `auto`, the
   * best that the data allows.
   */
  readonly algorithm?: AlgorithmName | undefined;
  /** Writes what was solved to this safetensors file; one mode of one model (docs/algorithms.md). */
  readonly saveSolution?: string | undefined;
  /** Weights that were solved before: a file that `saveSolution` wrote. What it lacks is solved where an algorithm or data is given. */
  readonly solution?: string | undefined;
  /** What the model is run on to learn what its layers see: prepared samples, or where they are. Needs onnxruntime-node. */
  readonly data?: CalibrationData | Dataset | undefined;
  /**
   * Passes over the float model before everything else, which leave its function unchanged: `equalize`, … (docs/prepare.md); in place
   * of those that a recipe names.
   */
  readonly prepare?: readonly string[] | undefined;
  /** Take back by how much quantizing moves the means of outputs, in the biases that there are (docs/algorithms.md). Needs data. */
  readonly biasCorrection?: boolean | undefined;
  /** Keep the worst layers of each mode as they are until it loses no more than this (docs/evaluate.md). Needs data. */
  readonly maxLoss?: MaxLoss | undefined;
  /** Worker threads; default: all cores. 1 runs in this thread. */
  readonly threads?: number | undefined;
  /**
   * Bytes of Gram matrices (and what compares with the float model) that solving holds at once; layers with more are calibrated in parts,
   * each with a run over the data of its own, and the same result. Default: 1 GiB. One layer may take more.
   */
  readonly matrixBytes?: number | undefined;
  /** Replace existing outputs. */
  readonly force?: boolean | undefined;
  readonly externalData?: 'auto' | 'always' | 'never' | undefined;
  /** NaN and Inf among weights: refuse (default), or take them as the formulas do (docs/numerics.md). */
  readonly nonFinite?: 'error' | 'keep' | undefined;
  /** Measure every weight's error while quantizing (SQNR, largest error). Costs a second pass over each tile. */
  readonly measure?: boolean | undefined;
  /**
   * Run original and result in a runtime before the result appears. Default: where onnxruntime-node is installed and the
   * model fits into memory; `true` or options insist on it, `false` leaves it out.
   */
  readonly verify?: boolean | VerifyOptions | undefined;
  /** Continue a run of the same command that was stopped (docs/resume.md). */
  readonly resume?: boolean | undefined;
  /** Keep a journal for that; default: for models of 64 MiB and more. */
  readonly journal?: boolean | 'auto' | undefined;
  /** Report the SHA-256 of every file. */
  readonly sha256?: boolean | undefined;
  /** Make the plan and its exact sizes; write nothing. */
  readonly dryRun?: boolean | undefined;
}

/** How an algorithm chose the codes of the weights. */
export interface SolvedMode {
  readonly algorithm: string;
  /** What was calibrated on, for people; absent without data. */
  readonly data?: string | undefined;
  readonly synthetic?: boolean | undefined;
  readonly layers: readonly LayerReport[];
  readonly seconds: number;
}

/** What a mode loses, and what was kept for it. */
export interface KeptWithinLoss {
  readonly measure: LossMeasure;
  readonly unit: string;
  readonly limit: number;
  /** Of the result that was written. */
  readonly loss: number;
  /** Share of labels that rank first, or perplexity: of the original and of the result. */
  readonly original?: number | undefined;
  readonly result?: number | undefined;
  /** Layers that could be kept. */
  readonly layers: number;
  /** Those that stayed as they were, worst first, and the bytes that each costs. */
  readonly kept: readonly { readonly layer: string; readonly bytes: number }[];
  readonly keptBytes: number;
  /** Every result that was made and judged, in that order. */
  readonly tries: readonly { readonly kept: number; readonly loss: number }[];
  /** What was judged on, for people. */
  readonly data: string;
  readonly synthetic: boolean;
  readonly samples: number;
  readonly seconds: number;
}

export interface WeightError {
  readonly tensor: string;
  readonly count: number;
  readonly nonFinite: number;
  /** dB; Infinity where the values are exact. Absent unless measured. */
  readonly sqnr?: number | undefined;
  readonly maxAbs?: number | undefined;
}

export interface OutputSimilarity {
  readonly name: string;
  readonly cosine: number;
  /** dB. */
  readonly sqnr: number;
  readonly maxAbs: number;
}

export interface Verification {
  readonly runtime: string;
  readonly runtimeVersion: string;
  readonly outputs: readonly OutputSimilarity[];
  /** The worst of the outputs. */
  readonly cosine: number;
  readonly sqnr: number;
  readonly msOriginal: number;
  readonly msResult: number;
  /** How the inputs came about, for people. */
  readonly inputs: string;
}

/** One mode of one model file. */
export interface ModeResult {
  readonly mode: string;
  /** The model file that was compressed. */
  readonly input: string;
  readonly inputBytes: number;
  /** Model file first, then its data files. Empty in a dry run's file system, but named all the same. */
  readonly files: readonly {
    readonly path: string;
    readonly bytes: number;
    readonly sha256?: string | undefined;
  }[];
  readonly bytes: number;
  readonly plan: Plan;
  readonly weights: readonly WeightError[];
  /** Over all measured weights, each element counting for its tensor's ratio of noise to signal; dB. */
  readonly weightSqnr?: number | undefined;
  readonly verification?: Verification | undefined;
  /** What preparations did to the model before it was quantized; present where some were asked for. */
  readonly prepared?: readonly PassReport[] | undefined;
  /** How far means of outputs were off, where biases were corrected. */
  readonly biases?: readonly BiasReport[] | undefined;
  /** Present where an algorithm was asked for. */
  readonly solved?: SolvedMode | undefined;
  /** Present where a largest loss was given. */
  readonly loss?: KeptWithinLoss | undefined;
  readonly notes: readonly string[];
}

/** A mode that was asked for with others and does not suit the model, with the reason. */
export interface SkippedMode {
  readonly mode: string;
  readonly input: string;
  readonly reason: string;
}

export interface CompressionReport {
  readonly results: readonly ModeResult[];
  readonly skipped: readonly SkippedMode[];
  readonly seconds: number;
}
