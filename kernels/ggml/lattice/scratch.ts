/**
 * Scratch of the lattice kernels: one sub-block's values, weights and candidates. Candidates are scales; a vector carries four
 * neighbouring ones, and vector v, group g of the candidates' words lies at WORDS + (v · groups + g) · 16.
 */

/** Magnitudes, signs flipped for parity included; weights, their roots, and weight · magnitude. f32[32] each. */
export const X: usize = memory.data(128, 16);
export const W: usize = memory.data(128, 16);
export const ROOT: usize = memory.data(128, 16);
export const WX: usize = memory.data(128, 16);

/** Words of the points that each candidate chose: up to 8 vectors of 8 groups. */
export const WORDS: usize = memory.data(1024, 16);
/** i32 for each vector and group: bit l says that lane l's word needed no neighbour. */
export const ON_GRID: usize = memory.data(256, 16);
/** Σ w·x·q and Σ w·q² of each candidate. */
export const PRODUCT: usize = memory.data(128, 16);
export const SQUARE: usize = memory.data(128, 16);

/** Weighted error of each component and level of a group, four candidates: v128[8 · 3] or v128[4 · 8]. */
export const TERMS: usize = memory.data(512, 16);
/** Four lanes that are looked at one by one. */
export const LANES: usize = memory.data(16, 16);
/** Words that were chosen in the end. i32[8] */
export const BEST: usize = memory.data(32, 16);
/** Signs of eight values each. u8[4] */
export const SIGNS: usize = memory.data(16, 16);
/** Codes of the fitted first guess. u8[32] */
export const CODES: usize = memory.data(32, 16);
/** Four scales that are tried, and 1 over them. f32[4] each. */
export const SCALE: usize = memory.data(16, 16);
export const INVERSE: usize = memory.data(16, 16);
/** How far the values of a group are from their levels, at most, in units in which the border is 1. f32[4] */
export const REST: usize = memory.data(16, 16);
/** The largest magnitude, f32. */
export const REACH: usize = memory.data(16, 16);
