/**
 * A JavaScript module whose default export yields batches: an array of them, or a function that returns an iterable or
 * asynchronous iterable. The function is called anew for each walk, with `{ inputs, seed }`, and must yield the same each time. A batch
 * is an object of input name → typed array (of a shape that follows from the model's), or `{ data, shape, type? }`, with a member `label` or
 * `labels` where there are any. A module is code that the user names; it is run.
 */

import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { DType } from '../../core/dtype.ts';
import { DTYPES } from '../../core/dtype.ts';
import { elementCount } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import type { RuntimeTensor, RuntimeValueInfo } from '../../runtime/runtime.ts';
import { checkLabels, isLabel, withFile } from './array-rows.ts';
import type { DatasetOptions } from './data-spec.ts';
import type { Dataset, Sample } from './dataset.ts';
import { jsonTensor } from './json-tensor.ts';
import { isRecord } from './read-text.ts';
import { fitRow, idBounds, sampleLimit, sampleOf, unknownInput } from './rows.ts';

/** Of typed arrays; Uint16Array may hold float16, which `type: 'f16'` says. */
const ARRAY_TYPES: Readonly<Record<string, DType>> = {
  Float32Array: 'f32',
  Float64Array: 'f64',
  BigInt64Array: 'int64',
  BigUint64Array: 'uint64',
  Int32Array: 'int32',
  Uint32Array: 'uint32',
  Int16Array: 'int16',
  Uint16Array: 'uint16',
  Int8Array: 'int8',
  Uint8Array: 'uint8',
};
/** Names of onnxruntime for the types, beside ours. */
const ENGINE_TYPES: Readonly<Record<string, DType>> = { float32: 'f32', float64: 'f64', float16: 'f16' };

