/**
 * Statistics of values as parts of a statistics file: `value:<name>.minima`, `.maxima` (f32), `.sums`, `.squares` and, where there is one,
 * `.histogram` (f64), and for each an entry of the file's JSON, as `tensors`:
 *
 *     { "name": "/conv/output", "axis": 1, "channels": 64, "count": 4096, "histogram": { "low": -2, "width": 0.001953125, "bins": 1500 } }
 */

import { WhittleError } from '../../errors.ts';
import type { WrittenTensor } from '../../formats/safetensors/writer.ts';
import { isRecord } from '../data/read-text.ts';
import type { ValueStatistics } from './tensor-statistics.ts';

export const VALUE_PREFIX = 'value:';

export interface WrittenValues {
  /** f64 parts, which stand first in a file. */
  readonly wide: readonly WrittenTensor[];
  readonly narrow: readonly WrittenTensor[];
  readonly described: readonly unknown[];
}

export function writtenValues(tensors: ReadonlyMap<string, ValueStatistics>): WrittenValues {
  const wide: WrittenTensor[] = [];
  const narrow: WrittenTensor[] = [];
  const described: unknown[] = [];
  for (const [name, { axis, channels, count, histogram, ...found }] of tensors) {
    const part = (which: string, values: Float32Array | Float64Array): void => {
      const isWide = values instanceof Float64Array;
      (isWide ? wide : narrow).push({
        name: `${VALUE_PREFIX}${name}.${which}`,
        dtype: isWide ? 'F64' : 'F32',
        shape: [values.length],
        bytes: () => new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
      });
    };
    part('minima', found.minima);
    part('maxima', found.maxima);
    part('sums', found.sums);
    part('squares', found.squares);
    if (histogram !== undefined) part('histogram', Float64Array.from(histogram.counts));
    const bins = histogram && { low: histogram.low, width: histogram.width, bins: histogram.counts.length };
    described.push({
      name,
      ...(axis !== undefined && { axis }),
      channels,
      count,
      ...(bins && { histogram: bins }),
    });
  }
  return { wide, narrow, described };
}

/** Bytes of one part, of this type and length; undefined where the file has no such part. */
export type ReadValuePart = (
  name: string,
  dtype: 'f32' | 'f64',
  length: number,
) => Promise<Uint8Array | undefined>;

/**
 * @param described The member `tensors` of the file's JSON.
 * @throws WhittleError E_DATA where the file contradicts itself, E_NONFINITE, and what `read` throws
 */
export async function readValues(
  file: string,
  described: unknown,
  read: ReadValuePart,
): Promise<Map<string, ValueStatistics>> {
  const tensors = new Map<string, ValueStatistics>();
  if (described === undefined) return tensors;
  if (!Array.isArray(described)) throw broken(file, 'the description of values is no list');
  for (const entry of described) {
    const { name, axis, channels, count, histogram } = checked(entry, file);
    if (tensors.has(name)) {
      throw new WhittleError('E_DUPLICATE', 'a value has statistics twice', { file, tensor: name });
    }
    const part = async (which: string, dtype: 'f32' | 'f64', length: number): Promise<ArrayBuffer> => {
      const bytes = await read(`${VALUE_PREFIX}${name}.${which}`, dtype, length);
      if (bytes === undefined) throw broken(file, `${which} of a value are missing`, name);
      return bytes.slice().buffer;
    };
    const found = {
      minima: new Float32Array(await part('minima', 'f32', channels)),
      maxima: new Float32Array(await part('maxima', 'f32', channels)),
      sums: new Float64Array(await part('sums', 'f64', channels)),
      squares: new Float64Array(await part('squares', 'f64', channels)),
    };
    for (const values of Object.values(found)) {
      if (values.every(Number.isFinite)) continue;
      throw new WhittleError('E_NONFINITE', 'statistics are not finite', { file, tensor: name });
    }
    const counts =
      histogram === undefined
        ? undefined
        : [...new Float64Array(await part('histogram', 'f64', histogram.bins))];
    if (counts?.some((bin) => !(Number.isSafeInteger(bin) && bin >= 0))) {
      throw broken(file, 'a histogram counts what is no number of things', name);
    }
    tensors.set(name, {
      ...(axis !== undefined && { axis }),
      channels,
      count,
      ...found,
      ...(histogram !== undefined &&
        counts !== undefined && { histogram: { low: histogram.low, width: histogram.width, counts } }),
    });
  }
  return tensors;
}

interface Described {
  readonly name: string;
  readonly axis: number | undefined;
  readonly channels: number;
  readonly count: number;
  readonly histogram: { readonly low: number; readonly width: number; readonly bins: number } | undefined;
}

const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;

function checked(entry: unknown, file: string): Described {
  const fields: Readonly<Record<string, unknown>> = isRecord(entry) ? entry : {};
  const { name, axis, channels, count, histogram } = fields;
  if (typeof name !== 'string' || !isCount(channels) || !(typeof count === 'number' && count >= 0)) {
    throw broken(file, 'the description of a value is not complete');
  }
  if (axis !== undefined && !isCount(axis)) throw broken(file, 'the axis of a value is none', name);
  const whole = { name, axis, channels, count };
  if (histogram === undefined) return { ...whole, histogram: undefined };
  const { low, width, bins } = isRecord(histogram) ? histogram : {};
  // Bins are as wide as a power of 2 and begin at a multiple of it: what merging them relies on.
  const sound =
    typeof low === 'number' &&
    typeof width === 'number' &&
    isCount(bins) &&
    (bins === 0 || (width > 0 && Number.isInteger(Math.log2(width)) && Number.isInteger(low / width)));
  if (!sound) throw broken(file, 'the bins of a histogram are none', name);
  return { ...whole, histogram: { low, width, bins } };
}

function broken(file: string, message: string, tensor?: string): WhittleError {
  return new WhittleError('E_DATA', message, {
    file,
    tensor,
    hint: 'The file is damaged: make the statistics again.',
  });
}
