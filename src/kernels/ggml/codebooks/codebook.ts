/**
 * Code books of the IQ types: sets of points whose components take few levels. A point's index is what a block stores.
 *
 * A point is handled as its word: the indices of its components' levels, component i at bit `bits`·i. Encoders round a group
 * of values to a word, and look in `codebookIndex` whether a point has it; words that none has go to the nearest points
 * (neighbours.ts). Signs are no part of a book: types with 7 sign bits for 8 values leave out the last one, which makes the
 * number of minus signs even.
 */

/** A code book as its file states it: base64 of little-endian 16-bit words, in lines. */
export interface CodebookText {
  readonly dimensions: 4 | 8;
  readonly bits: 2 | 3;
  readonly levels: readonly number[];
  readonly points: readonly string[];
}

export interface Codebook {
  /** Components of a point. */
  readonly dimensions: 4 | 8;
  /** Bits of a component's level in a word. */
  readonly bits: 2 | 3;
  /** What dequantizing takes for each level, ascending. */
  readonly levels: Float32Array;
  /** The points' words, by index. */
  readonly words: Uint16Array;
}

export function readCodebook({ dimensions, bits, levels, points }: CodebookText): Codebook {
  const bytes = atob(points.join(''));
  const words = new Uint16Array(bytes.length / 2);
  for (let i = 0; i < words.length; i++) {
    words[i] = bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8);
  }
  return { dimensions, bits, levels: Float32Array.from(levels), words };
}

/** Components of all points as values, point after point. */
export function codebookValues({ dimensions, bits, levels, words }: Codebook): Float32Array {
  const mask = (1 << bits) - 1;
  return Float32Array.from(
    { length: words.length * dimensions },
    (_, at) => levels[(words[Math.floor(at / dimensions)]! >> (bits * (at % dimensions))) & mask]!,
  );
}

/** Index of the point that has a word, −1 where none has it; one entry for each possible word. */
export function codebookIndex({ dimensions, bits, words }: Codebook): Int16Array {
  const index = new Int16Array(1 << (bits * dimensions)).fill(-1);
  for (let i = 0; i < words.length; i++) index[words[i]!] = i;
  return index;
}
