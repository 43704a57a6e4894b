/**
 * The proof that a written model works: original and result run on the same inputs in a real runtime, and their outputs and
 * times are compared. The original runs once for any number of results; its session is closed before a result is loaded, so
 * that no two models are in memory at once. Times are medians after a warm-up run, taken in the same way on both sides.
 */

import { type InputHints, NO_HINTS } from '../calibration/data/graph-hints.ts';
import { readInputFile } from '../calibration/data/input-files.ts';
import { inputScenarios, type Scenario } from '../calibration/data/input-shapes.ts';
import { synthesizeValues } from '../calibration/data/input-values.ts';
import { tensorValues } from '../calibration/data/tensor-values.ts';
import type { RunOptions } from '../core/progress.ts';
import { elementCount, formatShape, type Shape } from '../core/shape.ts';
import { WhittleError } from '../errors.ts';
import type { Runtime, RuntimeSession, RuntimeTensor } from '../runtime/runtime.ts';
import { createSimilarity, type OutputComparison, type SimilarityAccumulator } from './similarity.ts';

export interface ProofOptions extends RunOptions {
  readonly runtime: Runtime;
  /** Timed runs of each model, at least; the median counts. Default 5. */
  readonly runs?: number | undefined;
  /** Different synthetic inputs that the outputs are compared on. Default 3; 1 where every input is given. */
  readonly samples?: number | undefined;
  readonly seed?: number | undefined;
  readonly threads?: number | undefined;
  /** What the graph tells of its inputs; see graphHints. */
  readonly hints?: InputHints | undefined;
  /** Input name → shape, for inputs with open dimensions. */
  readonly shapes?: Readonly<Record<string, Shape>> | undefined;
  /** Input name → file with its value. */
  readonly inputs?: Readonly<Record<string, string>> | undefined;
}

/** What the original did, with everything that is needed to run a result on the same inputs. */
export interface Reference {
  readonly file: string;
  readonly runtime: string;
  readonly runtimeVersion: string;
  readonly inputs: readonly ReadonlyMap<string, RuntimeTensor>[];
  readonly outputs: readonly ReadonlyMap<string, RuntimeTensor>[];
  /** Median milliseconds of one run. */
  readonly ms: number;
  /** How the inputs came about, for people. */
  readonly description: string;
}

export interface Proof {
  readonly runtime: string;
  readonly runtimeVersion: string;
  readonly outputs: readonly OutputComparison[];
  /** The worst of the outputs of float type (of all outputs where none is). */
  readonly cosine: number;
  readonly sqnr: number;
  readonly msOriginal: number;
  readonly msResult: number;
  readonly inputs: string;
}

const DEFAULT_RUNS = 5;
const DEFAULT_SAMPLES = 3;
/** A model that needs 0.1 ms is timed more often than asked, one that needs seconds less often. */
const MIN_TIMED_MS = 60;
const MAX_TIMED_MS = 2000;
const MAX_TIMED_RUNS = 500;
/** Scenarios that run but tell nothing: some models answer a constant whatever they are given. */
const MAX_SILENT = 4;

/** Runs the original. E_RUNTIME where it does not load, or where no inputs were found that it accepts. */
export async function runReference(file: string, options: ProofOptions): Promise<Reference> {
  const { runtime, hints = NO_HINTS, seed = 1 } = options;
  const runtimeVersion = await runtime.version();
  const session = await runtime.load(file, { threads: options.threads });
  try {
    const { given, shapes } = await givenInputs(session, options);
    const scenarios = inputScenarios(session.inputs, hints, shapes);
    const accepted = await firstAccepted(file, session, scenarios, given, hints, seed, options);
    const allGiven = session.inputs.every(({ name }) => given.has(name));
    const samples = allGiven ? 1 : (options.samples ?? DEFAULT_SAMPLES);
    const inputs = [accepted.inputs];
    const outputs = [accepted.outputs];
    for (let sample = 1; sample < samples; sample++) {
      const values = synthesizeValues(session.inputs, accepted.scenario, hints, seed + sample, given);
      // Made-up values may be refused where the first were not (lengths, thresholds): the first sample is proof enough.
      const result = await attempt(session, values, options);
      if (result instanceof Error) break;
      inputs.push(values);
      outputs.push(result);
    }
    const ms = await medianTime(session, accepted.inputs, options);
    return {
      file,
      runtime: runtime.name,
      runtimeVersion,
      inputs,
      outputs,
      ms,
      description: describe(accepted.inputs, given, inputs.length),
    };
  } finally {
    await session.close();
  }
}

