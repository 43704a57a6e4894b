/**
 * What the block types of this family share: how codes are stored, and the weights of their values.
 *
 * Codes of 32 values: byte j of 16 holds value j in its low nibble and value j + 16 in its high nibble. The fifth bits of
 * q5_0 and q5_1 stand before them, bit j of a little-endian u32 for value j.
 *
 * Source: the data sheet in docs/encodings.md; ggml's ggml-common.h states the same structures.
 */

/** Values of a block, and of a sub-block of iq4_xs. */
export const BLOCK = 32;

/** 32 codes, with their fifth bits before the nibbles if `high`. */
export function storeCodes(target: Uint8Array, at: number, codes: Uint8Array, high: boolean): void {
  let nibbles = at;
  if (high) {
    target.fill(0, at, at + 4);
    for (let j = 0; j < BLOCK; j++) target[at + (j >> 3)]! |= ((codes[j]! >> 4) & 1) << (j & 7);
    nibbles += 4;
  }
  for (let j = 0; j < 16; j++) target[nibbles + j] = (codes[j]! & 15) | ((codes[j + 16]! & 15) << 4);
}

export function loadCodes(source: Uint8Array, at: number, codes: Uint8Array, high: boolean): void {
  const nibbles = high ? at + 4 : at;
  for (let j = 0; j < 16; j++) {
    codes[j] = source[nibbles + j]! & 15;
    codes[j + 16] = source[nibbles + j]! >> 4;
  }
  if (!high) return;
  for (let j = 0; j < BLOCK; j++) codes[j]! |= ((source[at + (j >> 3)]! >> (j & 7)) & 1) << 4;
}

/** weight = importance · sqrt(σ² + x²), the weighting of ggml's encoders. Fills `weights` from `at` of both arrays on. */
export function weigh(
  values: Float32Array,
  at: number,
  importance: Float32Array,
  importanceAt: number,
  sigma2: number,
  weights: Float32Array,
): void {
  const { fround } = Math;
  for (let j = 0; j < weights.length; j++) {
    const x = values[at + j]!;
    const root = fround(Math.sqrt(fround(sigma2 + fround(x * x))));
    weights[j] = fround(importance[importanceAt + j]! * root);
  }
}
