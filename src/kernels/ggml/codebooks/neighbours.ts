/**
 * Neighbour lists of a code book: for every word that no point has, the points at its nearest few distinct distances, ordered
 * by distance, then by index. Encoders choose among them by weighted error; the order settles ties, so it is part of the
 * encoding (docs/encodings.md; ggml's own construction sorts all points for each word, which takes seconds).
 *
 * Components are compared as level indices: all books have equidistant levels for this purpose. A squared distance is then a
 * small integer, the sum of one table entry for each half of the components, and a counting sort by distance keeps the
 * indices in order. Words with a level that the book does not have (two bits, three levels) cannot occur and get no list.
 */

import { type Codebook, codebookIndex } from './codebook.ts';

export interface Neighbours {
  /** By word: the index of the point that has it, or −1 − the place of its list in `lists`; 0x80000000 where the word cannot occur. */
  readonly places: Int32Array;
  /** Lists one after the other: how many points, then their indices. */
  readonly lists: Uint16Array;
}

const IMPOSSIBLE = -0x80000000;

/** Squared distances of two half words, indexed by their bits side by side. */
function halfDistances(bits: number, components: number): Uint8Array {
  const half = 1 << (bits * components);
  const mask = (1 << bits) - 1;
  const table = new Uint8Array(half * half);
  for (let a = 0; a < half; a++) {
    for (let b = 0; b < half; b++) {
      let sum = 0;
      for (let i = 0; i < components; i++) {
        const d = ((a >> (bits * i)) & mask) - ((b >> (bits * i)) & mask);
        sum += d * d;
      }
      table[a * half + b] = sum;
    }
  }
  return table;
}

/**
 * @param book - the code book
 * @param wanted - how many distinct distances a list reaches
 */
export function neighboursOf(book: Codebook, wanted: number): Neighbours {
  const { dimensions, bits, levels, words } = book;
  const components = dimensions / 2;
  const shift = bits * components;
  const half = 1 << shift;
  const mask = (1 << bits) - 1;
  const table = halfDistances(bits, components);
  const index = codebookIndex(book);
  const count = words.length;
  const low = words.map((word) => word & (half - 1));
  const high = words.map((word) => word >> shift);

  const possible = (word: number): boolean => {
    for (let i = 0; i < dimensions; i++) if (((word >> (bits * i)) & mask) >= levels.length) return false;
    return true;
  };
  const places = new Int32Array(index.length).fill(IMPOSSIBLE);
  const distances = new Uint8Array(count);
  const most = dimensions * (levels.length - 1) ** 2;
  const histogram = new Uint32Array(most + 1);
  let lists = new Uint16Array(1 << 16);
  let used = 0;
  for (let word = 0; word < index.length; word++) {
    if (index[word]! >= 0) {
      places[word] = index[word]!;
      continue;
    }
    if (!possible(word)) continue;
    const lowRow = (word & (half - 1)) * half;
    const highRow = (word >> shift) * half;
    histogram.fill(0);
    for (let j = 0; j < count; j++) {
      const distance = table[lowRow + low[j]!]! + table[highRow + high[j]!]!;
      distances[j] = distance;
      histogram[distance]!++;
    }
    // The histogram becomes each distance's first place in the list.
    let length = 0;
    let limit = 0;
    for (let found = 0; limit <= most && found < wanted; limit++) {
      const points = histogram[limit]!;
      histogram[limit] = length;
      length += points;
      if (points > 0) found++;
    }
    if (used + length + 1 > lists.length) {
      const larger = new Uint16Array(2 * lists.length);
      larger.set(lists);
      lists = larger;
    }
    lists[used] = length;
    for (let j = 0; j < count; j++) {
      const distance = distances[j]!;
      if (distance < limit) lists[used + 1 + histogram[distance]!++] = j;
    }
    places[word] = -1 - used;
    used += length + 1;
  }
  return { places, lists: lists.slice(0, used) };
}