/** Runs a result on the reference's inputs. E_RUNTIME where it does not load or run, E_VERIFICATION where outputs are broken. */
export async function proveAgainst(
  reference: Reference,
  file: string,
  options: ProofOptions,
): Promise<Proof> {
  const session = await options.runtime.load(file, { threads: options.threads });
  try {
    const similarities = new Map<string, SimilarityAccumulator>();
    for (const [index, inputs] of reference.inputs.entries()) {
      const expected = reference.outputs[index]!;
      const outputs = await session.run(inputs, options);
      for (const [name, original] of expected) {
        const result = outputs.get(name);
        if (result === undefined) {
          throw new WhittleError('E_VERIFICATION', `output ${name} of the original is gone`, {
            file,
            tensor: name,
          });
        }
        if (original.dtype === 'string') continue;
        const similarity = similarities.get(name) ?? createSimilarity(name);
        similarities.set(name, similarity);
        try {
          similarity.add(original, result);
        } catch (error) {
          throw error instanceof WhittleError ? error.with({ file }) : error;
        }
      }
    }
    const compared = [...similarities.values()].map((similarity) => similarity.result());
    const floats = compared.filter(({ name }) => isFloat(reference.outputs[0]?.get(name)));
    const judged = floats.length > 0 ? floats : compared;
    return {
      runtime: reference.runtime,
      runtimeVersion: reference.runtimeVersion,
      outputs: compared,
      cosine: Math.min(1, ...judged.map(({ cosine }) => cosine)),
      sqnr: Math.min(Infinity, ...judged.map(({ sqnr }) => sqnr)),
      msOriginal: reference.ms,
      msResult: await medianTime(session, reference.inputs[0]!, options),
      inputs: reference.description,
    };
  } finally {
    await session.close();
  }
}

/** Original against one result. */
export async function proveModel(original: string, result: string, options: ProofOptions): Promise<Proof> {
  return proveAgainst(await runReference(original, options), result, options);
}

function isFloat(tensor: RuntimeTensor | undefined): boolean {
  return tensor !== undefined && /^b?f\d/.test(tensor.dtype);
}

async function givenInputs(
  session: RuntimeSession,
  options: ProofOptions,
): Promise<{ given: Map<string, RuntimeTensor>; shapes: Record<string, Shape> }> {
  const given = new Map<string, RuntimeTensor>();
  const shapes: Record<string, Shape> = Object.assign(Object.create(null), options.shapes);
  for (const [name, file] of Object.entries(options.inputs ?? {})) {
    const info = session.inputs.find((input) => input.name === name);
    if (info === undefined) {
      throw new WhittleError('E_USAGE', `the model has no input named ${name}`, {
        expected: `one of ${session.inputs.map((input) => input.name).join(', ')}`,
      });
    }
    const tensor = await readInputFile(file, info, shapes[name]);
    given.set(name, tensor);
    shapes[name] = tensor.shape;
  }
  return { given, shapes };
}

interface Accepted {
  readonly scenario: Scenario;
  readonly inputs: Map<string, RuntimeTensor>;
  readonly outputs: Map<string, RuntimeTensor>;
}

