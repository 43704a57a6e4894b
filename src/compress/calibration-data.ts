/**
 * The data of a run, opened for one model: what its inputs are is asked of the runtime that will calibrate it, what they mean of the
 * graph, and the tokenizer of a text is looked for where model folders keep it.
 */

import type { Dataset } from '../calibration/data/dataset.ts';
import { graphHints } from '../calibration/data/graph-hints.ts';
import { openDataset } from '../calibration/data/open-dataset.ts';
import { parseDataSpec } from '../calibration/data/parse-data-spec.ts';
import { isWhittleError, WhittleError } from '../errors.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import { onnxruntimeNode } from '../runtime/onnxruntime-node.ts';
import type { Runtime } from '../runtime/runtime.ts';
import type { CalibrationData, CompressOptions } from './options.ts';

interface DataRunOptions extends Pick<CompressOptions, 'signal' | 'threads'> {
  /** Default onnxruntime-node. */
  readonly runtime?: Runtime | undefined;
}

/** @throws WhittleError E_MISSING_PEER without onnxruntime-node, and what opening the data throws */
export async function openModelData(
  model: OnnxModel,
  data: Dataset | CalibrationData,
  { signal, threads, runtime = onnxruntimeNode() }: DataRunOptions,
): Promise<Dataset> {
  if (isDataset(data)) return data;
  const { source, tokenizer, preprocessing: preparation, ...options } = data;
  const spec =
    typeof source === 'string'
      ? await parseDataSpec(source, { tokenizer, preparation, model: model.file })
      : source;
  if (preparation !== undefined && spec.kind !== 'images') {
    throw new WhittleError('E_USAGE', 'preprocessing is about pictures, and the data holds none', {
      expected: 'a folder of pictures',
      found: typeof source === 'string' ? source : spec.kind,
    });
  }
  const session = await runtime.load(model.file, { threads, optimize: false }).catch((error: unknown) => {
    throw runsOnData(error, runtime);
  });
  try {
    const hints = model.proto.graph === undefined ? undefined : graphHints(model.proto.graph);
    return await openDataset(spec, session.inputs, { ...options, hints, signal });
  } finally {
    await session.close();
  }
}

/** Where the engine is absent: the usual message speaks of the proof, which can be left out. */
function runsOnData(error: unknown, { name }: Runtime): unknown {
  if (!isWhittleError(error) || error.code !== 'E_MISSING_PEER') return error;
  return new WhittleError(error.code, `${name} is not installed; it runs the model on the data`, {
    hint: `install it beside whittle: npm install ${name}`,
    cause: error,
  });
}

function isDataset(data: Dataset | CalibrationData): data is Dataset {
  return 'samples' in data && typeof data.samples === 'function';
}
