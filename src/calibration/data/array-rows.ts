/**
 * Arrays keyed by input name, whose first axis counts the samples: .npy (one for each input), .npz and .safetensors. Rows are read
 * from the file when they are wanted; only compressed members of an .npz are held in memory.
 */

import { byteLength, type DType } from '../../core/dtype.ts';
import { nearest } from '../../core/nearest.ts';
import { elementCount, formatShape, type Shape } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import { openFile } from '../../io/file-source.ts';
import type { ByteSource } from '../../io/source.ts';
import type { RuntimeTensor, RuntimeValueInfo } from '../../runtime/runtime.ts';
import { describeInput, isDerived } from './complete-inputs.ts';
import type { NpySpec } from './data-spec.ts';
import { MAX_NPY_HEADER, NPY_PREFIX, parseNpyHeader } from './npy.ts';
import { type Row, type RowSource, unknownInput } from './rows.ts';
import { tensorValues } from './tensor-values.ts';

/** An array in a file, or in memory where `bytes` is there. */
export interface StoredArray {
  readonly file: string;
  readonly dtype: DType;
  readonly shape: Shape;
  /** Of the first element in the file. */
  readonly offset: number;
  readonly bytes?: Uint8Array | undefined;
}

/** Opens `file` for the time of one read: a data set has no end at which it could be closed. */
export async function withFile<T>(file: string, use: (source: ByteSource) => Promise<T>): Promise<T> {
  const source = await openFile(file);
  try {
    if (source.size === 0) throw new WhittleError('E_EMPTY', 'the data file is empty', { file });
    return await use(source);
  } finally {
    await source.close();
  }
}

/**
 * The array in the bytes `offset` to `offset + size` of `source`, which are a whole .npy file.
 * @throws WhittleError E_TRUNCATED where elements are missing, E_DATA where bytes follow them; see parseNpyHeader
 */
export async function storedNpy(source: ByteSource, offset: number, size: number): Promise<StoredArray> {
  const head = new Uint8Array(Math.min(size, NPY_PREFIX + MAX_NPY_HEADER));
  await source.readInto(offset, head);
  const { dtype, shape, start, bytes } = named(source.name, () => parseNpyHeader(head));
  if (start + bytes !== size) {
    const cut = start + bytes > size;
    throw new WhittleError(
      cut ? 'E_TRUNCATED' : 'E_DATA',
      cut ? 'the array ends before its last element' : 'bytes follow the array',
      {
        file: source.name,
        offset: offset + Math.min(size, start + bytes),
        expected: `${bytes} bytes for ${dtype} ${formatShape(shape)}`,
        found: `${size - start} bytes`,
        hint: cut ? 'Download or copy the file again: it is incomplete.' : undefined,
      },
    );
  }
  return { file: source.name, dtype, shape, offset: offset + start };
}

function named<T>(file: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw error instanceof WhittleError ? error.with({ file }) : error;
  }
}

/** @throws WhittleError E_USAGE where a file is for no certain input */
export async function npyRows(spec: NpySpec, inputs: readonly RuntimeValueInfo[]): Promise<RowSource> {
  const arrays = new Map<string, StoredArray>();
  for (const { file, input } of spec.files) {
    const name = input ?? inputOf(file, inputs);
    arrays.set(name, await withFile(file, (source) => storedNpy(source, 0, source.size)));
  }
  return arrayRows(spec.files.map(({ file }) => file).join(', '), arrays, inputs);
}

/** The input that a file is named after, or the only one that has to be given. */
function inputOf(file: string, inputs: readonly RuntimeValueInfo[]): string {
  const base = (file.split(/[\\/]/).at(-1) ?? file).replace(/\.npy$/i, '');
  if (isLabel(base, inputs) || inputs.some(({ name }) => name === base)) return base;
  const needed = inputs.filter((input) => !isDerived(input));
  if (needed.length === 1) return needed[0]?.name ?? base;
  throw new WhittleError('E_USAGE', 'the file does not say which input it is for', {
    file,
    expected: needed.map(describeInput).join(', '),
    hint: `Say it: ${
      nearest(
        base,
        needed.map(({ name }) => name),
      ) ?? needed[0]?.name
    }=${file}`,
  });
}

export function isLabel(name: string, inputs: readonly RuntimeValueInfo[]): boolean {
  return /^labels?$/i.test(name) && !inputs.some((input) => input.name === name);
}

/** @throws WhittleError E_DATA for a name that is no input, E_SHAPE where arrays disagree about the number of samples */
export async function arrayRows(
  file: string,
  arrays: ReadonlyMap<string, StoredArray>,
  inputs: readonly RuntimeValueInfo[],
): Promise<RowSource> {
  let labels: number[] | undefined;
  const values = new Map<string, StoredArray>();
  let count: number | undefined;
  for (const [name, array] of arrays) {
    const isClass = isLabel(name, inputs);
    if (!isClass && !inputs.some((input) => input.name === name)) {
      throw unknownInput(name, inputs).with({ file });
    }
    // A scalar is one value for all samples.
    const [rows] = array.shape;
    if (rows !== undefined) {
      if (count !== undefined && rows !== count) {
        throw new WhittleError('E_SHAPE', 'the arrays do not hold the same number of samples', {
          file,
          tensor: name,
          expected: `${count}, as those before`,
          found: `${rows} in ${formatShape(array.shape)}`,
          hint: 'The first axis of every array counts the samples.',
        });
      }
      count = rows;
    }
    if (isClass) labels = checkLabels([...tensorValues(await readRows(array, 0, rows ?? 1))], file);
    else values.set(name, array);
  }
  return {
    file,
    count: values.size === 0 ? 0 : (count ?? 1),
    unit: 'row',
    notes: [],
    start: 'random',
    async read(index): Promise<Row> {
      const row = new Map<string, RuntimeTensor>();
      for (const [name, array] of values) {
        const { dtype, shape, data } = await readRows(array, index, 1);
        row.set(name, { dtype, shape: shape.slice(1), data });
      }
      return { values: row, label: labels?.[index] };
    },
  };
}

async function readRows(array: StoredArray, index: number, rows: number): Promise<RuntimeTensor> {
  const { file, dtype, shape, offset, bytes } = array;
  const scalar = shape.length === 0;
  const size = byteLength(dtype, elementCount(shape.slice(1)) ?? 0);
  const data = new Uint8Array(scalar ? size : size * rows);
  const from = offset + (scalar ? 0 : index * size);
  if (bytes === undefined) await withFile(file, (source) => source.readInto(from, data));
  else data.set(bytes.subarray(from, from + data.length));
  return { dtype, shape: scalar ? [] : [rows, ...shape.slice(1)], data };
}

/** @throws WhittleError E_DATA for a label that is no class number */
export function checkLabels(labels: readonly unknown[], file: string): number[] {
  return labels.map((label, index) => {
    if (typeof label === 'number' && Number.isSafeInteger(label) && label >= 0) return label;
    throw new WhittleError('E_DATA', `label ${index + 1} is no class`, {
      file,
      expected: 'a whole number from 0',
      found: String(label).slice(0, 60),
    });
  });
}
