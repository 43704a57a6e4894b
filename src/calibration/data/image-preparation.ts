/**
 * How pictures become values: whittle's own description, or the preprocessor_config.json that stands beside models of the Hugging
 * Face hub. A value of the result is (pixel × scale − mean) / std, per channel.
 */

import { nearest } from '../../core/nearest.ts';
import { WhittleError } from '../../errors.ts';
import { isRecord, parseJsonText, readText } from './read-text.ts';

export interface ImagePreparation {
  /** Pixels. Default: what the model's input fixes. */
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  /** fill: stretched; cover: cut to size around the centre; contain: whole, in the centre (letterbox). Default fill. */
  readonly fit?: 'fill' | 'cover' | 'contain' | undefined;
  /** Level of red, green and blue beside a picture that `contain` keeps whole, 0…255. Default 0; YOLO's letterbox has 114. */
  readonly background?: number | undefined;
  /** The shorter side is made this long first, before width × height are cut from the centre. */
  readonly shortestEdge?: number | undefined;
  readonly filter?: 'nearest' | 'linear' | 'cubic' | 'lanczos3' | undefined;
  /** Of pixels 0…255. Default 1/255. */
  readonly scale?: number | undefined;
  /** One for all channels, or one for each; after `scale`. Default 0. */
  readonly mean?: number | readonly number[] | undefined;
  /** Default 1. */
  readonly std?: number | readonly number[] | undefined;
  /** Default: what the shape of the model's input tells. */
  readonly layout?: 'nchw' | 'nhwc' | undefined;
  /** Default rgb; gray where the model takes one channel. */
  readonly channels?: 'rgb' | 'bgr' | 'gray' | undefined;
  /** Default: the one input that looks like a picture. */
  readonly input?: string | undefined;
}

const CHOICES: Readonly<Record<string, readonly string[]>> = {
  fit: ['fill', 'cover', 'contain'],
  filter: ['nearest', 'linear', 'cubic', 'lanczos3'],
  layout: ['nchw', 'nhwc'],
  channels: ['rgb', 'bgr', 'gray'],
};
const SIZES = ['width', 'height', 'shortestEdge'];
const KEYS = [...SIZES, ...Object.keys(CHOICES), 'background', 'scale', 'mean', 'std', 'input'];
const MAX_SIDE = 8192;

/**
 * @param word - a description as JSON, or the file that holds one
 * @throws WhittleError E_USAGE where JSON is none, E_DATA with the member that is wrong
 */
export function parsePreparation(word: string): ImagePreparation | string {
  if (!word.trimStart().startsWith('{')) return word;
  let value: unknown;
  try {
    value = JSON.parse(word);
  } catch (cause) {
    throw new WhittleError('E_USAGE', 'the preprocessing description is no JSON', {
      expected: '{"width": 224, "height": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}',
      found: word.slice(0, 80),
      cause,
    });
  }
  return isRecord(value) ? checkPreparation(isHub(value) ? fromHub(value) : value) : word;
}

/** @throws WhittleError E_NOT_FOUND, E_DATA with the member that is wrong */
export async function readPreparation(file: string): Promise<ImagePreparation> {
  const value = parseJsonText(await readText(file, 1 << 20), file);
  if (!isRecord(value))
    throw new WhittleError('E_DATA', 'a preprocessing description is an object', { file });
  return checkPreparation(isHub(value) ? fromHub(value) : value, file);
}

const HUB = ['image_processor_type', 'do_resize', 'do_normalize', 'image_mean', 'feature_extractor_type'];

function isHub(value: object): boolean {
  return HUB.some((key) => key in value);
}

/** @throws WhittleError E_DATA with the member that is wrong */
export function checkPreparation(value: object, file?: string): ImagePreparation {
  for (const [key, item] of Object.entries(value)) {
    if (item === undefined) continue;
    const choices = Object.hasOwn(CHOICES, key) ? CHOICES[key] : undefined;
    const fail = (expected: string, hint?: string): WhittleError =>
      new WhittleError('E_DATA', `the preprocessing description has a wrong ${key}`, {
        file,
        expected,
        found: JSON.stringify(item)?.slice(0, 80),
        hint,
      });
    if (!KEYS.includes(key)) {
      const near = nearest(key, KEYS);
      throw fail(`one of ${KEYS.join(', ')}`, near === undefined ? undefined : `Did you mean ${near}?`);
    }
    if (choices !== undefined && !choices.some((choice) => choice === item))
      throw fail(`one of ${choices.join(', ')}`);
    if (SIZES.includes(key) && !(isWhole(item) && item <= MAX_SIDE))
      throw fail(`pixels from 1 to ${MAX_SIDE}`);
    if (key === 'background' && !(isReal(item) && item >= 0 && item <= 255))
      throw fail('a level from 0 to 255');
    if (key === 'scale' && !isReal(item)) throw fail('a number');
    if (key === 'mean' && !isNumbers(item)) throw fail('a number, or one for each channel');
    if (key === 'std' && !(isNumbers(item) && [item].flat().every((x) => x !== 0))) {
      throw fail('a number other than 0, or one for each channel');
    }
    if (key === 'input' && typeof item !== 'string') throw fail('the name of an input');
  }
  return value;
}

function isReal(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function isWhole(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0;
}

function isNumbers(value: unknown): boolean {
  return Array.isArray(value)
    ? value.length > 0 && value.length <= 4 && value.every(Number.isFinite)
    : Number.isFinite(value);
}

const FILTERS: readonly (ImagePreparation['filter'] | undefined)[] = [
  'nearest',
  'lanczos3',
  'linear',
  'cubic',
];

/** The members that image processors of transformers share; sizes as a number, as {height, width} or {shortest_edge}. */
function fromHub(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const size = config.do_resize === false ? {} : sides(config.size);
  const crop = config.do_center_crop === true ? sides(config.crop_size, true) : {};
  const cropped = crop.width !== undefined;
  const resample = config.resample;
  const shortestEdge = size.shortestEdge ?? (cropped && size.width === size.height ? size.width : undefined);
  return {
    width: crop.width ?? size.width ?? size.shortestEdge,
    height: crop.height ?? size.height ?? size.shortestEdge,
    ...(cropped || size.shortestEdge !== undefined ? { fit: 'cover', shortestEdge } : { fit: 'fill' }),
    ...(typeof resample === 'number' ? { filter: FILTERS[resample] ?? 'linear' } : {}),
    scale: config.do_rescale === false ? 1 : (config.rescale_factor ?? 1 / 255),
    ...(config.do_normalize === false ? {} : { mean: config.image_mean, std: config.image_std }),
  };
}

function sides(
  value: unknown,
  square = false,
): { width?: unknown; height?: unknown; shortestEdge?: unknown } {
  if (typeof value === 'number') return square ? { width: value, height: value } : { shortestEdge: value };
  if (!isRecord(value)) return {};
  return { width: value.width, height: value.height, shortestEdge: value.shortest_edge };
}
