/**
 * What distinguishes IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S. All five choose, for groups of eight or four values, a point of
 * a code book for the magnitudes, keep the signs apart, and share a scale among sub-blocks of 16 or 32 values; the search for
 * scale and points (search.ts, kernels/ggml/lattice) is one, with these constants.
 *
 * Source: ggml 0.25.1's encoders, whose bytes the tests compare.
 */

import type { Codebook } from '../codebooks/codebook.ts';
import { IQ2_S } from '../codebooks/iq2-s.ts';
import { IQ2_XS } from '../codebooks/iq2-xs.ts';
import { IQ2_XXS } from '../codebooks/iq2-xxs.ts';
import { IQ3_S } from '../codebooks/iq3-s.ts';
import { IQ3_XXS } from '../codebooks/iq3-xxs.ts';
import { type Neighbours, neighboursOf } from '../codebooks/neighbours.ts';

export type LatticeType = 'iq2_xxs' | 'iq2_xs' | 'iq2_s' | 'iq3_xxs' | 'iq3_s';

/** Values of a block of every lattice type. */
export const BLOCK = 256;

export interface LatticeForm {
  readonly book: Codebook;
  /** Distinct distances of a neighbour list. */
  readonly wanted: number;
  /** Values that share a scale. */
  readonly subBlock: 16 | 32;
  /** Scales tried on either side of the first guess, and their distance in units of the largest magnitude's code. */
  readonly steps: number;
  readonly step: number;
  /** Seven sign bits for eight values: the number of minus signs is made even. */
  readonly evenSigns: boolean;
  /** Factor of the mean square in the weights. */
  readonly spread: 1 | 2;
  /** Weights without importance: x², or that plus a quarter of the (doubled) mean square; importance is required otherwise. */
  readonly plain: 'square' | 'square and spread' | undefined;
  /** Sub-blocks whose largest value lies below are stored as zeros. */
  readonly least: number;
  /** First guess of the scale: the largest value's, or the best scale of an unsigned quantizer to four bits less. */
  readonly guess: 'largest' | 'fitted';
  /**
   * Whose points are chosen anew with the best scale: every group's; every group's if one had no point of its own; only those
   * that had none.
   */
  readonly refine: 'always' | 'all' | 'off grid';
  /** What the stored scale is multiplied by. */
  readonly correction: number;
}

const two = {
  subBlock: 16,
  steps: 9,
  step: Math.fround(0.1),
  guess: 'largest',
  refine: 'off grid',
} as const;
const three = { subBlock: 32, step: Math.fround(0.2), spread: 2, plain: 'square', guess: 'largest' } as const;

export const FORMS: Readonly<Record<LatticeType, LatticeForm>> = {
  iq2_xxs: {
    ...two,
    book: IQ2_XXS,
    wanted: 2,
    subBlock: 32,
    steps: 6,
    evenSigns: true,
    spread: 1,
    plain: undefined,
    least: Math.fround(1e-15),
    guess: 'fitted',
    refine: 'always',
    correction: 1,
  },
  iq2_xs: {
    ...two,
    book: IQ2_XS,
    wanted: 2,
    evenSigns: true,
    spread: 1,
    plain: undefined,
    least: Math.fround(1e-15),
    correction: 1,
  },
  iq2_s: {
    ...two,
    book: IQ2_S,
    wanted: 1,
    evenSigns: false,
    spread: 2,
    plain: 'square and spread',
    least: Math.fround(1e-8),
    correction: Math.fround(0.9875),
  },
  iq3_xxs: {
    ...three,
    book: IQ3_XXS,
    wanted: 2,
    steps: 15,
    evenSigns: true,
    least: Math.fround(1e-8),
    refine: 'off grid',
    correction: Math.fround(1.0125),
  },
  iq3_s: {
    ...three,
    book: IQ3_S,
    wanted: 3,
    steps: 9,
    evenSigns: false,
    // Only zeros lie below.
    least: 2 ** -149,
    refine: 'all',
    correction: Math.fround(1.033),
  },
};

const built = new Map<LatticeType, Neighbours>();

/** The neighbour lists of a type, built when first asked for. */
export function neighboursOfType(type: LatticeType): Neighbours {
  const known = built.get(type);
  if (known !== undefined) return known;
  const neighbours = neighboursOf(FORMS[type].book, FORMS[type].wanted);
  built.set(type, neighbours);
  return neighbours;
}
