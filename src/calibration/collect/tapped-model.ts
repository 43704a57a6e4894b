/**
 * Models that calibration edits and runs: a graph with its tensors, a copy of it that holds references to all bytes, and a
 * session over an edited copy. The copy goes to a temporary file, since engines load files (of any size, memory-mapped),
 * and is removed with the session.
 */

import type { RunOptions } from '../../core/progress.ts';
import { WhittleError } from '../../errors.ts';
import type { OutputFile, TensorBytes } from '../../formats/layout.ts';
import { isExternal } from '../../formats/onnx/external.ts';
import { allTensors } from '../../formats/onnx/graph.ts';
import type { ModelProto, TensorProto } from '../../formats/onnx/messages.ts';
import { cloneModel, layoutModel } from '../../formats/onnx/model.ts';
import { MODEL } from '../../formats/onnx/schema.ts';
import { encodedSize } from '../../formats/onnx/writer.ts';
import { createTemporaryFolder, type TemporaryFolder } from '../../io/temporary-folder.ts';
import type {
  Runtime,
  RuntimeLoadOptions,
  RuntimeRunOptions,
  RuntimeSession,
  RuntimeTensor,
} from '../../runtime/runtime.ts';
import type { Dataset, Sample } from '../data/dataset.ts';

/** A model as calibration takes it: an `OnnxModel` gives `proto` and `tensorBytes`. */
export interface CalibrationModel {
  readonly proto: ModelProto;
  /** Bytes of a tensor that is external in `proto`. */
  resolve(tensor: TensorProto): Promise<TensorBytes>;
}

/** A copy to edit; external tensors become references to their bytes. */
export async function copyModel(model: CalibrationModel): Promise<ModelProto> {
  const copy = cloneModel(model.proto);
  const originals = allTensors(model.proto);
  for (const tensor of allTensors(copy)) {
    const original = originals.next().value;
    if (original === undefined || !isExternal(original)) continue;
    tensor.rawData = await model.resolve(original);
    tensor.externalData = [];
    tensor.dataLocation = undefined;
  }
  return copy;
}

export interface TappedRunOptions extends RuntimeRunOptions {
  /** Values of inputs that the taps added. */
  readonly state?: ReadonlyMap<string, RuntimeTensor> | undefined;
}

export interface TappedSession extends AsyncDisposable {
  readonly inputs: RuntimeSession['inputs'];
  /** Runs one sample; inputs that the reduced model does not have are left away. */
  run(sample: Sample, options?: TappedRunOptions): Promise<Map<string, RuntimeTensor>>;
}

/** Larger models are written with external data, which engines map instead of copying. Bytes. */
const EMBEDDED_BYTES = 32 * 1024 * 1024;
const PIECE = 8 * 1024 * 1024;

/**
 * Loads an edited copy whose tensors are all in place (`copyModel`).
 * @throws WhittleError E_RUNTIME where the runtime refuses it, E_IO and E_NO_SPACE for the temporary file
 */
export async function openTapped(
  proto: ModelProto,
  runtime: Runtime,
  options: RuntimeLoadOptions = {},
): Promise<TappedSession> {
  const folder = await createTemporaryFolder();
  try {
    const files = await layoutModel(proto, {
      fileName: 'tapped.onnx',
      externalData: encodedSize(MODEL, proto) > EMBEDDED_BYTES ? 'always' : 'never',
      sourceHadExternal: false,
      resolve: () => Promise.reject(new WhittleError('E_GRAPH', 'a tensor was not brought into the copy')),
    });
    for (const file of files) await writeFile(folder, file);
    const session = await runtime.load(folder.path('tapped.onnx'), options);
    return wrap(session, folder);
  } catch (error) {
    await folder.remove();
    throw error;
  }
}

function wrap(session: RuntimeSession, folder: TemporaryFolder): TappedSession {
  const expected = session.outputs.map(({ name }) => name);
  return {
    inputs: session.inputs,
    async run(sample, options = {}) {
      const feeds = new Map<string, RuntimeTensor>();
      for (const { name } of session.inputs) {
        const value = sample.inputs.get(name) ?? options.state?.get(name);
        if (value === undefined) throw missingInput(name, sample);
        feeds.set(name, value);
      }
      const outputs = await session.run(feeds, options);
      for (const name of expected) {
        if (!outputs.has(name)) throw notDelivered(name);
      }
      return outputs;
    },
    async [Symbol.asyncDispose]() {
      await session.close();
      await folder.remove();
    },
  };
}

/**
 * Calls `visit` with each sample in turn.
 * @throws WhittleError E_USAGE where there is none, E_ABORTED
 */
export async function walkSamples(
  dataset: Dataset,
  { signal, onProgress }: RunOptions,
  phase: string,
  visit: (sample: Sample) => Promise<void>,
): Promise<void> {
  let done = 0;
  for await (const sample of dataset.samples()) {
    if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped');
    await visit(sample);
    done++;
    onProgress?.({ phase, bytesDone: done, bytesTotal: dataset.count });
  }
  if (done > 0) return;
  throw new WhittleError('E_USAGE', 'the data set is empty', {
    found: dataset.description,
    hint: 'Give at least one sample.',
  });
}

function missingInput(name: string, sample: Sample): WhittleError {
  return new WhittleError('E_USAGE', `the data set has no values for the input ${JSON.stringify(name)}`, {
    tensor: name,
    found: [...sample.inputs.keys()].join(', ') || 'no inputs',
    hint: 'Name the values in the data as the model names its inputs.',
  });
}

function notDelivered(name: string): WhittleError {
  return new WhittleError('E_RUNTIME', 'the runtime did not deliver a tapped tensor', {
    tensor: name,
    hint: 'It may have been fused away: calibrate with optimize: false.',
  });
}

async function writeFile(folder: TemporaryFolder, { name, size, segments }: OutputFile): Promise<void> {
  await using file = await folder.create(name, size);
  for (const segment of segments) {
    if (segment.kind === 'bytes') await file.write(segment.offset, segment.bytes);
    else if (segment.kind === 'part') {
      throw new WhittleError('E_UNSUPPORTED', 'a part of the model is not computed yet');
    } else {
      const buffer = new Uint8Array(Math.min(PIECE, segment.length));
      for (let done = 0; done < segment.length; done += buffer.length) {
        const piece = buffer.subarray(0, Math.min(buffer.length, segment.length - done));
        await segment.source.readInto(segment.sourceOffset + done, piece);
        await file.write(segment.offset + done, piece);
      }
    }
  }
}
