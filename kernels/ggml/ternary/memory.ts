/**
 * Where this module keeps its tables and intermediate values: 64 KiB into the 4 MiB that are its own, which begin at 20 MiB
 * (src/kernels/wasm-memory.ts, scripts/build-kernels.mjs). Four groups of values (32 or 16) are encoded side by side, one in each lane: "rows" below are
 * vectors with an entry for each of the four groups.
 */

// @ts-ignore: decorator
@inline
const ROOM: usize = 0x1410000;

/** Rows of values, weights and places in sorted order: 32 each. */
// @ts-ignore: decorator
@inline
export const X: usize = ROOM;
// @ts-ignore: decorator
@inline
export const W: usize = ROOM + 512;
// @ts-ignore: decorator
@inline
export const RANK: usize = ROOM + 1024;
/** A block's 256 weights as they come. */
// @ts-ignore: decorator
@inline
export const WEIGHTS: usize = ROOM + 1536;
/** Weighted values and weights in sorted order. */
// @ts-ignore: decorator
@inline
export const SORTED: usize = ROOM + 2560;
/** By cut point: running sums and what follows from them (split-s.ts, split-m.ts). */
// @ts-ignore: decorator
@inline
export const CUTS: usize = ROOM + 4096;
/** By cut point: what the simpler sums take (best.ts). */
// @ts-ignore: decorator
@inline
export const FILTER: usize = ROOM + 12800;
/** Row entries of the best split so far: score, scale, both cut points, candidate. */
// @ts-ignore: decorator
@inline
export const BEST: usize = ROOM + 8192;
/** Four rows of words, one for each 8 values. */
// @ts-ignore: decorator
@inline
export const CODES: usize = ROOM + 8320;
/** 2 Σx² / 256 of four blocks. */
// @ts-ignore: decorator
@inline
export const SIGMA: usize = ROOM + 8448;
/** By group of a block: scale, candidate. */
// @ts-ignore: decorator
@inline
export const SCALES: usize = ROOM + 8512;
// @ts-ignore: decorator
@inline
export const CANDIDATES: usize = ROOM + 8576;
/** A block's 32 words. */
// @ts-ignore: decorator
@inline
export const CHOSEN: usize = ROOM + 8704;
/** Of a search: the terms of 8 values, sums of four terms by byte of a word, errors of a list. */
// @ts-ignore: decorator
@inline
export const TERMS: usize = ROOM + 9216;
// @ts-ignore: decorator
@inline
export const LOW: usize = ROOM + 9344;
// @ts-ignore: decorator
@inline
export const HIGH: usize = ROOM + 10368;
// @ts-ignore: decorator
@inline
export const ERRORS: usize = ROOM + 11392;

/** Words of the points by index: 2048 u16. */
// @ts-ignore: decorator
@inline
export const WORDS: usize = ROOM + 16384;
/** By word: index of its point, or −1 − the place of its list: 43691 i32. */
// @ts-ignore: decorator
@inline
export const PLACES: usize = ROOM + 20480;
/** Lists of words: how many, then the words, u16. */
// @ts-ignore: decorator
@inline
export const LISTS: usize = ROOM + 262144;
