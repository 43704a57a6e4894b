/**
 * From what the search found for each sub-block to a block: the largest scale becomes 31 units of the block's scale, every
 * sub-block's scale an odd multiple of it (in 4 bits), and points and signs go to their places. Definition and kernels share it.
 */

import { storeHalf } from '../blocks.ts';
import { BLOCK, FORMS, type LatticeType } from './forms.ts';
import { LAYOUTS } from './layouts.ts';
import { levelOf } from './rounding.ts';

const f = Math.fround;

/** A block's sub-blocks, one after the other. */
export interface FoundBlock {
  /** −1 for a sub-block that is stored as zeros. */
  readonly scales: Float32Array;
  /** Indices of points. */
  readonly points: Uint16Array;
  /** Signs of eight values each. */
  readonly signs: Uint8Array;
}

/** @returns a function that fills `out`, the bytes of one block */
export function blockWriter(type: LatticeType): (out: Uint8Array, found: FoundBlock) => void {
  const { book, subBlock, correction } = FORMS[type];
  const layout = LAYOUTS[type];
  const subBlocks = BLOCK / subBlock;
  const groups = subBlock / book.dimensions;
  const eights = subBlock / 8;
  /** These write points at once, and leave them where all scales turn out to be zero. */
  const keepsPoints = type === 'iq2_s' || type === 'iq3_s';
  return (out, { scales, points, signs }) => {
    out.fill(0);
    let most = 0;
    let part = 0;
    for (let sub = 0; sub < subBlocks; sub++) {
      const scale = scales[sub]!;
      if (scale < 0) continue;
      layout.writePoints(out, sub, part, points, sub * groups, signs, sub * eights);
      part++;
      if (!(most > scale)) most = scale;
    }
    if (most === 0) {
      if (!keepsPoints) out.fill(0);
      return;
    }
    const d = f(most / 31);
    storeHalf(out, 0, f(d * correction));
    const inverse = f(1 / d);
    for (let sub = 0; sub < subBlocks; sub++) {
      layout.writeScale(out, sub, levelOf(Math.max(0, scales[sub]!), inverse, 15));
    }
  };
}
