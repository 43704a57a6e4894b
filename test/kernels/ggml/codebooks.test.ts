/**
 * The code books of the IQ types and their neighbour lists. The library, where it is there, gives the books once more; lists
 * are compared with the plain rule (sort all points by distance, then by index) on a part of the words.
 */

import { describe, expect, it } from 'vitest';
import { isBlockType } from '../../../src/core/ggml-types.ts';
import {
  type Codebook,
  codebookIndex,
  codebookValues,
} from '../../../src/kernels/ggml/codebooks/codebook.ts';
import { IQ1_S } from '../../../src/kernels/ggml/codebooks/iq1-s.ts';
import { IQ2_S } from '../../../src/kernels/ggml/codebooks/iq2-s.ts';
import { IQ2_XS } from '../../../src/kernels/ggml/codebooks/iq2-xs.ts';
import { IQ2_XXS } from '../../../src/kernels/ggml/codebooks/iq2-xxs.ts';
import { IQ3_S } from '../../../src/kernels/ggml/codebooks/iq3-s.ts';
import { IQ3_XXS } from '../../../src/kernels/ggml/codebooks/iq3-xxs.ts';
import { neighboursOf } from '../../../src/kernels/ggml/codebooks/neighbours.ts';
import { ggmlOracle } from '../../oracle/ggml.ts';

const BOOKS: readonly {
  readonly name: string;
  readonly book: Codebook;
  readonly points: number;
  readonly wanted: number;
}[] = [
  { name: 'iq2_xxs', book: IQ2_XXS, points: 256, wanted: 2 },
  { name: 'iq2_xs', book: IQ2_XS, points: 512, wanted: 2 },
  { name: 'iq2_s', book: IQ2_S, points: 1024, wanted: 1 },
  { name: 'iq3_xxs', book: IQ3_XXS, points: 256, wanted: 2 },
  { name: 'iq3_s', book: IQ3_S, points: 512, wanted: 3 },
  { name: 'iq1_s', book: IQ1_S, points: 2048, wanted: 3 },
];
const oracle = await ggmlOracle();

describe.each(BOOKS)('code book of $name', ({ name, book, points, wanted }) => {
  it('has as many points as its indices can name, all different', () => {
    expect(book.words.length).toBe(points);
    expect(new Set(book.words).size).toBe(points);
    const index = codebookIndex(book);
    for (const [i, word] of book.words.entries()) expect(index[word]).toBe(i);
  });

  it.skipIf(oracle === undefined)('is what the library dequantizes', async () => {
    if (oracle === undefined) return;
    const { BOOKS: recipes, recover } = await import('../../../scripts/recover-codebooks.mjs');
    const recipe = recipes.find((candidate) => candidate.name === name);
    if (recipe === undefined) throw new Error(`no recipe for ${name}`);
    const found = recover(recipe, (type, blocks) => {
      if (!isBlockType(type)) throw new Error(type);
      return oracle.dequantize(type, blocks);
    });
    expect([...book.levels]).toEqual(found.levels);
    expect(Buffer.from(book.words.buffer).equals(Buffer.from(found.packed.buffer))).toBe(true);
    expect(codebookValues(book).length).toBe(points * book.dimensions);
  });

  it('lists the points at the nearest distances in the order of distance and index', () => {
    const { places, lists } = neighboursOf(book, wanted);
    const mask = (1 << book.bits) - 1;
    const level = (word: number, i: number): number => (word >> (book.bits * i)) & mask;
    const axes = Array.from({ length: book.dimensions }, (_, i) => i);
    let checked = 0;
    for (let word = 5; word < places.length; word += 397) {
      if (axes.some((i) => level(word, i) >= book.levels.length) || places[word]! >= 0) continue;
      const sorted = [...book.words]
        .map((point, index) => ({
          index,
          distance: axes.reduce((sum, i) => sum + (level(point, i) - level(word, i)) ** 2, 0),
        }))
        .sort((a, b) => a.distance - b.distance || a.index - b.index);
      const near = [...new Set(sorted.map(({ distance }) => distance))].slice(0, wanted);
      const expected = sorted.filter(({ distance }) => near.includes(distance)).map(({ index }) => index);
      const at = -1 - places[word]!;
      expect([...lists.subarray(at + 1, at + 1 + lists[at]!)]).toEqual(expected);
      checked++;
    }
    expect(checked).toBeGreaterThan(3);
  });
});
