/**
 * The definition of the lattice family of block types: IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S.
 *
 * Encoding: each sub-block finds its scale and points alone (search.ts), then a block is put together (write-block.ts). Decoding: the block's scale, times the sub-block's, times the
 * point's component, with its sign, in this order.
 */

import { loadHalf, sumOfSquares } from '../blocks.ts';
import { codebookValues } from '../codebooks/codebook.ts';
import type { BlockCodec } from '../codec.ts';
import { BLOCK, FORMS, type LatticeType, neighboursOfType } from './forms.ts';
import { LAYOUTS } from './layouts.ts';
import { createSearch } from './search.ts';
import { blockWriter } from './write-block.ts';

const f = Math.fround;

/** Value of a sub-block's scale, before the block's. */
const SUB_SCALE: Readonly<Record<LatticeType, (d: number, level: number) => number>> = {
  iq2_xxs: quarter,
  iq2_xs: quarter,
  iq2_s: quarter,
  iq3_xxs: (d, level) => f(f(d * (0.5 + level)) * 0.5),
  iq3_s: (d, level) => f(d * (1 + 2 * level)),
};

function quarter(d: number, level: number): number {
  return f(f(d * (0.5 + level)) * 0.25);
}

function encoder(type: LatticeType): BlockCodec['quantize'] {
  const form = FORMS[type];
  const { bytes } = LAYOUTS[type];
  const { subBlock, book } = form;
  const subBlocks = BLOCK / subBlock;
  const write = blockWriter(type);
  const found = {
    scales: new Float32Array(subBlocks),
    points: new Uint16Array(BLOCK / book.dimensions),
    signs: new Uint8Array(BLOCK / 8),
  };
  let search: ReturnType<typeof createSearch> | undefined;

  return (values, rowLength, importance, target) => {
    const { places } = neighboursOfType(type);
    search ??= createSearch(form, neighboursOfType(type));
    for (let from = 0, to = 0; from < values.length; from += BLOCK, to += bytes) {
      const block = values.subarray(from, from + BLOCK);
      const column = from % rowLength;
      const weights = importance?.subarray(column, column + BLOCK);
      const spread = f(f(form.spread * sumOfSquares(block, 0, BLOCK)) / BLOCK);
      for (let sub = 0; sub < subBlocks; sub++) {
        const { filled, scale, words, signs } = search(block, weights, subBlock * sub, spread);
        found.scales[sub] = filled ? scale : -1;
        for (const [k, word] of words.entries()) found.points[sub * words.length + k] = places[word]!;
        found.signs.set(signs, sub * signs.length);
      }
      write(target.subarray(to, to + bytes), found);
    }
  };
}

function decoder(type: LatticeType): BlockCodec['dequantize'] {
  const { book, subBlock } = FORMS[type];
  const layout = LAYOUTS[type];
  const { dimensions } = book;
  let grid: Float32Array | undefined;
  return (source, target) => {
    grid ??= codebookValues(book);
    for (let from = 0, to = 0; from < source.length; from += layout.bytes, to += BLOCK) {
      const block = source.subarray(from, from + layout.bytes);
      const d = loadHalf(block, 0);
      for (let i = 0; i < BLOCK; i++) {
        const scale = SUB_SCALE[type](d, layout.readScale(block, Math.floor(i / subBlock)));
        const point = layout.readPoint(block, Math.floor(i / dimensions));
        const value = f(scale * grid[point * dimensions + (i % dimensions)]!);
        target[to + i] = (layout.readSigns(block, i >> 3) >> (i & 7)) & 1 ? -value : value;
      }
    }
  };
}

function codec(type: LatticeType): BlockCodec {
  return { quantize: encoder(type), dequantize: decoder(type) };
}

export const codecs: Readonly<Record<LatticeType, BlockCodec>> = {
  iq2_xxs: codec('iq2_xxs'),
  iq2_xs: codec('iq2_xs'),
  iq2_s: codec('iq2_s'),
  iq3_xxs: codec('iq3_xxs'),
  iq3_s: codec('iq3_s'),
};
