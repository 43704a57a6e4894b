/**
 * Every file type for one very model before anything is written: the exact size, and the error that it really makes. A sample of
 * each tensor (pieces of rows, chosen by a seeded generator) is encoded and decoded with the type that the plan gives that
 * tensor; types that several plans share are tried once.
 *
 * The error of a file type is the mean ratio of noise to signal over all weights, every tensor counting by its size. With an
 * importance matrix, the encoders are guided by it as in the real run, and errors count by importance.
 */

import { type GgmlType, ggmlBytes } from '../../core/ggml-types.ts';
import type { RunOptions } from '../../core/progress.ts';
import { createRandom, type Random } from '../../core/random.ts';
import { turn } from '../../core/turn.ts';
import { WhittleError } from '../../errors.ts';
import type { GgufModel, GgufTensor } from '../../formats/gguf/gguf.ts';
import type { Imatrix } from '../../formats/gguf/imatrix-types.ts';
import type { TensorBytes } from '../../formats/layout.ts';
import { type Kernels, selectKernels } from '../../kernels/index.ts';
import type { Task } from '../../numerics/task.ts';
import { FILE_TYPES, type FileType } from '../../planning/gguf/file-types.ts';
import type { PlannedGguf } from '../../planning/gguf/options.ts';
import { perWeight } from './describe.ts';
import { readImportance } from './importance-values.ts';
import type { QuantizeGgufOptions } from './options.ts';
import { planType } from './plan-types.ts';
import { decodeValues, encodeValues, hasValues, prepareTypes, readValues, valueCount } from './values.ts';

export interface SurveyOptions
  extends RunOptions,
    Omit<
      QuantizeGgufOptions,
      | ('to' | 'output' | 'threads' | 'force' | 'measure' | 'resume' | 'journal' | 'sha256' | 'dryRun')
      | ('algorithm' | 'onnx' | 'data' | 'statistics')
    > {
  /** Default: all. */
  readonly to?: readonly string[] | undefined;
  /** Weights in the sample of all tensors together, roughly. Default 1,048,576. */
  readonly sample?: number | undefined;
  readonly seed?: number | undefined;
}

export interface SurveyedType {
  readonly type: FileType['name'];
  /** Exact bytes of the output. */
  readonly bytes: number;
  readonly bitsPerWeight: number;
  /** dB; Infinity where nothing is lost. */
  readonly sqnr: number;
  /** Error in the root mean square, as a share of the weights' own. */
  readonly relativeError: number;
  readonly wantsImatrix: boolean;
  readonly description: string;
}

export interface Survey {
  readonly input: string;
  readonly inputBytes: number;
  readonly weights: number;
  readonly types: readonly SurveyedType[];
  /** Types that this model cannot be written as, with the reason. */
  readonly unsuited: readonly { readonly type: FileType['name']; readonly reason: string }[];
  /** Weights that were encoded and decoded. */
  readonly sampled: number;
  readonly seed: number;
  readonly seconds: number;
}

const DEFAULT_SAMPLE = 1 << 20;
const DEFAULT_SEED = 1;
/** Values of a piece at most: a few super-blocks, so that pieces are spread. */
const PIECE = 1024;
const MOST_PIECES = 64;

/** @throws WhittleError as `planGguf`; a type that does not fit the model is named in `unsuited` */
export async function surveyTypes(
  model: GgufModel,
  imatrix: Imatrix | undefined,
  options: Omit<SurveyOptions, 'imatrix'> = {},
): Promise<Survey> {
  const started = performance.now();
  const { to, sample = DEFAULT_SAMPLE, seed = DEFAULT_SEED, signal, onProgress } = options;
  const wanted = FILE_TYPES.filter(({ name }) => to === undefined || to.includes(name));
  const plans: { readonly type: FileType; readonly plan: PlannedGguf }[] = [];
  const unsuited: { type: FileType['name']; reason: string }[] = [];
  for (const type of wanted) {
    try {
      plans.push({
        type,
        plan: await planType(model, type.name, 'model.gguf', imatrix, { ...options, dryRun: true }),
      });
    } catch (error) {
      if (!(error instanceof WhittleError) || error.code !== 'E_UNSUPPORTED') throw error;
      unsuited.push({ type: type.name, reason: error.message });
    }
  }
  const trials = collectTrials(plans.map(({ plan }) => plan));
  const kernels = await selectKernels();
  const random = createRandom(seed);
  const tensors = model.tensors.filter(({ name, type }) => trials.has(name) && hasValues(type));
  const each = sample / Math.max(1, tensors.length);
  const noises = new Map<string, ReadonlyMap<GgmlType, number>>();
  let sampled = 0;
  for (const [index, tensor] of tensors.entries()) {
    if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
    const places = choosePieces(tensor, each, random);
    sampled += places.length * pieceLength(tensor);
    const trial = trials.get(tensor.name);
    if (trial !== undefined) noises.set(tensor.name, await measure(tensor, places, trial, kernels));
    onProgress?.({
      phase: 'trying types',
      bytesDone: index + 1,
      bytesTotal: tensors.length,
      tensor: tensor.name,
    });
    await turn();
  }
  return {
    input: model.file,
    inputBytes: model.bytes,
    weights: model.tensors.reduce((sum, tensor) => sum + valueCount(tensor), 0),
    types: plans.map(({ type, plan }) => surveyed(type, plan, noises)),
    unsuited,
    sampled,
    seed,
    seconds: (performance.now() - started) / 1000,
  };
}

