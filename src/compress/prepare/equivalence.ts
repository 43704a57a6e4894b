/**
 * The proof that a preparation left the function of a model unchanged: original and prepared model run on the same inputs, samples of
 * the data where there are any, and every output must agree up to what rounding explains.
 */

import { copyModel, openTapped, type TappedSession } from '../../calibration/collect/tapped-model.ts';
import type { Dataset, Sample } from '../../calibration/data/dataset.ts';
import { graphHints, NO_HINTS } from '../../calibration/data/graph-hints.ts';
import type { RunOptions } from '../../core/progress.ts';
import { isWhittleError, WhittleError } from '../../errors.ts';
import { dtypeOfNumber } from '../../formats/onnx/data-types.ts';
import type { ModelProto } from '../../formats/onnx/messages.ts';
import type { OnnxModel } from '../../formats/onnx/model.ts';
import type { Runtime, RuntimeTensor } from '../../runtime/runtime.ts';
import { runReference } from '../../verify/prove.ts';
import { createSimilarity, type OutputComparison } from '../../verify/similarity.ts';

export interface EquivalenceOptions extends RunOptions {
  readonly runtime: Runtime;
  readonly dataset?: Dataset | undefined;
  readonly threads?: number | undefined;
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly inputs?: Readonly<Record<string, string>> | undefined;
}

export interface Equivalence {
  /** Noise to signal of the worst output, 10^(−SQNR / 20). */
  readonly relativeError: number;
  /** Name of that output. */
  readonly output: string;
}

/**
 * Largest relative error of an output: each of some hundred layers adds a rounding of 6·10⁻⁸ that the next ones may amplify, and a wrong
 * fold is off by tenths. Half precision rounds by 5·10⁻⁴ at every weight.
 */
const TOLERANCE = { f32: 1e-3, f16: 2e-2 } as const;
/** Samples of the data that are run. */
const SAMPLES = 2;
/** Integer outputs are choices (a largest score) that rounding may tip: this share must agree. */
const EQUAL_SHARE = 0.99;

/**
 * @throws WhittleError E_VERIFICATION where an output differs; E_RUNTIME where the original does not run; E_ABORTED
 */
export async function proveEquivalent(
  original: OnnxModel,
  prepared: OnnxModel,
  options: EquivalenceOptions,
): Promise<Equivalence> {
  const runs = await originalRuns(original, options);
  const copy = await copyModel({ proto: prepared.proto, resolve: (tensor) => prepared.tensorBytes(tensor) });
  await using session = await openPrepared(original.file, copy, options);
  const similarities = new Map<string, ReturnType<typeof createSimilarity>>();
  const integers = new Set<string>();
  for (const { inputs, outputs } of runs) {
    const found = await session.run({ inputs }, { signal: options.signal });
    for (const [name, expected] of outputs) {
      const result = found.get(name);
      if (result === undefined || expected.dtype === 'string') continue;
      const similarity = similarities.get(name) ?? createSimilarity(name);
      similarities.set(name, similarity);
      if (!/^b?f\d/.test(expected.dtype)) integers.add(name);
      similarity.add(expected, result);
    }
  }
  const tolerance = isHalf(original) ? TOLERANCE.f16 : TOLERANCE.f32;
  let worst: Equivalence = { relativeError: 0, output: '' };
  for (const [name, similarity] of similarities) {
    const found = similarity.result();
    if (integers.has(name)) {
      if (found.equal < EQUAL_SHARE) throw differs(original.file, found, `${found.equal * 100} % equal`, '');
      continue;
    }
    const relativeError = 10 ** (-found.sqnr / 20);
    if (!(relativeError <= tolerance))
      throw differs(original.file, found, relativeError.toExponential(1), String(tolerance));
    if (relativeError >= worst.relativeError) worst = { relativeError, output: name };
  }
  return worst;
}

/** The original ran: that the runtime refuses what was made of it is a fault of the preparation. */
async function openPrepared(
  file: string,
  proto: ModelProto,
  { runtime, threads }: EquivalenceOptions,
): Promise<TappedSession> {
  try {
    return await openTapped(proto, runtime, { threads });
  } catch (error) {
    if (!isWhittleError(error) || error.code !== 'E_RUNTIME') throw error;
    throw new WhittleError('E_VERIFICATION', `the prepared model does not load: ${error.message}`, {
      file,
      found: error.details.found,
      hint: 'Leave the preparation out, and report the model.',
      cause: error,
    });
  }
}

function differs(file: string, { name }: OutputComparison, found: string, tolerance: string): WhittleError {
  return new WhittleError('E_VERIFICATION', 'the prepared model does not compute what the original does', {
    file,
    tensor: name,
    expected: tolerance === '' ? `${EQUAL_SHARE * 100} % equal` : `a relative error of at most ${tolerance}`,
    found,
    hint: 'Leave the preparation out, and report the model: preparations are meant to be exact.',
  });
}

interface RunOfOriginal {
  readonly inputs: Sample['inputs'];
  readonly outputs: ReadonlyMap<string, RuntimeTensor>;
}

async function originalRuns(model: OnnxModel, options: EquivalenceOptions): Promise<RunOfOriginal[]> {
  const { runtime, dataset, threads, signal } = options;
  if (dataset === undefined) {
    const hints = model.proto.graph === undefined ? NO_HINTS : graphHints(model.proto.graph);
    const reference = await runReference(model.file, { ...options, hints, runs: 1, samples: SAMPLES });
    return reference.inputs.map((inputs, i) => ({ inputs, outputs: reference.outputs[i] ?? new Map() }));
  }
  const session = await runtime.load(model.file, { threads });
  try {
    const runs: RunOfOriginal[] = [];
    for await (const { inputs } of dataset.samples()) {
      runs.push({ inputs, outputs: await session.run(inputs, { signal }) });
      if (runs.length >= SAMPLES) break;
    }
    return runs;
  } finally {
    await session.close();
  }
}

function isHalf(model: OnnxModel): boolean {
  return (model.proto.graph?.initializer ?? []).some(({ dataType }) => {
    const dtype = dtypeOfNumber(dataType);
    return dtype === 'f16' || dtype === 'bf16';
  });
}
