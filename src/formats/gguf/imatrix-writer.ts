/**
 * Lays out importance matrices in the GGUF form, as llama-imatrix writes it: for each weight, sorted by the bytes of its name,
 * the sums of squares and the counts. Sums that lie in a file are copied from there.
 *
 * Source: llama.cpp's llama-imatrix; docs/gguf.md.
 */

import { WhittleError } from '../../errors.ts';
import type { OutputFile, TensorBytes } from '../layout.ts';
import { DEFAULT_LIMITS } from '../limits.ts';
import type { GgufItem, GgufOutputTensor } from './gguf.ts';
import { CHUNK_COUNT_KEY, CHUNK_SIZE_KEY, COUNTS_SUFFIX, DATASETS_KEY, SUMS_SUFFIX } from './imatrix.ts';
import type { Imatrix, ImatrixEntry } from './imatrix-types.ts';
import { DEFAULT_ALIGNMENT } from './reader.ts';
import { layoutGguf } from './writer.ts';

/** What was collected for one weight. */
export interface ImatrixSums {
  readonly name: string;
  readonly columns: number;
  readonly matrices: number;
  /** f32 [matrices, columns]: sums of squares of the activations. */
  readonly sums: Float32Array | TensorBytes;
  /** f32 [matrices]: rows that were summed. */
  readonly counts: Float32Array | TensorBytes;
}

export interface ImatrixContent {
  readonly entries: readonly ImatrixSums[];
  readonly datasets: readonly string[];
  readonly chunks: number;
  /** Tokens of a chunk. */
  readonly chunkSize: number;
}

/** llama-imatrix's own context length, which it takes for the chunks of an old file. */
export const DEFAULT_CHUNK_SIZE = 512;

/**
 * The file.
 * @param name Bare file name.
 * @throws WhittleError E_TENSOR_SIZE, E_DUPLICATE, E_GGUF (a name is too long for llama.cpp), E_USAGE
 */
export function layoutImatrix(content: ImatrixContent, name: string): OutputFile {
  const metadata: GgufItem[] = [
    { kind: 'scalar', key: 'general.type', type: 'string', value: 'imatrix' },
    { kind: 'array', key: DATASETS_KEY, elementType: 'string', values: content.datasets },
    { kind: 'scalar', key: CHUNK_COUNT_KEY, type: 'u32', value: content.chunks },
    { kind: 'scalar', key: CHUNK_SIZE_KEY, type: 'u32', value: content.chunkSize },
  ];
  const tensors = sortedByBytes(content.entries).flatMap((entry): GgufOutputTensor[] => [
    tensorOf(entry.name + SUMS_SUFFIX, [entry.columns, entry.matrices], entry.sums),
    tensorOf(entry.name + COUNTS_SUFFIX, [1, entry.matrices], entry.counts),
  ]);
  return layoutGguf({ name, metadata, tensors, alignment: DEFAULT_ALIGNMENT });
}

/**
 * What `layoutImatrix` needs, from a matrix that was opened. An old file says how often it was called, not how many tokens that
 * were: as llama-imatrix does, a call is taken for `chunkSize` tokens, and its sums are multiplied by that.
 * @throws WhittleError E_LIMIT for an old file too large to be held
 */
export async function imatrixContent(
  imatrix: Imatrix,
  chunkSize = imatrix.chunkSize ?? DEFAULT_CHUNK_SIZE,
): Promise<ImatrixContent> {
  const entries: ImatrixSums[] = [];
  let held = 0;
  for (const entry of imatrix.entries.values()) {
    const { name, columns, matrices, values, counts } = entry;
    if (typeof counts !== 'number') {
      entries.push({ name, columns, matrices, sums: values, counts });
      continue;
    }
    held += 4 * columns;
    if (held > DEFAULT_LIMITS.tensorBytes) {
      throw new WhittleError('E_LIMIT', 'the importance matrix is too large to be converted', {
        file: imatrix.file,
        expected: `at most ${DEFAULT_LIMITS.tensorBytes} bytes`,
      });
    }
    const sums = (await readValues(entry)).map((value) => value * chunkSize);
    entries.push({ name, columns, matrices, sums, counts: Float32Array.of(counts * chunkSize) });
  }
  return { entries, datasets: imatrix.datasets, chunks: imatrix.chunks, chunkSize };
}

/** The values of an entry, f32 [matrices, columns]. */
export function readValues({ values, matrices, columns }: ImatrixEntry): Promise<Float32Array> {
  return readFloats(values, matrices * columns);
}

/**
 * Importance of an entry as llama-quantize computes it, f32 [matrices, columns]: value / count in f32, counts rounded to whole
 * numbers; where nothing was counted, 1.
 */
export async function readImportance(entry: ImatrixEntry): Promise<Float32Array> {
  const { columns, matrices, counts } = entry;
  const importance = await readValues(entry);
  if (typeof counts === 'number') {
    const calls = Math.fround(counts);
    return importance.map((value) => value / calls);
  }
  const rows = await readFloats(counts, matrices);
  for (let matrix = 0; matrix < matrices; matrix++) {
    const count = roundAway(rows[matrix] ?? 0);
    const slice = importance.subarray(matrix * columns, (matrix + 1) * columns);
    if (count > 0) for (let i = 0; i < columns; i++) slice[i] = (slice[i] ?? 0) / count;
    else slice.fill(1);
  }
  return importance;
}

/** C's lround: halves go away from zero; then to f32, as it is divided by. */
function roundAway(value: number): number {
  return Math.fround(Math.sign(value) * Math.floor(Math.abs(value) + 0.5));
}

async function readFloats(bytes: TensorBytes, count: number): Promise<Float32Array> {
  const floats = new Float32Array(count);
  const target = new Uint8Array(floats.buffer);
  if (bytes.kind === 'inline') target.set(bytes.bytes);
  else await bytes.source.readInto(bytes.offset, target);
  return floats;
}

function tensorOf(name: string, shape: [number, number], data: Float32Array | TensorBytes): GgufOutputTensor {
  return {
    name,
    // ggml drops trailing dimensions of size 1.
    shape: shape[1] === 1 ? [shape[0]] : shape,
    type: 'f32',
    content: contentOf(data),
  };
}

function contentOf(data: Float32Array | TensorBytes): GgufOutputTensor['content'] {
  if (data instanceof Float32Array) {
    return { kind: 'bytes', bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
  }
  if (data.kind === 'inline') return { kind: 'bytes', bytes: data.bytes };
  return { kind: 'copy', source: data.source, offset: data.offset, length: data.length };
}

function sortedByBytes(entries: readonly ImatrixSums[]): ImatrixSums[] {
  const encoder = new TextEncoder();
  return entries
    .map((entry) => ({ entry, bytes: encoder.encode(entry.name) }))
    .sort((a, b) => compareBytes(a.bytes, b.bytes))
    .map(({ entry }) => entry);
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
