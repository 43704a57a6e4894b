/** Turns the words of a command line into values; what cannot be understood is an InvalidArgumentError of the parser. */

import { InvalidArgumentError } from 'commander';
import { type ImagePreparation, parsePreparation } from '../calibration/data/image-preparation.ts';
import { WhittleError } from '../errors.ts';

/** `q4,q8` and repeated flags both make a list. */
export function listOption(word: string, previous: readonly string[] | undefined): string[] {
  const items = word.split(',').map((item) => item.trim());
  if (items.some((item) => item === ''))
    throw new InvalidArgumentError('There is an empty item in the list.');
  return [...(previous ?? []), ...items];
}

/** Patterns may hold commas (`{a,b}`), so that only repetition makes a list. */
export function repeatOption(word: string, previous: readonly string[] | undefined): string[] {
  return [...(previous ?? []), word];
}

/** A word and how many such words stood before it. */
export interface PlacedWord {
  readonly place: number;
  readonly word: string;
}

/** For several flags whose words are taken in the order in which they were typed: they share one counter. */
export function placedOption(): (word: string, previous: readonly PlacedWord[] | undefined) => PlacedWord[] {
  let next = 0;
  return (word, previous) => [...(previous ?? []), { place: next++, word }];
}

export function integerOption(low: number, high: number): (word: string) => number {
  return (word) => {
    const value = /^\d+$/.test(word) ? Number(word) : Number.NaN;
    if (!(value >= low && value <= high)) {
      throw new InvalidArgumentError(`Expected a whole number from ${low} to ${high}.`);
    }
    return value;
  };
}

/** A whole number, negative ones counting from the end. */
export function axisOption(word: string): number {
  if (!/^-?\d{1,2}$/.test(word)) throw new InvalidArgumentError('Expected an axis such as 1 or -1.');
  return Number(word);
}

export function numberOption(low: number, high: number): (word: string) => number {
  return (word) => {
    const value = word.trim() === '' ? Number.NaN : Number(word);
    if (!(value >= low && value <= high))
      throw new InvalidArgumentError(`Expected a number from ${low} to ${high}.`);
    return value;
  };
}

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 1e3, M: 1e6, G: 1e9 };

/** `2G`, `500M`: decimal, as llama-gguf-split counts. */
export function sizeOption(word: string): number {
  const [, digits, unit] = /^(\d{1,12}(?:\.\d{1,6})?)([KMG]?)B?$/i.exec(word.trim()) ?? [];
  const value = Math.round(Number(digits) * (UNITS[unit?.toUpperCase() ?? ''] ?? Number.NaN));
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new InvalidArgumentError('Expected a size such as 2G or 500M.');
  }
  return value;
}

type Named<T> = Readonly<Record<string, T>>;

/** `name=1,3,48,320` or `name=1x3x48x320`; the name may hold `=`. */
export function shapeOption(
  word: string,
  previous: Named<readonly number[]> | undefined,
): Named<readonly number[]> {
  const [name, value] = splitNamed(word, 'name=1,3,224,224');
  const shape =
    value === '' ? [] : value.split(/[,x×]/).map((dim) => (/^\d+$/.test(dim) ? Number(dim) : Number.NaN));
  if (!shape.every(Number.isSafeInteger)) throw new InvalidArgumentError('Expected name=1,3,224,224.');
  return Object.assign(Object.create(null), previous, { [name]: shape });
}

/** A description of preprocessing as JSON, or the file that holds it. */
export function preprocessingOption(word: string): ImagePreparation | string {
  try {
    return parsePreparation(word);
  } catch (error) {
    const { expected, found } = error instanceof WhittleError ? error.details : {};
    const said = error instanceof Error ? error.message : String(error);
    throw new InvalidArgumentError(`${said}: expected ${expected}, found ${found}.`);
  }
}

/** `name=file`. */
export function inputOption(word: string, previous: Named<string> | undefined): Named<string> {
  const [name, file] = splitNamed(word, 'name=file.npy');
  if (file === '') throw new InvalidArgumentError('Expected name=file.npy.');
  return Object.assign(Object.create(null), previous, { [name]: file });
}

function splitNamed(word: string, example: string): [string, string] {
  const at = word.lastIndexOf('=');
  if (at <= 0) throw new InvalidArgumentError(`Expected ${example}.`);
  return [word.slice(0, at), word.slice(at + 1)];
}
