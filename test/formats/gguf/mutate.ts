/** Mutations of files for fuzz tests: single bytes, whole numbers at field borders or anywhere, cuts, insertions, moved pieces. */

import fc from 'fast-check';
import { joined, u32, u64 } from './build-gguf.ts';

/** `at` and `to` are places in the file, as fractions. */
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

/** More of them near the beginning: payloads are the larger part of a file, and nothing in them can be wrong. */
const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }).map((x) => x * x);

export const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ kind: fc.constant('byte'), at: place, value: fc.integer({ min: 0, max: 255 }) }),
  fc.record({
    kind: fc.constant('u32'),
    at: place,
    value: fc.constantFrom(...EDGES.map((edge) => Number(BigInt.asUintN(32, edge)))),
  }),
  fc.record({ kind: fc.constant('u64'), at: place, value: fc.constantFrom(...EDGES) }),
  fc.record({ kind: fc.constant('add'), at: place, value: fc.constantFrom(-32, -8, -1, 1, 8, 32) }),
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

export function mutate(bytes: Uint8Array, changes: readonly Mutation[]): Uint8Array {
  return changes.reduce(mutateOnce, bytes);
}

function mutateOnce(bytes: Uint8Array, change: Mutation): Uint8Array {
  const at = Math.floor(change.at * bytes.length);
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
  const copy = bytes.slice();
  copy.set(piece.subarray(0, Math.max(0, copy.length - at)), at);
  return copy;
}
