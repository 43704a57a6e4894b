/**
 * The mixing step of the checksum of what a run wrote (execution/checksum.ts): little-endian words go to 32 lanes in turn, and
 *
 *   lane = rotateLeft(((lane XOR word) · 0x9e3779b1) mod 2^32, 15)
 *
 * which is a bijection of the lane for each word and of the word for each lane: a change of one word never goes unseen. The
 * form (xor, odd multiplier, rotation) is that of the rounds of MurmurHash3 and XXH32; the multiplier is ⌊2^32 / golden ratio⌋, made prime.
 */

export const CHECKSUM_LANES = 32;
/** Bytes of a whole block: one word for each lane. */
export const CHECKSUM_BLOCK = 128;
const MULTIPLIER = 0x9e3779b1 | 0;

/** One lane after one word. */
export function mixWord(lane: number, word: number): number {
  const product = Math.imul(lane ^ word, MULTIPLIER);
  return (product << 15) | (product >>> 17);
}

/** @param bytes - whole blocks of 128 bytes @param lanes - 32 words, changed in place */
export function mixWords(bytes: Uint8Array, lanes: Int32Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let block = 0; block < bytes.length; block += CHECKSUM_BLOCK) {
    for (let i = 0; i < CHECKSUM_LANES; i++)
      lanes[i] = mixWord(lanes[i]!, view.getInt32(block + 4 * i, true));
  }
}