/** What is tried on one tensor: every type that some plan gives it, guided as a task of those plans is. */
interface Trial {
  readonly types: Set<GgmlType>;
  readonly task: Task<TensorBytes>;
}

function collectTrials(plans: readonly PlannedGguf[]): Map<string, Trial> {
  const trials = new Map<string, Trial>();
  for (const { tensors, tasks } of plans) {
    for (const { source, task: id, to } of tensors) {
      const task = id === undefined ? undefined : tasks[id];
      if (task === undefined) continue;
      const known = trials.get(source);
      if (known === undefined) trials.set(source, { types: new Set([to]), task });
      else known.types.add(to);
    }
  }
  return trials;
}

function surveyed(
  { name: type, description }: FileType,
  plan: PlannedGguf,
  noises: ReadonlyMap<string, ReadonlyMap<GgmlType, number>>,
): SurveyedType {
  let [weights, tensorBytes, noise] = [0, 0, 0];
  for (const { source, shape, to, toBytes, task } of plan.tensors) {
    const count = valueCount({ shape });
    weights += count;
    tensorBytes += toBytes;
    if (task !== undefined) noise += count * (noises.get(source)?.get(to) ?? 0);
  }
  const share = weights === 0 ? 0 : noise / weights;
  return {
    type,
    bytes: plan.files.reduce((sum, { size }) => sum + size, 0),
    bitsPerWeight: perWeight(tensorBytes, weights),
    sqnr: share === 0 ? Number.POSITIVE_INFINITY : -10 * Math.log10(share),
    relativeError: Math.sqrt(share),
    wantsImatrix: plan.wantsImatrix,
    description,
  };
}

/** Whole super-blocks of a row; rows that have no such parts are taken whole. */
function pieceLength({ shape }: GgufTensor): number {
  const columns = shape[0] ?? 1;
  if (columns <= PIECE || columns % 256 !== 0) return columns;
  return columns % PIECE === 0 ? PIECE : 256;
}

/** Starts of pieces, in order, none twice. */
function choosePieces(tensor: GgufTensor, weights: number, random: Random): number[] {
  const length = pieceLength(tensor);
  const all = Math.floor(valueCount(tensor) / length);
  const wanted = Math.min(all, Math.max(2, Math.min(MOST_PIECES, Math.round(weights / length))));
  const chosen = new Set<number>();
  // Floyd's way to a sample without repetition.
  for (let last = all - wanted; last < all; last++) {
    const candidate = Math.floor(random.uniform() * (last + 1));
    chosen.add(chosen.has(candidate) ? last : candidate);
  }
  return [...chosen].sort((a, b) => a - b).map((piece) => piece * length);
}

/** Ratio of noise to signal of each type on the sample. */
async function measure(
  tensor: GgufTensor,
  places: readonly number[],
  { types, task }: Trial,
  kernels: Kernels,
): Promise<Map<GgmlType, number>> {
  await prepareTypes(kernels, [tensor.type, ...types]);
  const length = pieceLength(tensor);
  const largest = Math.max(
    ggmlBytes(tensor.type, length),
    ...[...types].map((type) => ggmlBytes(type, length)),
  );
  const arena = kernels.arena(length * 16 + largest + 256);
  const [values, restored, weights] = [arena.f32(length), arena.f32(length), arena.f32(length)];
  const raw = arena.u8(largest);
  const sums = new Map([...types].map((type) => [type, { noise: 0, signal: 0 }]));
  for (const place of places) {
    await readValues(tensor, place, raw, values, kernels);
    // Values that are not finite end the real run; here they would hide all others.
    if (kernels.range(values).nonFinite > 0) continue;
    const guided = await readImportance(task, place, weights);
    for (const [type, sum] of sums) {
      if (!guided) weights.fill(1);
      const given = guided || GUIDED_ONLY.has(type) ? weights : undefined;
      const bytes = raw.subarray(0, ggmlBytes(type, length));
      encodeValues(kernels, type, values, length, given, bytes);
      decodeValues(kernels, type, bytes, restored);
      addWeighted(sum, values, restored, guided ? weights : undefined);
    }
  }
  return new Map([...sums].map(([type, { noise, signal }]) => [type, signal === 0 ? 0 : noise / signal]));
}

/** Types that are not written without an importance matrix. Where there is none, all columns count the same. */
const GUIDED_ONLY: ReadonlySet<GgmlType> = new Set([
  'iq3_xxs',
  'iq2_s',
  'iq2_xs',
  'iq2_xxs',
  'iq1_m',
  'iq1_s',
]);

function addWeighted(
  sum: { noise: number; signal: number },
  values: Float32Array,
  restored: Float32Array,
  weights: Float32Array | undefined,
): void {
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    const error = value - restored[i]!;
    const weight = weights === undefined ? 1 : weights[i]!;
    sum.noise += weight * error * error;
    sum.signal += weight * value * value;
  }
}
