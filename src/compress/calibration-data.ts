/**
 * The data of a run, opened for one model: what its inputs are is asked of the runtime that will calibrate it, what they mean of the
 * graph, and the tokenizer of a text is looked for where model folders keep it.
 */

import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { DataSpec } from '../calibration/data/data-spec.ts';
import type { Dataset } from '../calibration/data/dataset.ts';
import { graphHints } from '../calibration/data/graph-hints.ts';
import { openDataset } from '../calibration/data/open-dataset.ts';
import { WhittleError } from '../errors.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import { onnxruntimeNode } from '../runtime/onnxruntime-node.ts';
import type { CalibrationData, CompressOptions } from './options.ts';

/** @throws WhittleError E_MISSING_PEER without onnxruntime-node, and what opening the data throws */
export async function openModelData(
  model: OnnxModel,
  data: Dataset | CalibrationData,
  { signal, threads }: Pick<CompressOptions, 'signal' | 'threads'>,
): Promise<Dataset> {
  if (isDataset(data)) return data;
  const { source, tokenizer, ...options } = data;
  const spec = typeof source === 'string' ? await specOf(source, tokenizer, model.file) : source;
  const session = await onnxruntimeNode().load(model.file, { threads, optimize: false });
  try {
    const hints = model.proto.graph === undefined ? undefined : graphHints(model.proto.graph);
    return await openDataset(spec, session.inputs, { ...options, hints, signal });
  } finally {
    await session.close();
  }
}

function isDataset(data: Dataset | CalibrationData): data is Dataset {
  return 'samples' in data && typeof data.samples === 'function';
}

async function specOf(file: string, tokenizer: string | undefined, model: string): Promise<DataSpec> {
  return { kind: 'text', file, tokenizer: tokenizer ?? (await tokenizerBeside(model)) };
}

/** Beside the model, or one folder up (`onnx/model.onnx` of the transformers.js layout). */
async function tokenizerBeside(model: string): Promise<string> {
  const folder = dirname(model);
  for (const place of [folder, dirname(folder)]) {
    const path = join(place, 'tokenizer.json');
    if ((await stat(path).catch(() => undefined))?.isFile()) return path;
  }
  throw new WhittleError(
    'E_USAGE',
    'a text becomes tokens with the tokenizer of the model, which was not found',
    {
      file: model,
      expected: `tokenizer.json in ${folder} or the folder above`,
      hint: 'Name it with --tokenizer.',
    },
  );
}
