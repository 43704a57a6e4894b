/**
 * What surrounds PaddleOCR's recognition network: picture → input tensor, output probabilities → text.
 *
 * In: 48 rows high, width by the aspect ratio, channels in the order blue, green, red, (v / 255 − 0.5) / 0.5, planes
 * (NCHW), padded with zeros on the right to at least 320 columns. Out: [1, steps, classes], decoded greedily as
 * connectionist temporal classification asks (Graves and others, 2006): best class of every step, repeats merged,
 * blanks dropped. Classes: 0 = blank, then the lines of the key file, then the space.
 */

import type { RgbaImage } from './line-image.ts';

const ROWS = 48;
const FEWEST_COLUMNS = 320;

export interface PlanarImage {
  /** [1, 3, 48, columns]. */
  readonly shape: readonly [number, number, number, number];
  readonly values: Float32Array;
}

/** Resamples (triangle filter: averages where it shrinks, linear where it grows) and normalises. */
export function imageToInput(image: Pick<RgbaImage, 'width' | 'height' | 'pixels'>): PlanarImage {
  const used = Math.max(1, Math.ceil((ROWS * image.width) / image.height));
  const columns = Math.max(FEWEST_COLUMNS, used);
  const values = new Float32Array(3 * ROWS * columns);
  const across = filterTaps(image.width, used);
  const down = filterTaps(image.height, ROWS);
  const narrowed = new Float32Array(image.height * used);
  for (let plane = 0; plane < 3; plane++) {
    const channel = 2 - plane;
    for (let row = 0; row < image.height; row++) {
      for (let x = 0; x < used; x++) {
        const { first, weights } = across[x]!;
        let sum = 0;
        for (let tap = 0; tap < weights.length; tap++) {
          sum += weights[tap]! * overWhite(image.pixels, (row * image.width + first + tap) * 4, channel);
        }
        narrowed[row * used + x] = sum;
      }
    }
    for (let y = 0; y < ROWS; y++) {
      const { first, weights } = down[y]!;
      for (let x = 0; x < used; x++) {
        let sum = 0;
        for (let tap = 0; tap < weights.length; tap++)
          sum += weights[tap]! * narrowed[(first + tap) * used + x]!;
        values[(plane * ROWS + y) * columns + x] = (sum / 255 - 0.5) / 0.5;
      }
    }
  }
  return { shape: [1, 3, ROWS, columns], values };
}

interface Taps {
  readonly first: number;
  /** Of the input samples from `first` on; they sum to 1. */
  readonly weights: readonly number[];
}

/** For every output sample the input samples that it averages. */
function filterTaps(from: number, to: number): Taps[] {
  const step = from / to;
  const radius = Math.max(1, step);
  return Array.from({ length: to }, (_, target) => {
    const centre = (target + 0.5) * step - 0.5;
    const first = Math.max(0, Math.ceil(centre - radius));
    const last = Math.min(from - 1, Math.floor(centre + radius));
    const raw = Array.from(
      { length: last - first + 1 },
      (_, tap) => 1 - Math.abs(first + tap - centre) / radius,
    );
    const total = raw.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: raw.map((weight) => weight / total) };
  });
}

/** One channel of a pixel as it looks on white ground. */
function overWhite(pixels: Uint8Array, pixel: number, channel: number): number {
  const alpha = pixels[pixel + 3]! / 255;
  return pixels[pixel + channel]! * alpha + 255 * (1 - alpha);
}

/** The classes of the network from the text of its key file. */
export function parseKeys(text: string): string[] {
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  return ['', ...lines, ' '];
}

export interface Reading {
  readonly text: string;
  /** Mean probability of the characters that were kept. */
  readonly confidence: number;
}

/**
 * Greedy CTC. Spaces at the ends, which no picture shows, are dropped. `probabilities` is [1, steps, classes]; the number of classes must be that of the key file.
 */
export function decode(
  probabilities: Float32Array,
  shape: readonly number[],
  keys: readonly string[],
): Reading {
  const [batch, steps, classes] = shape;
  if (shape.length !== 3 || batch !== 1 || steps === undefined || classes !== keys.length) {
    throw new Error(`The network answers [${shape.join(', ')}], the key file names ${keys.length} classes.`);
  }
  let text = '';
  let sum = 0;
  let kept = 0;
  let last = 0;
  for (let step = 0; step < steps; step++) {
    const start = step * classes;
    let best = 0;
    for (let index = 1; index < classes; index++) {
      if (probabilities[start + index]! > probabilities[start + best]!) best = index;
    }
    if (best !== 0 && best !== last) {
      text += keys[best];
      sum += probabilities[start + best]!;
      kept++;
    }
    last = best;
  }
  return { text: text.trim(), confidence: kept === 0 ? 0 : sum / kept };
}
