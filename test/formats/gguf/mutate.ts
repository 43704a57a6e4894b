/** Mutations of files for fuzz tests: single bytes, whole numbers at field borders or anywhere, cuts, insertions, moved pieces. */

import fc from 'fast-check';
import { joined, u32, u64 } from './build-gguf.ts';

/**
 * `at` and `to` are places in the file: fractions of its length. Whole numbers that replace others go to the beginning of a
 * field, where the fields are known.
 */
export type Mutation =
  | { readonly kind: 'byte'; readonly at: number; readonly value: number }
  | { readonly kind: 'u32'; readonly at: number; readonly value: number }
  | { readonly kind: 'u64'; readonly at: number; readonly value: bigint }
  | { readonly kind: 'add'; readonly at: number; readonly value: number }
  | { readonly kind: 'cut'; readonly at: number }
  | { readonly kind: 'remove'; readonly at: number; readonly length: number }
  | { readonly kind: 'insert'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'move'; readonly at: number; readonly to: number; readonly length: number };

/** Numbers at the borders of what counts, lengths, offsets and types may be. */
const EDGES = [
  ...[0n, 1n, 2n, 3n, 4n, 5n, 7n, 8n, 9n, 12n, 13n, 16n, 31n, 32n, 33n, 63n, 64n, 255n, 256n, 777n],
  ...[15n, 16n, 20n, 24n, 30n, 31n, 32n, 40n, 42n, 48n, 53n, 62n, 63n, 64n].flatMap((bits) => [
    2n ** bits - 1n,
    2n ** bits,
    2n ** bits + 1n,
  ]),
];

/**
 * More of them near the beginning: payloads are the larger part of a file, and nothing in them can be wrong. Not `fc.double`,
 * most of whose values are next to 0, and not biased to the ends.
 */
const place = fc.noBias(fc.integer({ min: 0, max: 999_999 })).map((x) => (x / 1e6) ** 2);
/** Any field alike. */
const fieldPlace = fc.noBias(fc.integer({ min: 0, max: 999_999 })).map((x) => x / 1e6);

export const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ kind: fc.constant('byte'), at: place, value: fc.integer({ min: 0, max: 255 }) }),
  fc.record({
    kind: fc.constant('u32'),
    at: fieldPlace,
    value: fc.constantFrom(...EDGES.map((edge) => Number(BigInt.asUintN(32, edge)))),
  }),
  fc.record({ kind: fc.constant('u64'), at: fieldPlace, value: fc.constantFrom(...EDGES) }),
  fc.record({ kind: fc.constant('add'), at: fieldPlace, value: fc.constantFrom(-32, -8, -1, 1, 8, 32) }),
  fc.record({ kind: fc.constant('cut'), at: place }),
  fc.record({ kind: fc.constant('remove'), at: place, length: fc.integer({ min: 1, max: 40 }) }),
  fc.record({
    kind: fc.constant('insert'),
    at: place,
    bytes: fc.uint8Array({ minLength: 1, maxLength: 16 }),
  }),
  fc.record({ kind: fc.constant('move'), at: place, to: place, length: fc.integer({ min: 1, max: 80 }) }),
);

/** One to three mutations, one after the other. */
export const mutations = fc.array(mutation, { minLength: 1, maxLength: 3 });

/** @param fields Offsets where fields begin in the file that is not mutated. */
export function mutate(
  bytes: Uint8Array,
  changes: readonly Mutation[],
  fields: readonly number[] = [],
): Uint8Array {
  return changes.reduce((mutated, change) => mutateOnce(mutated, change, fields), bytes);
}

function mutateOnce(bytes: Uint8Array, change: Mutation, fields: readonly number[]): Uint8Array {
  const isWhole = change.kind === 'u32' || change.kind === 'u64' || change.kind === 'add';
  const field = isWhole ? fields[Math.floor(change.at * fields.length)] : undefined;
  const at = field ?? Math.floor(change.at * bytes.length);
  switch (change.kind) {
    case 'byte':
      return replaced(bytes, at, Uint8Array.of(change.value));
    case 'u32':
      return replaced(bytes, at, u32(change.value));
    case 'u64':
      return replaced(bytes, at, u64(change.value));
    case 'add':
      return replaced(bytes, at, Uint8Array.of((bytes[at] ?? 0) + change.value));
    case 'cut':
      return bytes.slice(0, at);
    case 'remove':
      return joined(bytes.subarray(0, at), bytes.subarray(at + change.length));
    case 'insert':
      return joined(bytes.subarray(0, at), change.bytes, bytes.subarray(at));
    case 'move': {
      const to = Math.floor(change.to * bytes.length);
      return replaced(bytes, to, bytes.slice(at, at + change.length));
    }
    default:
      return change satisfies never;
  }
}

function replaced(bytes: Uint8Array, at: number, piece: Uint8Array): Uint8Array {
  if (at >= bytes.length) return bytes;
  const copy = bytes.slice();
  copy.set(piece.subarray(0, Math.max(0, copy.length - at)), at);
  return copy;
}
