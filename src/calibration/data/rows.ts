/**
 * From rows to samples: every source but a module and made-up inputs is a list of rows that can be read by number. Here rows
 * are chosen (seeded, in ascending order, so that files are read forwards), checked, put together to batches and completed.
 */

import { byteLength } from '../../core/dtype.ts';
import { nearest } from '../../core/nearest.ts';
import { createRandom } from '../../core/random.ts';
import { elementCount, formatShape } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import type { RuntimeTensor, RuntimeValueInfo } from '../../runtime/runtime.ts';
import { batchAxis, completeInputs, describeInput, isDerived } from './complete-inputs.ts';
import { type DatasetOptions, DEFAULT_SAMPLES } from './data-spec.ts';
import type { Dataset, Sample } from './dataset.ts';
import { checkBatch, type FitContext, fitValue } from './fit-value.ts';
import { NO_HINTS } from './graph-hints.ts';

export interface Row {
  /** Input → its value, with the dimension of the batch or without. */
  readonly values: ReadonlyMap<string, RuntimeTensor>;
  readonly label?: number | undefined;
}

export interface RowSource {
  /** As the user named it. */
  readonly file: string;
  readonly count: number;
  /** There are more, which were not counted. */
  readonly partial?: boolean | undefined;
  /** What one row is, for people: "row", "window of 256 tokens". */
  readonly unit: string;
  readonly notes: readonly string[];
  /** Where `start` is not given. */
  readonly start: 'head' | 'random';
  read(index: number): Promise<Row>;
}

/** Rows of one run, where the model or the user fixes it. @throws WhittleError E_USAGE where the two contradict. */
export function batchSize(inputs: readonly RuntimeValueInfo[], options: DatasetOptions): number {
  const asked = options.batch;
  checkPositive('batch', asked);
  for (const input of inputs) {
    if (isDerived(input)) continue;
    const axis = batchAxis(input, inputs);
    const size = axis === undefined ? null : input.shape[axis];
    // A first dimension that is fixed and not small is a vector's length, not a batch.
    if (typeof size !== 'number' || input.shape.length < 2) continue;
    if (asked !== undefined && asked !== size) {
      throw new WhittleError('E_USAGE', `the model takes ${size} ${size === 1 ? 'row' : 'rows'} at a time`, {
        tensor: input.name,
        expected: describeInput(input),
        found: `a batch of ${asked}`,
      });
    }
    return size;
  }
  return asked ?? 1;
}

/** @throws WhittleError E_USAGE where a number that the user gave is no whole number from 1. */
export function checkPositive(name: string, value: number | undefined): void {
  if (value === undefined || (Number.isSafeInteger(value) && value > 0)) return;
  throw new WhittleError('E_USAGE', `${name} is not a number of things`, {
    expected: 'a whole number from 1',
    found: String(value),
  });
}

/** Upper limit of the number of rows. @throws WhittleError E_USAGE */
export function sampleLimit({ samples = DEFAULT_SAMPLES }: DatasetOptions): number {
  if (samples === 'all') return Number.POSITIVE_INFINITY;
  checkPositive('samples', samples);
  return samples;
}

/** `count` of `total` row numbers, ascending: the first ones, or a seeded choice in which every set is as likely. */
export function chooseRows(total: number, count: number, start: 'head' | 'random', seed: number): number[] {
  if (start === 'head' || count >= total) return Array.from({ length: Math.min(count, total) }, (_, i) => i);
  // Floyd (Bentley and Floyd 1987, "A sample of brilliance"): as many draws as rows wanted.
  const random = createRandom(seed);
  const chosen = new Set<number>();
  for (let last = total - count; last < total; last++) {
    const draw = Math.floor(random.uniform() * (last + 1));
    chosen.add(chosen.has(draw) ? last : draw);
  }
  return [...chosen].sort((a, b) => a - b);
}

