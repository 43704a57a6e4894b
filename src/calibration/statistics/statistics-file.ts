/**
 * Statistics as one file: a safetensors file (so that other tools read it) whose tensors are `<weight>.squares` f64, `.magnitudes`
 * f64, `.sums` f64, `.peaks` f32, `.gram` f32 and `.cross` f32, and `whittle.statistics`, UTF-8 JSON that says what they belong to:
 *
 *     { "version": 1, "samples": 64, "datasets": ["…"], "entries": [{ "weight": "w", "inputs": 256, "groups": 1, "rows": 16384 }] }
 *
 * Values that were asked for by name have parts of their own (tensors-in-file.ts). The file appears when it is complete. Values are compared with what the JSON says before anything is used.
 */

import { byteLength, type DType } from '../../core/dtype.ts';
import { WhittleError } from '../../errors.ts';
import { type WrittenTensor, writeSafetensors } from '../../formats/safetensors/writer.ts';
import { openFile } from '../../io/file-source.ts';
import type { ByteSource } from '../../io/source.ts';
import type { StoredArray } from '../data/array-rows.ts';
import { decodeText, isRecord, parseJsonText } from '../data/read-text.ts';
import { readSafetensors } from '../data/safetensors.ts';
import type { InputStatistics } from './input-statistics.ts';
import type { StatisticsSet } from './statistics-set.ts';
import { readValues, writtenValues } from './tensors-in-file.ts';

const HEAD = 'whittle.statistics';
const VERSION = 1;
const WIDE = ['squares', 'magnitudes', 'sums'] as const;
const MATRICES = ['gram', 'cross'] as const;

/** @throws WhittleError E_OUTPUT_EXISTS, E_NOT_FOUND, E_ACCESS, E_NO_SPACE, E_IO */
export async function saveStatistics(
  path: string,
  set: StatisticsSet,
  { force }: { readonly force?: boolean | undefined } = {},
): Promise<void> {
  await writeSafetensors(path, tensorsOf(set), { force });
}

function tensorsOf({ entries, datasets, samples, tensors }: StatisticsSet): WrittenTensor[] {
  const wide: WrittenTensor[] = [];
  const narrow: WrittenTensor[] = [];
  const described: unknown[] = [];
  for (const [weight, found] of entries) {
    const { inputs, groups = 1, rows } = found;
    described.push({ weight, inputs, groups, rows });
    for (const part of WIDE) {
      const values = found[part];
      if (values !== undefined) {
        wide.push({
          name: `${weight}.${part}`,
          dtype: 'F64',
          shape: [groups, inputs],
          bytes: () => bytesOf(values),
        });
      }
    }
    const { peaks } = found;
    if (peaks !== undefined) {
      narrow.push({
        name: `${weight}.peaks`,
        dtype: 'F32',
        shape: [groups, inputs],
        bytes: () => bytesOf(peaks),
      });
    }
    for (const part of MATRICES) {
      const values = found[part];
      if (values === undefined) continue;
      const shape = [groups, inputs, inputs];
      narrow.push({ name: `${weight}.${part}`, dtype: 'F32', shape, bytes: () => bytesOf(values) });
    }
  }
  const values = writtenValues(tensors ?? new Map());
  const head = {
    version: VERSION,
    samples,
    datasets,
    entries: described,
    ...(tensors !== undefined && { tensors: values.described }),
  };
  const bytes = new TextEncoder().encode(JSON.stringify(head));
  const parts = [...wide, ...values.wide, ...narrow, ...values.narrow];
  return [...parts, { name: HEAD, dtype: 'U8', shape: [bytes.length], bytes: () => bytes }];
}

function bytesOf({ buffer, byteOffset, byteLength: length }: Float32Array | Float64Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, length);
}

/**
 * @throws WhittleError E_DATA (no statistics file, or one that contradicts itself), E_VERSION, E_TRUNCATED, E_SHAPE, E_NONFINITE,
 *   E_NOT_FOUND, E_ACCESS
 */
