/**
 * Preparations alone: a float model → a float model that computes the same and is easier to quantize, by this tool or another. The
 * result is proved on the way (prepare/equivalence.ts), so writing it is copying.
 */

import { basename, dirname, extname, join } from 'node:path';
import { WhittleError } from '../errors.ts';
import { executeFiles } from '../execution/execute.ts';
import { layoutModel } from '../formats/onnx/layout.ts';
import { openOnnx } from '../formats/onnx/open.ts';
import { assertMayWrite } from '../io/atomic-file.ts';
import { isFileSource } from '../io/file-source.ts';
import { makeFolder } from '../io/folder.ts';
import type { CompressOptions } from './options.ts';
import type { PassReport } from './prepare/pass.ts';
import { createPreparer } from './prepare/preparer.ts';
import { modelBytes } from './size.ts';

export interface PrepareModelOptions
  extends Pick<
    CompressOptions,
    'data' | 'threads' | 'force' | 'externalData' | 'verify' | 'signal' | 'onProgress'
  > {
  /** `equalize`, `smooth=0.5`, … (docs/prepare.md). */
  readonly passes: readonly string[];
  /** A file (`.onnx`) or a folder. Default: `<name>_prepared.onnx` beside the input. */
  readonly output?: string | undefined;
}

export interface PrepareReport {
  /** Model file first, then its data files. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  readonly bytes: number;
  readonly inputBytes: number;
  readonly passes: readonly PassReport[];
  readonly notes: readonly string[];
  readonly seconds: number;
}

/**
 * Writes `input` as the passes leave it.
 * @throws WhittleError E_NOTHING_TO_DO where no pass found a place; E_USAGE for wrong passes, and for those that look ahead to how weights
 *   will be stored; E_VERIFICATION where the result computes something else; and whatever reading, running and writing throw.
 *   Nothing is left behind then.
 */
export async function prepareOnnx(input: string, options: PrepareModelOptions): Promise<PrepareReport> {
  const started = performance.now();
  const { passes, output, threads, force, externalData = 'auto', signal, onProgress } = options;
  if (passes.length === 0)
    throw new WhittleError('E_USAGE', 'no pass was asked for', { hint: 'Try equalize.' });
  const path =
    output !== undefined && extname(output) === '.onnx'
      ? output
      : join(output ?? dirname(input), `${basename(input, '.onnx')}_prepared.onnx`);
  const original = await openOnnx(input);
  await using preparer = createPreparer();
  try {
    // What stands in the way of the output is said before the work.
    const inputs = isFileSource(original.source) ? [original.source.identity] : [];
    await assertMayWrite(path, { force, inputs });
    const recipe = { name: 'prepare', prepare: passes };
    const prepared = await preparer.prepare(original, recipe, options);
    if (prepared === undefined || prepared.model === original) {
      throw new WhittleError('E_NOTHING_TO_DO', 'no pass found anything to do', {
        file: input,
        found: prepared?.notes.join('; '),
      });
    }
    const { model, reports, notes } = prepared;
    const files = await layoutModel(model.proto, {
      fileName: basename(path),
      externalData,
      sourceHadExternal: model.hasExternalData,
      resolve: (tensor) => model.tensorBytes(tensor),
    });
    await makeFolder(dirname(path));
    const written = await executeFiles({
      files,
      tasks: [],
      target: { directory: dirname(path), force },
      inputs: [original.source],
      threads,
      journal: false,
      signal,
      onProgress,
    });
    return {
      files: written.files,
      bytes: files.reduce((sum, { size }) => sum + size, 0),
      inputBytes: await modelBytes(original),
      passes: reports,
      notes,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await original.close();
  }
}
