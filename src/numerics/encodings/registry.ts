/** All encodings, in the order of the documentation; `encoding(id)` finds one. A new family adds its rows here. */

import { WhittleError } from '../../errors.ts';
import { CODEBOOKS } from './codebooks.ts';
import type { Encoding } from './encoding.ts';
import { FLOATS } from './floats.ts';
import { INTEGERS } from './integers.ts';
import { MICROSCALING } from './microscaling.ts';

const ROWS = [...INTEGERS, ...FLOATS, ...MICROSCALING, ...CODEBOOKS] as const;

export type EncodingId = (typeof ROWS)[number]['id'];

export const ENCODINGS: readonly (Encoding & { readonly id: EncodingId })[] = ROWS;

const byId = new Map<string, Encoding & { readonly id: EncodingId }>(ROWS.map((row) => [row.id, row]));

/** The row of `id`. Throws E_USAGE for an unknown one. */
export function encoding(id: string): Encoding & { readonly id: EncodingId } {
  const row = byId.get(id);
  if (row === undefined) {
    throw new WhittleError('E_USAGE', `there is no encoding named ${id}`, {
      expected: [...byId.keys()].join(', '),
      found: id,
    });
  }
  return row;
}