export async function loadStatistics(path: string): Promise<StatisticsSet> {
  const arrays = await readSafetensors(path);
  const source = await openFile(path);
  try {
    const head = await readHead(source, arrays);
    const entries = new Map<string, InputStatistics>();
    const known = new Set([HEAD]);
    for (const { weight, inputs, groups, rows } of head.entries) {
      if (entries.has(weight)) {
        throw new WhittleError('E_DUPLICATE', 'a weight has statistics twice', {
          file: path,
          tensor: weight,
        });
      }
      const read = async (
        part: string,
        dtype: DType,
        shape: readonly number[],
      ): Promise<Uint8Array | undefined> => {
        known.add(`${weight}.${part}`);
        return readPart(source, arrays, `${weight}.${part}`, dtype, shape);
      };
      const vector = [groups, inputs];
      const wide = async (part: string) => asDoubles(await read(part, 'f64', vector));
      const matrix = async (part: string) => asFloats(await read(part, 'f32', [groups, inputs, inputs]));
      const squares = await wide('squares');
      if (squares === undefined) throw broken(path, `${weight}.squares`, 'the sums of squares are missing');
      const found = {
        inputs,
        ...(groups > 1 ? { groups } : {}),
        rows,
        squares,
        magnitudes: await wide('magnitudes'),
        sums: await wide('sums'),
        peaks: asFloats(await read('peaks', 'f32', vector)),
        gram: await matrix('gram'),
        cross: await matrix('cross'),
      };
      for (const [part, values] of Object.entries(found)) {
        if (typeof values !== 'object' || values.every(Number.isFinite)) continue;
        throw new WhittleError('E_NONFINITE', 'statistics are not finite', {
          file: path,
          tensor: `${weight}.${part}`,
        });
      }
      entries.set(weight, found);
    }
    const tensors = await readValues(path, head.tensors, (name, dtype, length) => {
      known.add(name);
      return readPart(source, arrays, name, dtype, [length]);
    });
    const stray = [...arrays.keys()].find((name) => !known.has(name));
    if (stray !== undefined) throw broken(path, stray, 'a tensor belongs to no weight');
    return {
      entries,
      datasets: head.datasets,
      samples: head.samples,
      ...(tensors.size > 0 && { tensors }),
    };
  } finally {
    await source.close();
  }
}

interface Head {
  readonly samples: number;
  readonly datasets: readonly string[];
  readonly entries: readonly { weight: string; inputs: number; groups: number; rows: number }[];
  /** As the file has it. */
  readonly tensors: unknown;
}

async function readHead(source: ByteSource, arrays: ReadonlyMap<string, StoredArray>): Promise<Head> {
  const file = source.name;
  const stored = arrays.get(HEAD);
  if (stored === undefined) {
    throw new WhittleError('E_DATA', 'this is no statistics file', {
      file,
      expected: `the tensor ${HEAD}`,
      hint: 'Give the file that whittle calibrate wrote.',
    });
  }
  const bytes = await readPart(source, arrays, HEAD, 'uint8', stored.shape);
  const head = parseJsonText(decodeText(bytes ?? new Uint8Array(0), file, stored.offset), file, HEAD);
  if (!isRecord(head)) throw broken(file, HEAD, 'the description is no object');
  if (head.version !== VERSION) {
    throw new WhittleError('E_VERSION', 'the statistics are of another version', {
      file,
      expected: String(VERSION),
      found: String(head.version),
      hint: 'Make them again with whittle calibrate.',
    });
  }
  const { samples, datasets, entries } = head;
  if (!isCount(samples) || !Array.isArray(datasets) || !Array.isArray(entries)) {
    throw broken(file, HEAD, 'the description is not complete');
  }
  return {
    samples,
    tensors: head.tensors,
    datasets: datasets.map(String),
    entries: entries.map((entry: unknown) => {
      if (isRecord(entry)) {
        const { weight, inputs, groups, rows } = entry;
        if (typeof weight === 'string' && isCount(inputs) && isCount(groups) && isCount(rows)) {
          if (inputs > 0 && groups > 0) return { weight, inputs, groups, rows };
        }
      }
      throw broken(file, HEAD, 'the description of a weight is not complete');
    }),
  };
}

async function readPart(
  source: ByteSource,
  arrays: ReadonlyMap<string, StoredArray>,
  name: string,
  dtype: DType,
  shape: readonly number[],
): Promise<Uint8Array | undefined> {
  const stored = arrays.get(name);
  if (stored === undefined) return undefined;
  if (stored.dtype !== dtype || stored.shape.join() !== shape.join()) {
    throw new WhittleError('E_SHAPE', 'statistics are not of the shape that the file says', {
      file: source.name,
      tensor: name,
      expected: `${dtype} [${shape.join(', ')}]`,
      found: `${stored.dtype} [${stored.shape.join(', ')}]`,
    });
  }
  const bytes = new Uint8Array(
    byteLength(
      dtype,
      shape.reduce((count, size) => count * size, 1),
    ),
  );
  await source.readInto(stored.offset, bytes);
  return bytes;
}

function asDoubles(bytes: Uint8Array | undefined): Float64Array | undefined {
  return bytes === undefined ? undefined : new Float64Array(bytes.buffer);
}

function asFloats(bytes: Uint8Array | undefined): Float32Array | undefined {
  return bytes === undefined ? undefined : new Float32Array(bytes.buffer);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function broken(file: string, tensor: string, message: string): WhittleError {
  return new WhittleError('E_DATA', message, {
    file,
    tensor,
    hint: 'The file is damaged: make the statistics again.',
  });
}
