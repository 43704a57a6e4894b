/**
 * The importance matrix of a plan: which entries count, and which slice of the values belongs to which matrix of a weight.
 * Values stay in their file; a task carries their place.
 *
 * An entry holds sums over columns, matrix after matrix, and one count or one for each matrix; the importance of a column is
 * sum / count. Where an entry has fewer counts than the weight has matrices, a count serves several of them.
 *
 * Source: docs/gguf.md (importance matrix); llama-quantize v0.5.0.
 */

import { WhittleError } from '../../errors.ts';
import type { Imatrix, ImatrixEntry } from '../../formats/gguf/imatrix-types.ts';
import type { TensorBytes } from '../../formats/layout.ts';
import type { GgmlOperation } from '../../numerics/operation.ts';
import type { Task } from '../../numerics/task.ts';
import { isEmbedding } from './categories.ts';
import type { GgufQuantizeOptions } from './options.ts';

export interface Guide {
  readonly source: Imatrix;
  /** By weight name, as the input has it. */
  readonly entries: ReadonlyMap<string, ImatrixEntry>;
}

/** Importance of one weight, as its task and operation want it. */
export interface Importance {
  readonly operation: NonNullable<GgmlOperation['importance']>;
  readonly task: NonNullable<Task<TensorBytes>['importance']>;
}

/** Entries that the user's filters leave; undefined without a matrix or where nothing is left. E_USAGE for both filters. */
export function guideOf(options: GgufQuantizeOptions): Guide | undefined {
  const { imatrix, includeWeights: include = [], excludeWeights: exclude = [] } = options;
  if (include.length > 0 && exclude.length > 0) {
    throw new WhittleError('E_USAGE', 'weights of the importance matrix are either included or excluded', {
      hint: 'Give --include-weights or --exclude-weights, not both.',
    });
  }
  if (imatrix === undefined) {
    if (include.length + exclude.length === 0) return undefined;
    throw new WhittleError('E_USAGE', 'there is no importance matrix whose weights could be chosen', {
      hint: 'Give --imatrix too.',
    });
  }
  const entries = new Map(
    [...imatrix.entries].filter(([name]) =>
      include.length > 0
        ? include.some((part) => name.includes(part))
        : !exclude.some((part) => name.includes(part)),
    ),
  );
  return entries.size === 0 ? undefined : { source: imatrix, entries };
}

/**
 * Importance of a weight of `matrices` matrices with rows of `columns` values. undefined where the entry does not fit
 * embeddings, which llama.cpp forgives.
 * @throws WhittleError E_IMATRIX where it does not fit another weight
 */
export async function importanceOf(
  guide: Guide,
  entry: ImatrixEntry,
  columns: number,
  matrices: number,
): Promise<Importance | undefined> {
  const values = entry.columns * entry.matrices;
  if (values !== columns * matrices) {
    if (isEmbedding(entry.name)) return undefined;
    throw new WhittleError('E_IMATRIX', 'the importance matrix was made for another model', {
      file: guide.source.file,
      tensor: entry.name,
      expected: `${columns * matrices} values (${columns} columns × ${matrices})`,
      found: `${values}`,
      hint: 'Make it with this model, or leave the weight out with --exclude-weights.',
    });
  }
  if (typeof entry.counts === 'number') {
    // Without a count the old form's values are taken as they are.
    const operation = entry.counts > 0 ? entry.counts : 1;
    return { operation, task: { values: entry.values } };
  }
  const known = lengthOf(entry.counts) / 4;
  if (known === matrices)
    return { operation: 'counts', task: { values: entry.values, counts: entry.counts } };
  return {
    operation: 'counts',
    task: { values: entry.values, counts: await spread(guide, entry, entry.counts, known, matrices) },
  };
}

/** One count for each matrix where the entry has fewer: a count serves `matrices / known` of them. */
async function spread(
  guide: Guide,
  entry: ImatrixEntry,
  counts: TensorBytes,
  known: number,
  matrices: number,
): Promise<TensorBytes> {
  if (known === 0 || matrices % known !== 0) {
    throw new WhittleError('E_IMATRIX', 'the counts of an entry do not fit the matrices of its weight', {
      file: guide.source.file,
      tensor: entry.name,
      expected: `${matrices} counts, or a divisor of that`,
      found: `${known}`,
    });
  }
  const source = await bytesOf(counts);
  const bytes = new Uint8Array(matrices * 4);
  const each = matrices / known;
  for (let matrix = 0; matrix < matrices; matrix++) {
    const from = Math.floor(matrix / each) * 4;
    bytes.set(source.subarray(from, from + 4), matrix * 4);
  }
  return { kind: 'inline', bytes };
}

function lengthOf(bytes: TensorBytes): number {
  return bytes.kind === 'inline' ? bytes.bytes.length : bytes.length;
}

async function bytesOf(bytes: TensorBytes): Promise<Uint8Array> {
  if (bytes.kind === 'inline') return bytes.bytes;
  const target = new Uint8Array(bytes.length);
  await bytes.source.readInto(bytes.offset, target);
  return target;
}
