/**
 * File types: what a user asks for with `--to`. One row for each: name, number in `general.file_type`, the tensor type that
 * most weights get, and what to expect. How the other weights deviate stands in mixtures.ts.
 *
 * Names, aliases and numbers are those of llama-quantize. Two rows are ours: MXFP4 and NVFP4 for the weights of
 * dense models too. NVFP4 writes 39, the number llama.cpp reserves for it; MXFP4 writes 38, as MXFP4_MOE does: readers
 * only print that number, and there is none of its own.
 */

import { GGML_TYPES, type GgmlType } from '../../core/ggml-types.ts';
import { nearest } from '../../core/nearest.ts';
import { WhittleError } from '../../errors.ts';

export type FileTypeName =
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'Q8_0'
  | 'Q6_K'
  | 'Q5_K_M'
  | 'Q5_K_S'
  | 'Q5_1'
  | 'Q5_0'
  | 'Q4_K_M'
  | 'Q4_K_S'
  | 'Q4_1'
  | 'Q4_0'
  | 'IQ4_NL'
  | 'IQ4_XS'
  | 'MXFP4_MOE'
  | 'MXFP4'
  | 'NVFP4'
  | 'Q3_K_L'
  | 'Q3_K_M'
  | 'Q3_K_S'
  | 'IQ3_M'
  | 'IQ3_S'
  | 'IQ3_XS'
  | 'IQ3_XXS'
  | 'Q2_K'
  | 'Q2_K_S'
  | 'IQ2_M'
  | 'IQ2_S'
  | 'IQ2_XS'
  | 'IQ2_XXS'
  | 'Q2_0'
  | 'TQ2_0'
  | 'TQ1_0'
  | 'IQ1_M'
  | 'IQ1_S'
  | 'Q1_0';

export interface FileType {
  readonly name: FileTypeName;
  /** Number that `general.file_type` gets. */
  readonly id: number;
  readonly aliases: readonly string[];
  /** Type of most weights. */
  readonly main: GgmlType;
  /** Bits of a weight of the main type. */
  readonly bits: number;
  /** Whole file, bits per weight, for a model with the shapes of Llama 3.1 8B without an importance matrix. */
  readonly fileBits: number;
  /** What an importance matrix is for this type: `required` for a real model, `helps`, or `unused`. */
  readonly imatrix: 'required' | 'helps' | 'unused';
  /** Not a type of llama-quantize. */
  readonly own: boolean;
  readonly description: string;
}

function row(
  name: FileTypeName,
  id: number,
  main: GgmlType,
  fileBits: number,
  imatrix: FileType['imatrix'],
  description: string,
  more: { readonly aliases?: readonly string[]; readonly own?: boolean } = {},
): FileType {
  const { size, bytes } = GGML_TYPES[main];
  const bits = (bytes * 8) / size;
  return {
    name,
    id,
    aliases: more.aliases ?? [],
    main,
    bits,
    fileBits,
    imatrix,
    own: more.own ?? false,
    description,
  };
}