/**
 * @throws WhittleError E_EMPTY where there is no row, E_DATA where there are fewer than the model's fixed batch; while it is walked
 * what a row is refused for: E_SHAPE, E_DTYPE, E_NONFINITE, E_DATA, and what reading it raises.
 */
export function rowsDataset(
  source: RowSource,
  inputs: readonly RuntimeValueInfo[],
  options: DatasetOptions,
): Dataset {
  const { file } = source;
  const limit = sampleLimit(options);
  const batch = batchSize(inputs, options);
  if (source.count === 0) {
    throw new WhittleError('E_EMPTY', 'the data holds no sample', {
      file,
      hint: 'Give data with some rows.',
    });
  }
  const notes = [...source.notes];
  const start = options.start ?? source.start;
  const wanted = Math.min(source.count, limit);
  const whole = isBatchFixed(inputs) ? wanted - (wanted % batch) : wanted;
  if (whole === 0) {
    throw new WhittleError('E_DATA', 'the data holds less than one batch of the model', {
      file,
      expected: `at least ${batch} rows`,
      found: `${wanted}`,
    });
  }
  if (whole < wanted)
    notes.push(`The last ${wanted - whole} of ${wanted} are left out: the model takes ${batch} at a time.`);
  if (Number.isFinite(limit) && source.count < limit && typeof options.samples === 'number') {
    notes.push(`The data holds ${source.count} of the ${limit} samples that were asked for.`);
  }
  const chosen = chooseRows(source.count, whole, start, options.seed ?? 1);
  const context = { inputs, bounds: idBounds(inputs, options), part: true };
  return {
    count: Math.ceil(chosen.length / batch),
    description: describe(source, chosen.length, start),
    synthetic: false,
    notes,
    async *samples() {
      for (let at = 0; at < chosen.length; at += batch) {
        if (options.signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped');
        yield await readBatch(source, chosen.slice(at, at + batch), context, options);
      }
    },
  };
}

function isBatchFixed(inputs: readonly RuntimeValueInfo[]): boolean {
  return batchSize(inputs, {}) !== 1;
}

function describe(
  { unit, file, count, partial }: RowSource,
  chosen: number,
  start: 'head' | 'random',
): string {
  const name = file.split(/[\\/]/).filter(Boolean).at(-1) ?? file;
  const plural = chosen === 1 ? unit : unit.replace(/^[a-z]+/, '$&s');
  if (chosen === count && partial !== true) return `${chosen} ${plural} of ${name}`;
  return `${start === 'head' ? 'the first ' : ''}${chosen}${partial ? '' : ` of ${count}`} ${plural} of ${name}`;
}

/** Input → ids must stay below: what the caller knows of the vocabulary, else what the graph shows. */
export function idBounds(
  inputs: readonly RuntimeValueInfo[],
  options: DatasetOptions,
): ReadonlyMap<string, number> {
  const bounds = new Map(options.hints?.indexBound);
  const { vocabulary } = options;
  if (vocabulary !== undefined) {
    for (const { name } of inputs) if (/(^|_)input_ids$/i.test(name)) bounds.set(name, vocabulary);
  }
  return bounds;
}

type Fit = Omit<FitContext, 'where'>;

async function readBatch(
  source: RowSource,
  indices: readonly number[],
  fit: Fit,
  options: DatasetOptions,
): Promise<Sample> {
  const rows: Map<string, RuntimeTensor>[] = [];
  const labels: number[] = [];
  for (const index of indices) {
    const { values, label } = await source.read(index);
    const where = `${source.unit.replace(/ .*/, '')} ${index + 1}`;
    try {
      rows.push(fitRow(values, { ...fit, where }));
    } catch (error) {
      throw error instanceof WhittleError ? error.with({ file: source.file }) : error;
    }
    if (label !== undefined) labels.push(label);
  }
  try {
    return sampleOf(joinRows(rows, fit.inputs), labels, fit.inputs, options);
  } catch (error) {
    throw error instanceof WhittleError ? error.with({ file: source.file }) : error;
  }
}

/** Labels count only where every row has one. */
export function sampleOf(
  values: ReadonlyMap<string, RuntimeTensor>,
  labels: readonly number[],
  inputs: readonly RuntimeValueInfo[],
  options: DatasetOptions,
): Sample {
  const complete = completeInputs(inputs, values, options.hints ?? NO_HINTS);
  return labels.length > 0 ? { inputs: complete, labels } : { inputs: complete };
}

/** Every value checked; a name that the model does not know is E_DATA with the nearest that it does. */
export function fitRow(
  values: ReadonlyMap<string, RuntimeTensor>,
  context: FitContext,
): Map<string, RuntimeTensor> {
  const fitted = new Map<string, RuntimeTensor>();
  for (const [name, tensor] of values) {
    const info = context.inputs.find((input) => input.name === name);
    if (info === undefined) throw unknownInput(name, context.inputs, context.where);
    fitted.set(name, fitValue(tensor, info, context));
  }
  return fitted;
}

export function unknownInput(
  name: string,
  inputs: readonly RuntimeValueInfo[],
  where?: string,
): WhittleError {
  const near = nearest(
    name,
    inputs.map((input) => input.name),
  );
  return new WhittleError(
    'E_DATA',
    `the model has no input named ${name}${where === undefined ? '' : ` (${where})`}`,
    {
      expected: inputs
        .filter((input) => !isDerived(input))
        .map(describeInput)
        .join(', '),
      found: name,
      hint: near === undefined ? 'Name the data as the model names its inputs.' : `Did you mean ${near}?`,
    },
  );
}

/** Rows behind each other along the dimension of the batch. */
function joinRows(
  rows: readonly ReadonlyMap<string, RuntimeTensor>[],
  inputs: readonly RuntimeValueInfo[],
): ReadonlyMap<string, RuntimeTensor> {
  const [first] = rows;
  if (first === undefined) return new Map();
  const joined = new Map<string, RuntimeTensor>();
  for (const [name, value] of first) {
    const info = inputs.find((input) => input.name === name);
    const axis = info === undefined ? undefined : batchAxis(info, inputs);
    const parts = rows.map((row) => row.get(name) ?? value);
    if (rows.some((row) => row.size !== first.size || !row.has(name))) {
      throw new WhittleError('E_DATA', `some rows of a batch lack ${name}`, { tensor: name });
    }
    const whole = axis === undefined || parts.length === 1 ? value : concatenate(name, parts, axis);
    if (info !== undefined) checkBatch(whole, info);
    joined.set(name, whole);
  }
  return joined;
}

function concatenate(name: string, parts: readonly RuntimeTensor[], axis: number): RuntimeTensor {
  const [first] = parts;
  if (first === undefined) throw new WhittleError('E_EMPTY', `a batch of ${name} has no rows`);
  const { dtype, shape } = first;
  const rest = (s: readonly number[]): string => formatShape(s.toSpliced(axis, 1));
  const other = parts.find((part) => rest(part.shape) !== rest(shape));
  if (other !== undefined) {
    throw new WhittleError('E_SHAPE', 'rows of different shapes cannot share a batch', {
      tensor: name,
      expected: formatShape(shape),
      found: formatShape(other.shape),
      hint: 'Use a batch of 1, or pad the rows.',
    });
  }
  const size = parts.reduce((sum, part) => sum + (part.shape[axis] ?? 1), 0);
  const outer = elementCount(shape.slice(0, axis)) ?? 1;
  const inner = byteLength(dtype, elementCount(shape.slice(axis + 1)) ?? 1);
  const data = new Uint8Array(outer * size * inner);
  let at = 0;
  for (let o = 0; o < outer; o++) {
    for (const part of parts) {
      const length = (part.shape[axis] ?? 1) * inner;
      data.set(part.data.subarray(o * length, (o + 1) * length), at);
      at += length;
    }
  }
  return { dtype, shape: shape.with(axis, size), data };
}