/** @throws WhittleError E_DATA where the module yields no batches that fit, E_EMPTY, E_NOT_FOUND; what the module throws is its cause */
export async function moduleDataset(
  file: string,
  inputs: readonly RuntimeValueInfo[],
  options: DatasetOptions,
): Promise<Dataset> {
  await withFile(file, async () => undefined);
  const produce = await load(file);
  const limit = sampleLimit(options);
  const seed = options.seed ?? 1;
  const walk = async function* (): AsyncGenerator<Sample> {
    let index = 0;
    for await (const batch of iterate(file, produce, inputs, seed)) {
      if (options.signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped');
      yield sampleFrom(batch, file, index, inputs, options);
      if (++index >= limit) return;
    }
  };
  // The first walk counts, and finds what does not fit before any model runs.
  let count = 0;
  for await (const _ of walk()) count++;
  if (count === 0) throw new WhittleError('E_EMPTY', 'the module yields no batch', { file });
  const name = file.split(/[\\/]/).at(-1) ?? file;
  return {
    count,
    description: `${count} ${count === 1 ? 'batch' : 'batches'} of ${name}`,
    synthetic: false,
    notes:
      typeof options.samples === 'number' && count < options.samples
        ? [`The module yields ${count} of the ${options.samples} batches that were asked for.`]
        : [],
    samples: walk,
  };
}

async function load(file: string): Promise<unknown> {
  let module: unknown;
  try {
    module = await import(pathToFileURL(resolve(file)).href);
  } catch (cause) {
    throw failed(file, 'the module cannot be loaded', cause);
  }
  const produce =
    typeof module === 'object' && module !== null && 'default' in module ? module.default : undefined;
  if (typeof produce === 'function' || Array.isArray(produce)) return produce;
  throw new WhittleError('E_DATA', 'the module exports no batches', {
    file,
    expected: 'export default: an array of batches, or a function that returns or yields them',
    found: produce === undefined ? 'no default export' : typeof produce,
    hint: 'For example: export default async function* ({ inputs, seed }) { yield { x: { data, shape } }; }',
  });
}

async function* iterate(
  file: string,
  produce: unknown,
  inputs: readonly RuntimeValueInfo[],
  seed: number,
): AsyncGenerator<unknown> {
  try {
    const result: unknown =
      typeof produce === 'function' ? await Reflect.apply(produce, undefined, [{ inputs, seed }]) : produce;
    if (isIterable(result)) yield* result;
    else if (isAsyncIterable(result)) yield* result;
    else {
      throw new WhittleError('E_DATA', "the module's function returns nothing that yields batches", {
        file,
        found: typeof result,
      });
    }
  } catch (cause) {
    throw cause instanceof WhittleError ? cause : failed(file, 'the module failed', cause);
  }
}

function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value;
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

function failed(file: string, message: string, cause: unknown): WhittleError {
  return new WhittleError('E_DATA', message, {
    file,
    found: cause instanceof Error ? cause.message : String(cause),
    cause,
  });
}

function sampleFrom(
  batch: unknown,
  file: string,
  index: number,
  inputs: readonly RuntimeValueInfo[],
  options: DatasetOptions,
): Sample {
  const where = `batch ${index + 1}`;
  if (!isRecord(batch)) {
    throw new WhittleError('E_DATA', `${where} is no object of inputs`, { file, found: typeof batch });
  }
  try {
    const values = new Map<string, RuntimeTensor>();
    let labels: number[] = [];
    for (const [name, value] of Object.entries(batch)) {
      const info = inputs.find((input) => input.name === name);
      if (info !== undefined) values.set(name, tensorFrom(value, info, where));
      else if (isLabel(name, inputs)) labels = checkLabels([value].flat(), file);
      else throw unknownInput(name, inputs, where);
    }
    const fitted = fitRow(values, { inputs, bounds: idBounds(inputs, options), where });
    return sampleOf(fitted, labels, inputs, options);
  } catch (error) {
    throw error instanceof WhittleError ? error.with({ file }) : error;
  }
}

function tensorFrom(value: unknown, info: RuntimeValueInfo, where: string): RuntimeTensor {
  if (ArrayBuffer.isView(value) || Array.isArray(value)) {
    return ArrayBuffer.isView(value)
      ? typed(value, undefined, info, undefined, where)
      : jsonTensor(value, 'f64');
  }
  if (!isRecord(value) || !('data' in value)) {
    throw new WhittleError('E_DATA', `${info.name} is neither an array nor { data, shape } (${where})`, {
      tensor: info.name,
      found: typeof value,
    });
  }
  const shape = checkShape(value.shape ?? value.dims, info, where);
  const { data, type } = value;
  if (ArrayBuffer.isView(data)) return typed(data, type, info, shape, where);
  const flat = jsonTensor(data, 'f64');
  if (shape === undefined) return flat;
  if (elementCount(shape) !== elementCount(flat.shape)) {
    throw new WhittleError('E_SHAPE', `the data does not fill its shape (${where})`, {
      tensor: info.name,
      expected: shape.join('×'),
      found: flat.shape.join('×'),
    });
  }
  return { ...flat, shape };
}

function checkShape(value: unknown, info: RuntimeValueInfo, where: string): number[] | undefined {
  if (value === undefined) return undefined;
  const dims = Array.isArray(value)
    ? value.filter((dim): dim is number => Number.isSafeInteger(dim) && dim >= 0)
    : [];
  if (Array.isArray(value) && dims.length === value.length) return dims;
  throw new WhittleError('E_SHAPE', `the shape of ${info.name} is no list of sizes (${where})`, {
    tensor: info.name,
    found: JSON.stringify(value)?.slice(0, 80),
  });
}

function typed(
  view: ArrayBufferView,
  type: unknown,
  info: RuntimeValueInfo,
  shape: number[] | undefined,
  where: string,
): RuntimeTensor {
  const own = ARRAY_TYPES[Object.prototype.toString.call(view).slice(8, -1)];
  const named = typeof type === 'string' ? (ENGINE_TYPES[type] ?? (isDType(type) ? type : undefined)) : own;
  if (named === undefined) {
    throw new WhittleError('E_DTYPE', `the type of ${info.name} is not known (${where})`, {
      tensor: info.name,
      expected: Object.keys(ARRAY_TYPES).join(', '),
      found: type === undefined ? Object.prototype.toString.call(view) : String(type),
    });
  }
  // A copy: the module may fill the same array again.
  const data = new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice();
  const count = (data.length * 8) / DTYPES[named].bits;
  return { dtype: named, shape: shape ?? openShape(info, count, where), data };
}

function isDType(name: string): name is DType {
  return Object.hasOwn(DTYPES, name);
}

/** The shape of a bare array: the one open dimension takes what is left, further open ones before it are 1. */
function openShape(info: RuntimeValueInfo, count: number, where: string): number[] {
  const open = info.shape.flatMap((dim, index) => (typeof dim === 'number' ? [] : [index]));
  const known = info.shape.reduce<number>((product, dim) => product * (typeof dim === 'number' ? dim : 1), 1);
  const size = count / known;
  const last = open.at(-1);
  if (!Number.isInteger(size) || (last === undefined && size !== 1)) {
    throw new WhittleError(
      'E_SHAPE',
      `the shape of ${info.name} does not follow from its length (${where})`,
      {
        tensor: info.name,
        expected: info.shape.map((dim) => dim ?? '?').join('×'),
        found: `${count} elements`,
        hint: 'Yield { data, shape }.',
      },
    );
  }
  return info.shape.map((dim, index) => (typeof dim === 'number' ? dim : index === last ? size : 1));
}
