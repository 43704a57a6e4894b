/**
 * The way back: a quantized model → the same model with float weights. The values are those that the quantized model computes with;
 * what quantizing lost does not come back. Weights stream from file to file, so memory does not grow with the model.
 */

import { mkdir, stat } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import type { RunOptions } from '../core/progress.ts';
import { WhittleError } from '../errors.ts';
import { executeFiles } from '../execution/execute.ts';
import { layoutModel } from '../formats/onnx/layout.ts';
import { openOnnx } from '../formats/onnx/model.ts';
import { type RestoredWeight, restoreGraph } from '../formats/onnx/restore/restore.ts';
import type { ValueDType } from '../numerics/dequantize-operation.ts';
import { modelBytes } from './size.ts';

export interface DequantizeOptions extends RunOptions {
  /** A file (`.onnx`) or a folder. Default: `<name>_<to>.onnx` beside the input. */
  readonly output?: string | undefined;
  /** Type in which the weights are stored. Default f32. */
  readonly to?: ValueDType | undefined;
  /** Replace an existing output. */
  readonly force?: boolean | undefined;
  /** Large weights in files of their own. Default auto. */
  readonly externalData?: 'auto' | 'always' | 'never' | undefined;
  /** Worker threads; default: all cores. */
  readonly threads?: number | undefined;
}

export interface DequantizeReport {
  /** Model file first, then its data files. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  readonly bytes: number;
  readonly inputBytes: number;
  /** Every weight that came back, with the form it had. */
  readonly tensors: readonly RestoredWeight[];
  /** What stayed quantized, and what else changed. */
  readonly notes: readonly string[];
  readonly seconds: number;
}

/**
 * Writes `input` with float weights.
 * @throws WhittleError E_NOTHING_TO_DO where no weight is quantized; E_USAGE for a folder; and whatever reading and writing throw.
 * Nothing is left behind then.
 */
export async function dequantizeModel(
  input: string,
  options: DequantizeOptions = {},
): Promise<DequantizeReport> {
  const started = performance.now();
  const { to = 'f32', onProgress, signal, threads, force, externalData = 'auto' } = options;
  if (to !== 'f32' && to !== 'f16') {
    throw new WhittleError('E_USAGE', 'weights come back as f32 or f16', { found: String(to) });
  }
  const isFolder = (await stat(input).catch(() => undefined))?.isDirectory() ?? false;
  if (isFolder) {
    throw new WhittleError('E_USAGE', 'one model file is dequantized at a time', {
      file: input,
      found: 'a folder',
      hint: 'Name an .onnx file in it.',
    });
  }
  const path = outputPath(input, options.output, to);
  const model = await openOnnx(input);
  try {
    const { proto, restorations, weights, notes } = await restoreGraph(model, { to });
    const files = await layoutModel(proto, {
      fileName: basename(path),
      externalData,
      sourceHadExternal: model.hasExternalData,
      resolve: (tensor) => model.tensorBytes(tensor),
    });
    const inputBytes = await modelBytes(model);
    await mkdir(dirname(path), { recursive: true });
    const written = await executeFiles({
      files,
      tasks: [],
      restorations,
      target: { directory: dirname(path), force },
      inputs: [model.source],
      threads,
      signal,
      onProgress: onProgress && ((progress) => onProgress({ ...progress, phase: 'dequantizing' })),
    });
    return {
      files: written.files,
      bytes: written.files.reduce((sum, { bytes }) => sum + bytes, 0),
      inputBytes,
      tensors: weights,
      notes,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await model.close();
  }
}

function outputPath(input: string, output: string | undefined, to: ValueDType): string {
  if (output !== undefined && extname(output) === '.onnx') return output;
  const name = `${basename(input, '.onnx')}_${to}.onnx`;
  return join(output ?? dirname(input), name);
}
