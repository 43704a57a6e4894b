/** Types of recover-codebooks.mjs, for the test that runs it. */

export interface BookRecipe {
  readonly name: string;
  readonly points: number;
  readonly dimensions: number;
  readonly bits: number;
}

export const BOOKS: readonly BookRecipe[];

/** `packed` has a word for each point, its components as indices of `levels`. */
export function recover(
  book: BookRecipe,
  dequantize: (type: string, blocks: Uint8Array) => Float32Array,
): { readonly levels: number[]; readonly packed: Uint16Array<ArrayBuffer> };