/** The first scenario that the original answers with finite outputs that tell something; failing that, the first that it runs at all. */
async function firstAccepted(
  file: string,
  session: RuntimeSession,
  scenarios: readonly Scenario[],
  given: ReadonlyMap<string, RuntimeTensor>,
  hints: InputHints,
  seed: number,
  options: ProofOptions,
): Promise<Accepted> {
  let fallback: Accepted | undefined;
  let firstError: Error | undefined;
  let silent = 0;
  for (const scenario of scenarios) {
    const inputs = synthesizeValues(session.inputs, scenario, hints, seed, given);
    const outputs = await attempt(session, inputs, options);
    if (outputs instanceof Error) {
      firstError ??= outputs;
      continue;
    }
    const accepted = { scenario, inputs, outputs };
    if ([...outputs.values()].every(isAllFinite) && [...outputs.values()].some(varies)) return accepted;
    fallback ??= accepted;
    if (++silent >= MAX_SILENT) break;
  }
  if (fallback !== undefined) return fallback;
  const found = firstError instanceof WhittleError ? firstError.details.found : firstError?.message;
  throw new WhittleError('E_RUNTIME', 'no inputs were found that the original model accepts', {
    file,
    expected: session.inputs
      .map(({ name, dtype, shape }) => `${name} ${dtype} ${shape.map((dim) => dim ?? '?').join('×')}`)
      .join(', '),
    found,
    hint: 'give a shape (--shape name=1,3,224,224) or a real input (--input name=file.npy), or leave the proof out (--no-verify)',
    cause: firstError,
  });
}

/** Outputs, or the runtime's refusal; an abort passes through. */
async function attempt(
  session: RuntimeSession,
  inputs: ReadonlyMap<string, RuntimeTensor>,
  options: ProofOptions,
): Promise<Map<string, RuntimeTensor> | WhittleError> {
  try {
    return await session.run(inputs, options);
  } catch (error) {
    if (error instanceof WhittleError && error.code === 'E_RUNTIME') return error;
    throw error;
  }
}

/** Has elements, all of them finite: an empty or overflowing output proves little. */
function isAllFinite(tensor: RuntimeTensor): boolean {
  if (tensor.dtype === 'string') return true;
  const count = elementCount(tensor.shape);
  return count !== undefined && count > 0 && tensorValues(tensor).every(Number.isFinite);
}

/** Not the same everywhere (a detector that sees nothing answers zeros), or a single number. */
function varies(tensor: RuntimeTensor): boolean {
  if (tensor.dtype === 'string') return false;
  const values = tensorValues(tensor);
  return values.length === 1 || values.some((value) => value !== values[0]);
}

async function medianTime(
  session: RuntimeSession,
  inputs: ReadonlyMap<string, RuntimeTensor>,
  options: ProofOptions,
): Promise<number> {
  const runs = Math.max(1, options.runs ?? DEFAULT_RUNS);
  await session.run(inputs, options);
  const times: number[] = [];
  const start = performance.now();
  for (;;) {
    const before = performance.now();
    await session.run(inputs, options);
    const now = performance.now();
    times.push(now - before);
    const elapsed = now - start;
    if (times.length >= MAX_TIMED_RUNS || elapsed > MAX_TIMED_MS) break;
    if (times.length >= runs && elapsed >= MIN_TIMED_MS) break;
  }
  times.sort((a, b) => a - b);
  const middle = times.length >> 1;
  return times.length % 2 === 1 ? times[middle]! : (times[middle - 1]! + times[middle]!) / 2;
}

function describe(
  inputs: ReadonlyMap<string, RuntimeTensor>,
  given: ReadonlyMap<string, RuntimeTensor>,
  samples: number,
): string {
  const names = [...inputs].map(([name, { shape }]) => `${name} ${formatShape(shape)}`);
  const shown = names.length > 4 ? [...names.slice(0, 3), `and ${names.length - 3} more`] : names;
  const origin =
    given.size === 0
      ? 'synthetic, seeded'
      : given.size === inputs.size
        ? 'given'
        : `${given.size} given, others synthetic`;
  return `${shown.join(', ')} (${origin}${samples > 1 ? `, ${samples} samples` : ''})`;
}
