/**
 * Real inputs for real models: a rendered line of text for PaddleOCR, a voice-like signal for the voice detector, sentences for the language
 * models. Random noise would do for a smoke test, but networks answer it with near constants, which every quantization gets right.
 */

import { drawLine, type RgbaImage } from '../../demo/line-image.ts';
import { imageToInput } from '../../demo/ocr.ts';
import { createRandom } from '../../src/core/random.ts';
import { type Feeds, float, int64 } from './engine.ts';

/** Letters of either case, figures, brackets and signs: what a recognition network confuses first. */
export const LINES = ['whittle reads 2026 & 4 bits', 'Ahoy! 42 whales in 1851', 'From 11 MB to 3 MB (27 %)'];

let drawn: Promise<RgbaImage[]> | undefined;

function images(): Promise<RgbaImage[]> {
  drawn ??= Promise.all(LINES.map(drawLine));
  return drawn;
}

/** Recognition and direction classifier: 48 rows, BGR, [-1, 1]. One feed for each of `LINES`. */
export async function lineFeeds(): Promise<Feeds[]> {
  return (await images()).map((image) => {
    const { shape, values } = imageToInput(image);
    return { x: float(values, shape) };
  });
}

/** Text detection: the picture on a white page, sides a multiple of 32, normalised as ImageNet. */
export async function pageFeeds(): Promise<Feeds[]> {
  const [image] = await images();
  if (image === undefined) throw new Error('no line was drawn');
  const { width, height, pixels } = image;
  const columns = Math.ceil(width / 32) * 32;
  const rows = 160;
  const mean = [0.485, 0.456, 0.406];
  const std = [0.229, 0.224, 0.225];
  const values = new Float32Array(3 * rows * columns);
  for (let plane = 0; plane < 3; plane++) {
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const inside = y < height && x < width;
        const level = inside ? pixels[(y * width + x) * 4 + plane]! / 255 : 1;
        values[(plane * rows + y) * columns + x] = (level - mean[plane]!) / std[plane]!;
      }
    }
  }
  return [{ x: float(values, [1, 3, rows, columns]) }];
}

/** 2 seconds at 16 kHz in frames of 512: silence, then syllables of a harmonic tone with two formants, in faint noise. */
export function voiceFeeds(): Feeds[] {
  const random = createRandom(3);
  const rate = 16_000;
  const frame = 512;
  const frames = 62;
  const signal = new Float32Array(frames * frame);
  for (let i = 0; i < signal.length; i++) {
    const t = i / rate;
    const syllable = t < 0.5 ? 0 : Math.max(0, Math.sin(2 * Math.PI * 4 * t)) ** 0.5;
    const pitch = 120 + 15 * Math.sin(2 * Math.PI * 0.7 * t);
    let voice = 0;
    for (let harmonic = 1; harmonic <= 25; harmonic++) {
      const hertz = harmonic * pitch;
      const formants =
        Math.exp(-(((hertz - 600) / 250) ** 2)) + 0.6 * Math.exp(-(((hertz - 1500) / 350) ** 2)) + 0.03;
      voice += formants * Math.sin(2 * Math.PI * hertz * t);
    }
    signal[i] = 0.15 * syllable * voice + 0.002 * random.normal();
  }
  return Array.from({ length: frames }, (_, index) => ({
    input: float(signal.slice(index * frame, (index + 1) * frame), [1, frame]),
    state: float(new Float32Array(2 * 128), [2, 1, 128]),
    sr: int64([rate], []),
  }));
}

/** Rows of token ids, each run by itself. */
export function tokenFeeds(rows: readonly (readonly number[])[]): Feeds[] {
  return rows.map((ids) => ({
    input_ids: int64(ids, [1, ids.length]),
    attention_mask: int64(new Array<number>(ids.length).fill(1), [1, ids.length]),
  }));
}

/** Rows of one length, `size` of them in a run. */
export function batchFeeds(rows: readonly (readonly number[])[], size: number): Feeds[] {
  return Array.from({ length: Math.ceil(rows.length / size) }, (_, batch) => {
    const part = rows.slice(batch * size, (batch + 1) * size);
    const shape = [part.length, part[0]?.length ?? 0];
    const ids = part.flat();
    return {
      input_ids: int64(ids, shape),
      attention_mask: int64(new Array<number>(ids.length).fill(1), shape),
    };
  });
}

/** Rows of token ids, each run by itself, with positions and an empty cache of `layers` layers. */
export function cacheFeeds(
  rows: readonly (readonly number[])[],
  layers: number,
  heads: number,
  size: number,
): Feeds[] {
  const empty = () => float(new Float32Array(0), [1, heads, 0, size]);
  const cache = Array.from({ length: layers }, (_, layer) => [
    [`past_key_values.${layer}.key`, empty()] as const,
    [`past_key_values.${layer}.value`, empty()] as const,
  ]).flat();
  return tokenFeeds(rows).map((feed, row) => {
    const ids = rows[row]!;
    return { ...feed, position_ids: int64([...ids.keys()], [1, ids.length]), ...Object.fromEntries(cache) };
  });
}
