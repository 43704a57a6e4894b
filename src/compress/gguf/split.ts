/** Models in parts and whole again: the layouts are those of the format, the bytes are copied from file to file. */

import { basename, dirname, join } from 'node:path';
import type { RunOptions } from '../../core/progress.ts';
import { WhittleError } from '../../errors.ts';
import { executeFiles } from '../../execution/execute.ts';
import type { GgufModel } from '../../formats/gguf/gguf.ts';
import { openGguf } from '../../formats/gguf/open.ts';
import { mergeGguf, splitGguf } from '../../formats/gguf/split.ts';
import { parseSplitName } from '../../formats/gguf/split-names.ts';
import type { OutputFile } from '../../formats/layout.ts';
import { makeFolder } from '../../io/folder.ts';
import type { GgufOutputFile } from './options.ts';
import { ggufOutputPath, ggufStem } from './outputs.ts';

export interface CopyOptions extends RunOptions {
  readonly threads?: number | undefined;
  readonly force?: boolean | undefined;
  /** The files and their sizes; nothing is written. */
  readonly dryRun?: boolean | undefined;
}

export interface SplitModelOptions extends CopyOptions {
  /** Tensors of one part at most; default 128 where `maxBytes` is not given. */
  readonly maxTensors?: number | undefined;
  /** Bytes of tensors of one part at most. */
  readonly maxBytes?: number | undefined;
  /** The first part holds metadata only. */
  readonly noTensorFirst?: boolean | undefined;
  /** Prefix of the parts, `out/model` → `out/model-00001-of-0000N.gguf`. Default: beside the input, under its name. */
  readonly output?: string | undefined;
}

export interface MergeModelOptions extends CopyOptions {
  /** A file that ends in `.gguf` or a folder. Default: the parts' name without their number, beside them. */
  readonly output?: string | undefined;
}

export interface PartsReport {
  readonly input: string;
  readonly inputBytes: number;
  readonly tensors: number;
  readonly files: readonly GgufOutputFile[];
  readonly seconds: number;
}

/** Writes a model as parts, as llama-gguf-split does. @throws WhittleError E_USAGE, and as `openGguf` and executing */
export async function splitModel(input: string, options: SplitModelOptions = {}): Promise<PartsReport> {
  const started = performance.now();
  await using model = await openGguf(input);
  const prefix = outputPrefix(input, options.output);
  const { maxTensors, maxBytes, noTensorFirst } = options;
  const files = splitGguf(model, ggufStem(prefix), { maxTensors, maxBytes, noTensorFirst });
  return copy(model, files, dirname(prefix), options, started);
}

/** Writes the parts of a model as one file; any of them may be named. @throws WhittleError E_SPLIT, and as `openGguf` */
export async function mergeModel(input: string, options: MergeModelOptions = {}): Promise<PartsReport> {
  const started = performance.now();
  await using model = await openGguf(input);
  if (model.sources.length < 2) {
    throw new WhittleError('E_NOTHING_TO_DO', 'the model is one file already', {
      file: input,
      expected: 'a part, such as model-00001-of-00003.gguf',
      found: parseSplitName(input) === undefined ? 'a whole model' : 'the only part',
    });
  }
  const path = ggufOutputPath(input, `${ggufStem(input)}.gguf`, options.output);
  const name = basename(path);
  return copy(model, [mergeGguf(model, name)], dirname(path), options, started);
}

async function copy(
  model: GgufModel,
  files: readonly OutputFile[],
  directory: string,
  { threads, force, dryRun, signal, onProgress }: CopyOptions,
  started: number,
): Promise<PartsReport> {
  const planned = files.map(({ name, size }) => ({ path: join(directory, name), bytes: size }));
  if (dryRun !== true) await makeFolder(directory);
  const written =
    dryRun === true
      ? undefined
      : await executeFiles({
          files,
          tasks: [],
          target: { directory, force },
          inputs: model.sources,
          threads,
          // Copies: sooner done again than continued.
          journal: false,
          signal,
          onProgress: onProgress && ((progress) => onProgress({ ...progress, phase: 'copying' })),
        });
  return {
    input: model.file,
    inputBytes: model.bytes,
    tensors: model.tensors.length,
    files: written?.files ?? planned,
    seconds: (performance.now() - started) / 1000,
  };
}

/** A folder keeps the model's own name. */
function outputPrefix(input: string, output: string | undefined): string {
  const stem = ggufStem(input);
  if (output === undefined) return join(dirname(input), stem);
  return /[\\/]$/.test(output) ? join(output, stem) : output;
}
