/**
 * The definition of the lattice family of block types: IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S.
 *
 * Encoding: each sub-block finds its scale and points alone (search.ts); the largest scale of a block becomes 31 steps of the
 * block's scale, and the sub-blocks' scales odd multiples of it. Decoding: the block's scale, times the sub-block's, times the
 * point's component, with its sign, in this order.
 */

import { f16BitsToF32, f32ToF16Bits } from '../../../core/floats.ts';
import { codebookValues } from '../codebooks/codebook.ts';
import type { BlockCodec } from '../codec.ts';
import { BLOCK, FORMS, type LatticeType, neighboursOfType } from './forms.ts';
import { LAYOUTS } from './layouts.ts';
import { levelOf } from './rounding.ts';
import { createSearch } from './search.ts';

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
  const layout = LAYOUTS[type];
  const { subBlock } = form;
  const subBlocks = BLOCK / subBlock;
  const scales = new Float32Array(subBlocks);
  /** These write points at once, and leave them where all scales turn out to be zero. */
  const keepsPoints = type === 'iq2_s' || type === 'iq3_s';
  let search: ReturnType<typeof createSearch> | undefined;

  return (values, rowLength, importance, target) => {
    const { places } = neighboursOfType(type);
    search ??= createSearch(form, neighboursOfType(type));
    target.fill(0);
    for (let from = 0, to = 0; from < values.length; from += BLOCK, to += layout.bytes) {
      const block = values.subarray(from, from + BLOCK);
      const column = from % rowLength;
      const weights = importance?.subarray(column, column + BLOCK);
      const out = target.subarray(to, to + layout.bytes);
      let squares = 0;
      for (const value of block) squares = f(squares + f(value * value));
      const spread = f(f(form.spread * squares) / BLOCK);
      let most = 0;
      let part = 0;
      for (let sub = 0; sub < subBlocks; sub++) {
        const found = search(block, weights, subBlock * sub, spread);
        scales[sub] = found.scale;
        if (!found.filled) continue;
        const points = found.words.map((word) => places[word]!);
        layout.writePoints(out, sub, part, points, found.signs);
        part++;
        if (!(most > found.scale)) most = found.scale;
      }
      if (most === 0) {
        if (!keepsPoints) out.fill(0);
        continue;
      }
      const d = f(most / 31);
      const half = f32ToF16Bits(f(d * form.correction));
      out[0] = half & 255;
      out[1] = half >> 8;
      const inverse = f(1 / d);
      for (let sub = 0; sub < subBlocks; sub++)
        layout.writeScale(out, sub, levelOf(scales[sub]!, inverse, 15));
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
      const d = f16BitsToF32(block[0]! | (block[1]! << 8));
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