/** From the largest to the smallest. */
export const FILE_TYPES: readonly FileType[] = [
  row('F32', 0, 'f32', 32, 'unused', 'all weights as 32-bit floats'),
  row('F16', 1, 'f16', 16, 'unused', 'half precision; vectors stay as they are'),
  row('BF16', 32, 'bf16', 16, 'unused', 'bfloat16; vectors stay as they are'),
  row('Q8_0', 7, 'q8_0', 8.5, 'unused', 'nearly without loss'),
  row('Q6_K', 18, 'q6_K', 6.56, 'helps', 'loss hard to measure'),
  row('Q5_K_M', 17, 'q5_K', 5.7, 'helps', 'mix of 5 and 6 bits; very good', { aliases: ['Q5_K'] }),
  row('Q5_K_S', 16, 'q5_K', 5.57, 'helps', '5 bits; very good'),
  row('Q5_1', 9, 'q5_1', 6.04, 'helps', '5 bits with offsets; older than Q5_K_M and larger'),
  row('Q5_0', 8, 'q5_0', 5.57, 'helps', '5 bits; older than Q5_K_S'),
  row('Q4_K_M', 15, 'q4_K', 4.89, 'helps', 'mix of 4 and 6 bits; the usual choice', {
    aliases: ['Q4_K'],
  }),
  row('Q4_K_S', 14, 'q4_K', 4.67, 'helps', '4 bits with a few 5-bit weights'),
  row('Q4_1', 3, 'q4_1', 5.1, 'helps', '4 bits with offsets; older than Q4_K_M and larger'),
  row('Q4_0', 2, 'q4_0', 4.64, 'helps', '4 bits, simplest; repacked for speed at run time'),
  row('IQ4_NL', 25, 'iq4_nl', 4.68, 'helps', '4 bits on a curved scale, rows of any multiple of 32'),
  row('IQ4_XS', 30, 'iq4_xs', 4.46, 'helps', '4 bits on a curved scale, smaller than Q4_K_S'),
  row('MXFP4_MOE', 38, 'mxfp4', 8.5, 'unused', 'experts in MXFP4, everything else in Q8_0'),
  row('MXFP4', 38, 'mxfp4', 4.41, 'unused', 'weights in MXFP4, dense models too', { own: true }),
  row('NVFP4', 39, 'nvfp4', 4.64, 'unused', 'weights in NVFP4 (block scales only), dense models too', {
    own: true,
  }),
  row('Q3_K_L', 13, 'q3_K', 4.3, 'helps', 'mix of 3 and 5 bits'),
  row('Q3_K_M', 12, 'q3_K', 4, 'helps', 'mix of 3, 4 and 5 bits', { aliases: ['Q3_K'] }),
  row('Q3_K_S', 11, 'q3_K', 3.64, 'helps', '3 bits; visible loss'),
  row('IQ3_M', 27, 'iq3_s', 3.76, 'helps', '3 bits from a code book, with 4-bit weights where it matters'),
  row('IQ3_S', 26, 'iq3_s', 3.66, 'helps', '3 bits from a code book'),
  row('IQ3_XS', 22, 'iq3_s', 3.5, 'required', '3 bits from two code books'),
  row('IQ3_XXS', 23, 'iq3_xxs', 3.37, 'required', '3 bits from a small code book'),
  row('Q2_K', 10, 'q2_K', 3.16, 'helps', 'mix of 2, 3 and 4 bits; strong loss'),
  row('Q2_K_S', 21, 'q2_K', 2.97, 'required', '2 bits; strong loss'),
  row(
    'IQ2_M',
    29,
    'iq2_s',
    2.93,
    'required',
    '2 bits from a code book, with better weights where it matters',
  ),
  row('IQ2_S', 28, 'iq2_xs', 2.74, 'required', '2 bits from a code book'),
  row('IQ2_XS', 20, 'iq2_xs', 2.59, 'required', '2 bits from a code book'),
  row('IQ2_XXS', 19, 'iq2_xxs', 2.38, 'required', '2 bits from a small code book'),
  row('Q2_0', 41, 'q2_0', 2.68, 'unused', 'four levels; for models trained so'),
  row('TQ2_0', 37, 'tq2_0', 2.52, 'unused', 'three levels, quick to read; for ternary models'),
  row('TQ1_0', 36, 'tq1_0', 2.19, 'unused', 'three levels, packed tightly; for ternary models'),
  row('IQ1_M', 31, 'iq1_m', 2.15, 'required', 'below 2 bits; for experiments'),
  row('IQ1_S', 24, 'iq1_s', 2, 'required', 'below 2 bits; for experiments'),
  row('Q1_0', 40, 'q1_0', 1.48, 'unused', 'signs and a scale; for 1-bit models'),
];

/** Writes the file again without touching weights. */
export const COPY = 'COPY';

const BY_NAME: ReadonlyMap<string, FileType> = new Map(
  FILE_TYPES.flatMap((type) =>
    [type.name, ...type.aliases].map((name) => [name.toLowerCase(), type] as const),
  ),
);

/** Every word that `parseFileType` takes except numbers: names, aliases, COPY. */
export const FILE_TYPE_WORDS: readonly string[] = [
  ...FILE_TYPES.flatMap((type) => [type.name, ...type.aliases]),
  COPY,
];

/**
 * A file type by name or alias in any case, or by llama-quantize's number. E_USAGE with the nearest name where there is
 * none.
 */
export function parseFileType(text: string): FileType | typeof COPY {
  const word = text.trim().toLowerCase();
  if (word === COPY.toLowerCase()) return COPY;
  const named = BY_NAME.get(word) ?? (/^\d{1,4}$/.test(word) ? byNumber(Number(word)) : undefined);
  if (named !== undefined) return named;
  const close = nearest(word, FILE_TYPE_WORDS);
  throw new WhittleError('E_USAGE', `there is no GGUF file type "${text.slice(0, 64)}"`, {
    expected: FILE_TYPE_WORDS.join(', '),
    hint: close === undefined ? 'Name one of these, in any case.' : `Did you mean ${close}?`,
  });
}

/** Name of `general.file_type`'s number, for people; undefined where no row has it. */
export function fileTypeName(id: number): FileTypeName | undefined {
  return byNumber(id % GUESSED)?.name;
}

/** Added to a file type's number that llama.cpp guessed from the tensors since the file does not say. */
export const GUESSED = 1024;

function byNumber(id: number): FileType | undefined {
  return FILE_TYPES.find((type) => type.id === id && !type.own) ?? FILE_TYPES.find((type) => type.id === id);
}
