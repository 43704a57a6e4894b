/**
 * The kernels' form of a code book and its neighbour lists, in the module's part of the kernels' memory (wasm-memory.ts), built
 * when a type is first used.
 *
 *   places   i32 by word: index of the point, or −1 − the list's address relative to `lists`
 *   lists    u16: two counts, then offsets of records: those of the neighbours that are enough, those of all
 *   grid     records of 16 bytes: each component's level times 16 (an offset into a table of vectors), at byte 8 the word
 *   values   f32: the points' components as dequantizing takes them
 *
 * Which neighbours are enough: let h lie between the word u and g in every component. A value that was rounded to u's level is
 * then no farther from h's level than from g's (strictly nearer where they differ, if it is not near the border of u's level,
 * so that rounding errors change nothing), also where levels were clamped. Every rounding is monotonic, so h's error is at most
 * g's; and h comes first in the list, being nearer to u. So g never wins. This leaves a quarter to two thirds of the lists. The
 * kernels take the whole list where a value is near a border, or where its distance to u cannot be judged.
 */

import type { KernelMemory } from '../../wasm-memory.ts';
import { type Codebook, codebookValues } from '../codebooks/codebook.ts';
import type { Neighbours } from '../codebooks/neighbours.ts';
import { FORMS, type LatticeType, neighboursOfType } from './forms.ts';

const MIB = 1 << 20;
/** The module's scratch lies at 16 MiB, its neighbour's at 20 MiB. */
const FIRST = 16 * MIB + (MIB >> 3);
const END = 20 * MIB;
const RECORD = 16;

/** Addresses. */
export interface LatticeTables {
  readonly places: number;
  readonly lists: number;
  readonly grid: number;
}

function listsOf(
  { places, lists }: Neighbours,
  { dimensions, bits, words }: Codebook,
): { map: Int32Array; lists: Uint16Array } {
  const mask = (1 << bits) - 1;
  const isBetween = (u: number, h: number, g: number): boolean => {
    for (let shift = 0; shift < dimensions * bits; shift += bits) {
      const a = (u >> shift) & mask;
      const b = (h >> shift) & mask;
      const c = (g >> shift) & mask;
      if ((a - b) * (b - c) < 0) return false;
    }
    return true;
  };
  const map = places.slice();
  const joined = new Uint16Array(2 * lists.length + places.length);
  let used = 0;
  for (let word = 0; word < places.length; word++) {
    const place = places[word]!;
    if (place >= 0 || place === -0x80000000) continue;
    const at = -1 - place;
    const all = lists.subarray(at + 1, at + 1 + lists[at]!);
    const first = used + 2;
    let next = first;
    for (const index of all) {
      const point = words[index]!;
      let enough = false;
      for (let k = first; k < next && !enough; k++) {
        enough = isBetween(word, words[joined[k]! / RECORD]!, point);
      }
      if (!enough) joined[next++] = index * RECORD;
    }
    joined[used] = next - first;
    joined[used + 1] = all.length;
    for (const index of all) joined[next++] = index * RECORD;
    map[word] = -1 - 2 * used;
    used = next;
  }
  return { map, lists: joined.slice(0, used) };
}

/** Tables of one kernels' memory. */
export function createTables(memory: KernelMemory): {
  encoding(type: LatticeType): LatticeTables;
  values(type: LatticeType): number;
} {
  let next = FIRST;
  const take = (bytes: number): number => {
    const address = next;
    next = Math.ceil((next + bytes) / 16) * 16;
    if (next > END) throw new Error('the lattice tables do not fit');
    return address;
  };
  const known = new Map<LatticeType, LatticeTables>();
  const grids = new Map<LatticeType, number>();

  function build(type: LatticeType): LatticeTables {
    const { dimensions, bits, words } = FORMS[type].book;
    const neighbours = neighboursOfType(type);
    const mask = (1 << bits) - 1;

    const { map, lists: offsets } = listsOf(neighbours, FORMS[type].book);
    const places = take(map.byteLength);
    memory.words(places, map.length).set(map);
    const lists = take(offsets.byteLength);
    memory.bytes(lists, offsets.byteLength).set(new Uint8Array(offsets.buffer));

    const grid = take(words.length * RECORD);
    const records = memory.bytes(grid, words.length * RECORD);
    for (const [index, word] of words.entries()) {
      for (let i = 0; i < dimensions; i++) records[index * RECORD + i] = ((word >> (bits * i)) & mask) * 16;
      records[index * RECORD + 8] = word & 255;
      records[index * RECORD + 9] = word >> 8;
    }
    return { places, lists, grid };
  }

  return {
    encoding(type) {
      const tables = known.get(type) ?? build(type);
      known.set(type, tables);
      return tables;
    },
    values(type) {
      const address = grids.get(type);
      if (address !== undefined) return address;
      const values = codebookValues(FORMS[type].book);
      const taken = take(values.byteLength);
      memory.floats(taken, values.length).set(values);
      grids.set(type, taken);
      return taken;
    },
  };
}
