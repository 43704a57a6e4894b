/**
 * Searches for the grid of each group of a weight matrix: the interface that the plain-TypeScript definition and the SIMD
 * kernels share. A group is a run of `groupSize` consecutive values of a row; the last of a row may be shorter. Its grid is
 *
 *     w ≈ (code − zero) · scale,   code = round(clamp(w · (1 / scale) + zero, 0, 2^bits − 1))
 *
 * with every step rounded to f32 and ties of the rounding going to even. Sums over a group run from its first value to its last
 * in f32: a kernel that carries one group in each lane adds in the same order, so both write the same bits.
 */

export interface GridShape {
  readonly rows: number;
  readonly columns: number;
  /** Columns that share a scale; capped at `columns`. */
  readonly groupSize: number;
  /** 2 to 8. */
  readonly bits: number;
  /** Zero fixed at 2^(bits−1), the scale signed so that the largest magnitude gets code 0. */
  readonly symmetric: boolean;
  /** Scales are rounded to f16 before codes are chosen. */
  readonly half: boolean;
}

/** Where results go: codes [rows, columns]; scales and zeros [rows, groups]. */
export interface GridTarget {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly zeros: Float32Array;
}

export interface SearchOptions {
  /** What the scale of the whole range is multiplied with, in turn; the first should be 1. */
  readonly factors: Float32Array;
  /** Zeros up to so many steps away from that of the range are tried too: codes, or thirds of a code where zeros are real. */
  readonly reach: number;
  /**
   * 0: a candidate's error is that of its own scale. From 1 on each candidate is judged with the scale that fits its codes best, and
   * grid and codes of the winner are fitted to each other up to so many times, as long as that gains.
   */
  readonly refits: number;
  /** μ ≥ 0: how much more than the rest the part of the error that shrinks or stretches the group as a whole counts (refits > 0). */
  readonly coherence: number;
  /** Zeros are any numbers, and the grid of a group need not hold 0 (refits > 0, asymmetric). */
  readonly realZeros: boolean;
}

export interface HalfQuadraticOptions {
  /** p of the norm, 0 < p ≤ 1. */
  readonly norm: number;
  readonly beta: number;
  readonly kappa: number;
  readonly iterations: number;
  /** The splitting sets out from the zero of the range as an integer. */
  readonly roundStart: boolean;
}

export interface GridKernels {
  readonly backend: 'reference' | 'wasm';
  /**
   * Minimises Σ a (w − ŵ)² + μ (Σ a w (w − ŵ))² / Σ a w² over the candidates of `options`; the first of equals wins.
   * @param importance - a ≥ 0 of each column; 1 where undefined
   */
  search(
    values: Float32Array,
    shape: GridShape,
    importance: Float32Array | undefined,
    options: SearchOptions,
    target: GridTarget,
  ): void;
  /** Real zeros by half-quadratic splitting (HQQ); always asymmetric, over the range of the values without 0. */
  halfQuadratic(
    values: Float32Array,
    shape: GridShape,
    options: HalfQuadraticOptions,
    target: GridTarget,
  ): void;
  /** Codes of given scales and zeros. */
  encode(values: Float32Array, shape: GridShape, target: GridTarget): void;
}

/** Groups of a row. */
export function groupsOf({ columns, groupSize }: GridShape): number {
  return Math.ceil(columns / groupSize);
}
