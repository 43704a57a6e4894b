/**
 * Runs preparations over a model: one after the other on one copy, then the proof that the result computes what the original does.
 * What comes out behaves as an opened model, so that planning, solving and calibration go on from it; its large tensors lie in the
 * original's files, or in the spool.
 */

import { freemem } from 'node:os';
import type { Dataset } from '../../calibration/data/dataset.ts';
import { isWhittleError, WhittleError } from '../../errors.ts';
import { type OnnxModel, pruneUnused } from '../../formats/onnx/model.ts';
import { selectKernels } from '../../kernels/index.ts';
import type { PreparationStep } from '../../planning/preparation.ts';
import { hasOnnxruntimeNode, onnxruntimeNode } from '../../runtime/onnxruntime-node.ts';
import { openModelData } from '../calibration-data.ts';
import type { CompressOptions } from '../options.ts';
import { modelBytes } from '../size.ts';
import type { Spool } from '../solve/spool.ts';
import { editableCopy } from './editable.ts';
import { proveEquivalent } from './equivalence.ts';
import type { GridOf } from './grids.ts';
import type { PassReport } from './pass.ts';
import { PASSES } from './passes.ts';

export interface PreparedModel {
  /** To plan and quantize in place of the original; the original must stay open. */
  readonly model: OnnxModel;
  readonly reports: readonly PassReport[];
  readonly notes: readonly string[];
}

export interface PrepareOptions
  extends Pick<CompressOptions, 'data' | 'threads' | 'verify' | 'dryRun' | 'signal' | 'onProgress'> {
  /** Holds written values; must live until the files are written. */
  readonly spool: Spool;
  /** The grid that the plan has for a weight. */
  readonly gridOf?: GridOf | undefined;
}

/** Both models are loaded, one after the other, with the copy on disk: free memory that one needs, as a multiple of its bytes. */
const MEMORY_FACTOR = 2;

/**
 * @throws WhittleError E_USAGE where a pass needs data and has none; E_VERIFICATION where the result computes something else; and what
 *   opening the data and running on it throw
 */
export async function prepareModel(
  original: OnnxModel,
  steps: readonly PreparationStep[],
  options: PrepareOptions,
): Promise<PreparedModel> {
  const { threads, signal, onProgress, spool, gridOf } = options;
  const editable = editableCopy(original, await selectKernels(), spool);
  let opened: Promise<Dataset> | undefined;
  const reports: PassReport[] = [];
  for (const { pass, setting } of steps) {
    if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
    onProgress?.({ phase: `preparing: ${pass}`, bytesDone: reports.length, bytesTotal: steps.length });
    const run = await PASSES[pass]();
    const dataset = (): Promise<Dataset> => {
      if (options.data === undefined) throw needsData(pass);
      opened ??= openModelData(original, options.data, options);
      return opened;
    };
    const context = { model: editable, setting, threads, signal, onProgress, dataset, gridOf };
    reports.push({ pass, ...(await run(context)) });
  }
  pruneUnused(editable.proto);
  const model = editable.asModel();
  const notes = reports.map(({ pass, summary }) => `${pass}: ${summary}`);
  if (reports.every(({ places }) => places.length === 0)) return { model: original, reports, notes };
  // Nothing is written, and nothing proved, in a dry run.
  if (options.dryRun !== true) notes.push(...(await proof(original, model, options, await opened)));
  return { model, reports, notes };
}

function needsData(pass: string): WhittleError {
  return new WhittleError('E_USAGE', `${pass} looks at what the layers see, and no data was given`, {
    expected: '--data with a text, arrays or images (docs/prepare.md)',
  });
}

/** What the user should know of it. */
async function proof(
  original: OnnxModel,
  prepared: OnnxModel,
  { verify, threads, signal, onProgress }: PrepareOptions,
  dataset: Dataset | undefined,
): Promise<string[]> {
  const unproved = 'The prepared model was not compared with the original';
  if (verify === false) return [`${unproved}, as asked.`];
  const insists = verify !== undefined;
  if (!insists && !(await hasOnnxruntimeNode()))
    return [`${unproved}: onnxruntime-node is not installed (npm install onnxruntime-node).`];
  if (!insists && (await modelBytes(original)) * MEMORY_FACTOR > freemem())
    return [`${unproved}: the model needs more memory than is free (--verify insists).`];
  onProgress?.({ phase: 'proving the preparation', bytesDone: 0, bytesTotal: 1 });
  const given = typeof verify === 'object' ? { shapes: verify.shapes, inputs: verify.inputs } : {};
  try {
    const { relativeError, output } = await proveEquivalent(original, prepared, {
      runtime: onnxruntimeNode(),
      dataset,
      threads,
      signal,
      ...given,
    });
    const distance = relativeError === 0 ? 'exactly' : `up to ${relativeError.toExponential(1)} (${output})`;
    return [`The prepared model computes what the original does, ${distance}.`];
  } catch (error) {
    if (insists || !isWhittleError(error) || error.code !== 'E_RUNTIME') throw error;
    return [`${unproved}: ${error.message} (${error.details.found ?? 'no reason given'}).`];
  }
}
