/**
 * Names and keys of split models: `model-00002-of-00003.gguf`, counted from 1 in the name and from 0 in `split.no`. All
 * metadata stands in the first part; every part has the three keys.
 *
 * Source: llama.cpp's llama_split_path; docs/gguf.md.
 */

export const SPLIT_NO = 'split.no';
export const SPLIT_COUNT = 'split.count';
export const SPLIT_TENSORS = 'split.tensors.count';
export const SPLIT_KEYS: ReadonlySet<string> = new Set([SPLIT_NO, SPLIT_COUNT, SPLIT_TENSORS]);

const PATTERN = /^(.*)-(\d{5,})-of-(\d{5,})\.gguf$/s;

export interface SplitName {
  /** What stands before `-00001-of-…`; with the folder, where the name has one. */
  readonly prefix: string;
  /** From 0. */
  readonly index: number;
  readonly count: number;
}

/** The file name of part `index` (from 0). */
export function splitName(prefix: string, index: number, count: number): string {
  return `${prefix}-${digits(index + 1)}-of-${digits(count)}.gguf`;
}

/** undefined for names that no part of a split model has. */
export function parseSplitName(name: string): SplitName | undefined {
  const [, prefix, number, count] = PATTERN.exec(name) ?? [];
  if (prefix === undefined || prefix === '') return undefined;
  const index = Number(number) - 1;
  if (index < 0 || index >= Number(count) || splitName(prefix, index, Number(count)) !== name)
    return undefined;
  return { prefix, index, count: Number(count) };
}

function digits(value: number): string {
  return String(value).padStart(5, '0');
}
