/** Nested arrays of numbers, as JSON holds them, made into a tensor; ragged ones are refused. */

import type { DType } from '../../core/dtype.ts';
import { WhittleError } from '../../errors.ts';
import type { RuntimeTensor } from '../../runtime/runtime.ts';
import { makeTensor } from './tensor-values.ts';

const MAX_DEPTH = 8;

/** @throws WhittleError E_SHAPE where `value` is no regular array of numbers (and booleans, which count 0 and 1) */
export function jsonTensor(value: unknown, dtype: DType): RuntimeTensor {
  const shape: number[] = [];
  for (let level: unknown = value; Array.isArray(level) && shape.length < MAX_DEPTH; level = level[0]) {
    shape.push(level.length);
  }
  const values: number[] = [];
  const collect = (part: unknown, depth: number): void => {
    if (depth === shape.length) {
      const number = typeof part === 'boolean' ? Number(part) : part;
      if (typeof number !== 'number') throw ragged('a number', part);
      values.push(number);
      return;
    }
    if (!Array.isArray(part) || part.length !== shape[depth])
      throw ragged(`an array of ${shape[depth]}`, part);
    for (const item of part) collect(item, depth + 1);
  };
  collect(value, 0);
  return makeTensor(dtype, shape, values);
}

function ragged(expected: string, found: unknown): WhittleError {
  return new WhittleError('E_SHAPE', 'the JSON input is not a regular array of numbers', {
    expected,
    found: (JSON.stringify(found) ?? 'nothing').slice(0, 80),
  });
}
