/**
 * The importance of a matrix's columns, read when the matrix is reached: a worker holds one slice, whatever the size of the
 * importance matrix (a large mixture of experts has hundreds of MiB of it).
 *
 * Arithmetic of llama-quantize: value / count in f32, the count rounded to an integer first, half away from zero; a count that is
 * not positive gives 1 for every column. Of the old file form a value is divided by the number of calls, or taken as it is where
 * that is not positive.
 */

import { WhittleError } from '../../errors.ts';
import type { Arena } from '../../kernels/kernels.ts';
import type { GgmlOperation } from '../../numerics/operation.ts';
import { bytesOf, type OperationContext } from './context.ts';

export interface ImportanceReader {
  /** Importance of the columns of that matrix: valid until the next call. */
  of(matrix: number): Promise<Float32Array>;
}

/**
 * @returns undefined where the operation takes no importance.
 * @throws WhittleError E_TENSOR_SIZE where values or counts do not fit the weight; `of` throws E_NONFINITE.
 */
export function importanceReader(
  operation: GgmlOperation,
  context: OperationContext,
  arena: Arena,
): ImportanceReader | undefined {
  const { importance: rule, rows, columns, matrixRows } = operation;
  if (rule === undefined) return undefined;
  const source = context.importance;
  if (source === undefined) throw new Error(`${context.tensor}: the job has no importance`);
  const total = (rows / matrixRows) * columns;
  if (source.values.length !== total * 4) {
    throw new WhittleError('E_TENSOR_SIZE', 'the importance matrix does not fit the weight', {
      expected: `${total} values`,
      found: `${source.values.length / 4} values`,
      hint: 'It was made for another model: make it anew, or leave this tensor out (--exclude-weights).',
    });
  }
  const slice = arena.f32(columns);
  let loaded = -1;

  const divideByCounts = async (first: number): Promise<void> => {
    const { counts } = source;
    const number = counts === undefined ? 0 : counts.length / 4;
    if (counts === undefined || !Number.isInteger(number) || number === 0 || total % number !== 0) {
      throw new WhittleError('E_TENSOR_SIZE', 'the counts of the importance matrix do not fit its values', {
        expected: 'a count for each matrix',
        found: `${number} counts for ${total} values`,
        hint: 'Make the importance matrix anew.',
      });
    }
    const each = total / number;
    for (let at = 0; at < columns; ) {
      const index = Math.floor((first + at) / each);
      const end = Math.min(columns, (index + 1) * each - first);
      const raw = new Float32Array(1);
      await counts.read(index * 4, bytesOf(raw));
      const count = roundedCount(raw[0] ?? Number.NaN);
      if (Number.isNaN(count)) throw notFinite('a count');
      if (count > 0) for (let i = at; i < end; i++) slice[i]! /= count;
      else slice.fill(1, at, end);
      at = end;
    }
  };

  return {
    async of(matrix) {
      if (matrix === loaded) return slice;
      await source.values.read(matrix * columns * 4, bytesOf(slice));
      if (rule === 'counts') await divideByCounts(matrix * columns);
      else if (rule > 0) {
        const calls = Math.fround(rule);
        for (let i = 0; i < columns; i++) slice[i]! /= calls;
      }
      if (context.kernels.range(slice).nonFinite > 0) throw notFinite('a value');
      loaded = matrix;
      return slice;
    },
  };
}

/** Nearest integer, half away from zero, as f32; NaN for what has none. */
function roundedCount(count: number): number {
  if (!Number.isFinite(count)) return Number.NaN;
  return Math.fround(Math.sign(count) * Math.floor(Math.abs(count) + 0.5));
}

function notFinite(what: string): WhittleError {
  return new WhittleError('E_NONFINITE', `${what} of the importance matrix is NaN or infinite`, {
    hint: 'Make the importance matrix anew, or leave this tensor out (--exclude-weights).',
  });
}
