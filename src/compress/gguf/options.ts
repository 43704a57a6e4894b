/**
 * What can be asked of `quantizeGguf`, and what it answers: plain data, the same for the library and the command line. The options
 * that decide about types and metadata are those of the planner, which has them from llama-quantize.
 */

import type { Dataset } from '../../calibration/data/dataset.ts';
import type { RunOptions } from '../../core/progress.ts';
import type { Imatrix } from '../../formats/gguf/imatrix-types.ts';
import type { GgufQuantizeOptions, PlannedGgufTensor } from '../../planning/gguf/options.ts';
import type { CalibrationData, SolvedMode } from '../options.ts';

export interface QuantizeGgufOptions
  extends RunOptions,
    Omit<GgufQuantizeOptions, 'to' | 'imatrix' | 'fileName' | 'dryRun'> {
  /** File types by name or alias of llama-quantize in any case (`Q4_K_M`, `q8_0`, `COPY`); one output each. */
  readonly to: string | readonly string[];
  /** Importance matrix: a path (either form of llama-imatrix's files), or one that is open. */
  readonly imatrix?: string | Imatrix | undefined;
  /**
   * Chooses the codes of the weights (docs/algorithms.md): `gptq`, `gptq-act-order`, `gptaq`, `best`, or `rtn`, which is ggml's encoder.
   * Default: that encoder; `gptq-act-order` where there are data or statistics. Needs `onnx`, and `data` or `statistics`.
   */
  readonly algorithm?: string | undefined;
  /** The ONNX file of the same model, in float, on which the layers' inputs are collected. */
  readonly onnx?: string | undefined;
  /** What that is run on: prepared samples, or where they are. Needs onnxruntime-node. */
  readonly data?: CalibrationData | Dataset | undefined;
  /** Statistics of that ONNX file with Gram matrices, as `whittle calibrate --gram` saves them, in the place of data. */
  readonly statistics?: string | undefined;
  /** A file that ends in `.gguf` (one type) or a folder. Default: `<name>-<TYPE>.gguf` beside the input. */
  readonly output?: string | undefined;
  /** Threads that compute; default: all cores. */
  readonly threads?: number | undefined;
  /** Bytes of Gram matrices that solving holds at once, as in `CompressOptions`. Default: 1 GiB. */
  readonly matrixBytes?: number | undefined;
  /** Replace existing outputs. */
  readonly force?: boolean | undefined;
  /** Dequantize every tile again and report each tensor's error. */
  readonly measure?: boolean | undefined;
  /** Go on where a run of the same input and options was stopped. */
  readonly resume?: boolean | undefined;
  /** Keep a journal for that; default: for models of 64 MiB and more. */
  readonly journal?: boolean | 'auto' | undefined;
  /** Report the SHA-256 of every output file. */
  readonly sha256?: boolean | undefined;
  /** Hears of a note before the work that it is about: that it will take long. The results have it too. */
  readonly onNote?: ((note: string) => void) | undefined;
  /** Make the plan and its exact sizes; write nothing. */
  readonly dryRun?: boolean | undefined;
}

/** What became of one tensor; errors are there when they were measured and the tensor was converted. */
export interface GgufTensorResult extends PlannedGgufTensor {
  /** dB; Infinity where nothing is lost. */
  readonly sqnr?: number | undefined;
  readonly maxAbs?: number | undefined;
}

export interface GgufOutputFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256?: string | undefined;
}

/** One output: a file, or the shards of one. */
export interface GgufResult {
  /** Canonical name of the file type: `Q4_K_M`. */
  readonly type: string;
  /** Number in `general.file_type`; undefined for COPY. */
  readonly fileType: number | undefined;
  readonly files: readonly GgufOutputFile[];
  /** Of all files of the output. */
  readonly bytes: number;
  /** Of the tensors alone, without metadata and padding. */
  readonly tensorBytes: number;
  /** Bits of tensor data for each weight. */
  readonly bitsPerWeight: number;
  readonly tensors: readonly GgufTensorResult[];
  /** Over all converted tensors, every element counting for its tensor; dB. Present when measured. */
  readonly weightSqnr?: number | undefined;
  /** llama-quantize would ask for an importance matrix. */
  readonly wantsImatrix: boolean;
  /** What an algorithm did to each layer; absent where none was asked for. */
  readonly solved?: SolvedMode | undefined;
  readonly notes: readonly string[];
}

export interface GgufReport {
  readonly input: string;
  /** Of all shards. */
  readonly inputBytes: number;
  readonly inputBitsPerWeight: number;
  readonly weights: number;
  readonly architecture: string | undefined;
  readonly results: readonly GgufResult[];
  /** Threads that computed; absent in a dry run. */
  readonly threads?: number | undefined;
  readonly seconds: number;
}
