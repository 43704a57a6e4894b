/**
 * The kernels' form of a code book and its neighbour lists, in the module's part of the kernels' memory (wasm-memory.ts), built
 * when a type is first used.
 *
 *   places   i32 by word: index of the point, or −1 − the list's address relative to `lists`
 *   lists    u16: a count, then offsets of records
 *   grid     records of 16 bytes: each component's level times 16 (an offset into a table of vectors), at byte 8 the word
 *   values   f32: the points' components as dequantizing takes them
 */

import type { KernelMemory } from '../../wasm-memory.ts';
import { codebookValues } from '../codebooks/codebook.ts';
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

    const places = take(neighbours.places.length * 4);
    memory
      .words(places, neighbours.places.length)
      .set(neighbours.places.map((place) => (place < 0 && place > -0x40000000 ? 2 * place + 1 : place)));

    const lists = take(neighbours.lists.length * 2);
    const offsets = new Uint16Array(neighbours.lists.length);
    for (let at = 0; at < offsets.length; ) {
      const count = neighbours.lists[at]!;
      offsets[at++] = count;
      for (const end = at + count; at < end; at++) offsets[at] = neighbours.lists[at]! * RECORD;
    }
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
