/**
 * The way back: a quantized model → the same model with float weights. The values are those that the quantized model computes with;
 * what quantizing lost does not come back. Weights stream from file to file, so memory does not grow with the model.
 */

import { stat } from 'node:fs/promises';
import { freemem } from 'node:os';
import { basename, dirname, extname, join } from 'node:path';
import type { RunOptions } from '../core/progress.ts';
import { WhittleError } from '../errors.ts';
import { executeFiles } from '../execution/execute.ts';
import { layoutModel } from '../formats/onnx/layout.ts';
import { openOnnx } from '../formats/onnx/open.ts';
import { type RestoredWeight, restoreGraph } from '../formats/onnx/restore/restore.ts';
import { makeFolder } from '../io/folder.ts';
import type { ValueDType } from '../numerics/dequantize-operation.ts';
import { hasOnnxruntimeNode, onnxruntimeNode } from '../runtime/onnxruntime-node.ts';
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
  /**
   * Load the result in onnxruntime-node before it appears. Default: where that is installed and the model fits into memory; `false`
   * leaves it out.
   */
  readonly verify?: boolean | undefined;
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
 * @throws WhittleError E_NOTHING_TO_DO where no weight is quantized; E_USAGE for a folder; E_VERIFICATION where the
 * runtime loads the input but not the result; and whatever reading and writing throw.
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
    const size = files.reduce((sum, file) => sum + file.size, 0);
    const provable = options.verify ?? ((await hasOnnxruntimeNode()) && size * MEMORY_FACTOR < freemem());
    const unproved: string[] = [];
    await makeFolder(dirname(path));
    const written = await executeFiles({
      files,
      tasks: [],
      restorations,
      target: { directory: dirname(path), force },
      inputs: [model.source],
      threads,
      // A pass without searches: sooner done again than continued.
      journal: false,
      signal,
      onProgress: onProgress && ((progress) => onProgress({ ...progress, phase: 'dequantizing' })),
      ...(provable && {
        prove: async (paths: readonly (readonly string[])[]) => {
          onProgress?.({ phase: 'proving', bytesDone: size, bytesTotal: size });
          unproved.push(...(await proveLoads(input, paths[0]?.[0] ?? '', threads)));
        },
      }),
    });
    return {
      files: written.files,
      bytes: size,
      inputBytes,
      tensors: weights,
      notes: [...notes, ...unproved],
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await model.close();
  }
}

/** A loaded model takes about this many times its bytes. */
const MEMORY_FACTOR = 2;

/** E_VERIFICATION where only the result is refused; a note where the runtime does not take the input either. */
async function proveLoads(input: string, result: string, threads: number | undefined): Promise<string[]> {
  const refused = await refusal(result, threads);
  if (refused === undefined) return [];
  const before = await refusal(input, threads);
  if (before !== undefined) {
    return [
      `Not proved in a runtime: ${before.message} before and after (${before.details.found ?? 'no reason given'}).`,
    ];
  }
  const { found } = refused.details;
  throw new WhittleError('E_VERIFICATION', `the result did not pass the proof: ${refused.message}`, {
    file: input,
    found,
    hint: 'Nothing was written. Please report this model.',
    cause: refused,
  });
}

/** Why onnxruntime-node does not load `file`; undefined where it does. */
async function refusal(file: string, threads: number | undefined): Promise<WhittleError | undefined> {
  try {
    const session = await onnxruntimeNode().load(file, { threads });
    await session.close();
    return undefined;
  } catch (error) {
    if (error instanceof WhittleError && error.code === 'E_RUNTIME') return error;
    throw error;
  }
}

function outputPath(input: string, output: string | undefined, to: ValueDType): string {
  if (output !== undefined && extname(output) === '.onnx') return output;
  const name = `${basename(input, '.onnx')}_${to}.onnx`;
  return join(output ?? dirname(input), name);
}
