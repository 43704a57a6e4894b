/** Flags that say what a model is run on to learn what its layers see, or to measure it. */

import type { ImagePreparation } from '../calibration/data/image-preparation.ts';
import type { CalibrationData } from '../compress/options.ts';
import { WhittleError } from '../errors.ts';

export interface DataFlags {
  readonly data?: string | undefined;
  readonly samples?: number | undefined;
  readonly sequence?: number | undefined;
  readonly seed?: number | undefined;
  readonly tokenizer?: string | undefined;
  readonly preprocessing?: ImagePreparation | string | undefined;
  readonly shape?: Readonly<Record<string, readonly number[]>> | undefined;
}

/** @param other - whether there is other data that the flags may speak of; else E_USAGE where one does and none is given */
export function dataOptions(flags: DataFlags, other = false): CalibrationData | undefined {
  const { data, samples, sequence, seed, tokenizer, preprocessing, shape } = flags;
  if (data !== undefined) {
    return { source: data, samples, sequence, seed, tokenizer, preprocessing, shapes: shape };
  }
  const about = other ? { samples } : { samples, sequence, seed, tokenizer, preprocessing };
  for (const [name, value] of Object.entries(about)) {
    if (value === undefined) continue;
    throw new WhittleError('E_USAGE', `--${name} speaks of data, and none was given`, {
      hint: 'Name the data with --data.',
    });
  }
  return undefined;
}
