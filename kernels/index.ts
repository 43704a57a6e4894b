/**
 * Exports of the module: one for each inner loop. Pointers and lengths in, nothing allocated, no globals.
 *
 * Every kernel equals the plain-TypeScript reference (src/kernels/reference) bit for bit; the formulas and their sources
 * stand there. Here stand only the layouts of vectors. No relaxed SIMD, no fused multiply-add.
 */

export { quantizeAffine, quantizeAffineColumns, dequantizeAffine, dequantizeRowBlocks } from './affine';
export { bnb4 } from './bnb4';
export { nbitsColumnBlocks } from './column-blocks';
export { mixWords } from './checksum';
export { encodeFloats, decodeHalf, decodeBrain, decodeTable, narrowDouble, clipMagnitudes } from './convert';
export { packNibbles, unpackNibbles, packCrumbs, unpackCrumbs, transpose } from './layout';
export { binCounts, columnRange, errorSums, powerSums, range } from './reductions';
export { qdqColumnBlocks, rowBlocks } from './row-blocks';
