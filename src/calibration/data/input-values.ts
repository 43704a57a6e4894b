/**
 * Seeded values that are plausible for an input of a given name, type and shape: token ids below the size of their table,
 * masks of ones, rising positions, smooth pictures, harmonic sound, empty recurrent state. Compression errors measured on
 * such inputs are indicative; with real ones (`--input`) they are the truth.
 */

import { DTYPES, type DType } from '../../core/dtype.ts';
import { createRandom, type Random } from '../../core/random.ts';
import { elementCount, formatShape, type Shape } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import type { RuntimeTensor, RuntimeValueInfo } from '../../runtime/runtime.ts';
import type { InputHints } from './graph-hints.ts';
import { imageChannelAxis, isAudio, isCache, isSampleRate, isState, type Scenario } from './input-shapes.ts';
import { makeTensor } from './tensor-values.ts';

/** More elements than any input needs: a wrong guess of a size must not fill the memory. */
const MAX_ELEMENTS = 64 * 1024 * 1024;

/** One value for every input; `given` tensors are taken as they are. */
export function synthesizeValues(
  inputs: readonly RuntimeValueInfo[],
  scenario: Scenario,
  hints: InputHints,
  seed: number,
  given: ReadonlyMap<string, RuntimeTensor> = new Map(),
): Map<string, RuntimeTensor> {
  const values = new Map<string, RuntimeTensor>();
  inputs.forEach((input, index) => {
    const fixed = given.get(input.name);
    if (fixed !== undefined) {
      values.set(input.name, fixed);
      return;
    }
    const shape = scenario.shapes.get(input.name) ?? [];
    const count = elementCount(shape);
    if (count === undefined || count > MAX_ELEMENTS) {
      throw new WhittleError('E_LIMIT', `input ${input.name} is too large to make up`, {
        tensor: input.name,
        expected: `at most ${MAX_ELEMENTS} elements`,
        found: formatShape(shape),
        hint: 'give its shape, e.g. --shape name=1,3,224,224',
      });
    }
    const random = createRandom((seed * 0x9e3779b1 + index * 0x85ebca6b) >>> 0);
    values.set(
      input.name,
      makeTensor(input.dtype, shape, elements(input, shape, count, inputs, scenario, hints, random)),
    );
  });
  return values;
}

function elements(
  input: RuntimeValueInfo,
  shape: Shape,
  count: number,
  inputs: readonly RuntimeValueInfo[],
  scenario: Scenario,
  hints: InputHints,
  random: Random,
): Float64Array {
  const { name, dtype } = input;
  const fill = (value: (index: number) => number): Float64Array =>
    Float64Array.from({ length: count }, (_, i) => value(i));
  if (dtype === 'bool') return fill(() => (/use_cache|branch/i.test(name) && scenario.past === 0 ? 0 : 1));
  if (isSampleRate(name)) return fill(() => 16000);
  if (/mask/i.test(name)) return fill(() => 1);
  if (DTYPES[dtype].kind !== 'float') {
    if (dtype === 'uint8' && imageChannelAxis(input) !== undefined) {
      return picture(input, shape, random).map((x) => Math.round(127.5 + 60 * Math.max(-2, Math.min(2, x))));
    }
    return fill(integerValue(name, shape, scenario, hints.indexBound.get(name), dtype, random));
  }
  if (isCache(name)) return fill(() => random.normal());
  if (isState(name)) return fill(() => 0);
  if (/scale_factor/i.test(name)) return fill(() => 1);
  if (/im_shape|image_shape|orig.*size/i.test(name)) return imageSize(shape, count, inputs, scenario);
  if (imageChannelAxis(input) !== undefined) return picture(input, shape, random);
  if (isAudio(input, inputs)) return sound(count, shape.at(-1) ?? count, random);
  if (count === 1) return fill(() => 0.5);
  return fill(() => random.normal());
}

function integerValue(
  name: string,
  shape: Shape,
  scenario: Scenario,
  bound: number | undefined,
  dtype: DType,
  random: Random,
): (index: number) => number {
  const last = shape.at(-1) ?? 1;
  if (/position|cache_pos/i.test(name)) return (i) => scenario.past + (i % last);
  if (/token_type|segment|beam/i.test(name)) return () => 0;
  if (/(^|_)(lengths?|lens?)$/i.test(name)) {
    const time = [...scenario.shapes].find(([other, dims]) => other !== name && dims.length >= 2)?.[1];
    return () => time?.at(time.length > 2 && time.at(-1)! <= 128 ? -2 : -1) ?? scenario.sequence;
  }
  const usual = /ids|token|input|text|word/i.test(name) ? 100 : 2;
  const largest = 2 ** (DTYPES[dtype].bits - (DTYPES[dtype].kind === 'int' ? 1 : 0));
  const limit = Math.min(bound ?? usual, largest);
  if (shape.length === 0 && bound === undefined) return () => 1;
  return () => Math.floor(random.uniform() * limit);
}

/**
 * A page about as normalised photographs are: light ground with slow waves and grain, lines of dark words on it. Flat or purely random pictures leave detectors and readers silent, and silence proves nothing.
 */
function picture(input: RuntimeValueInfo, shape: Shape, random: Random): Float64Array {
  const [d0 = 1, d1 = 1, d2 = 1, d3 = 1] = shape;
  const nchw = imageChannelAxis(input) !== 3;
  const [batch, channels, height, width] = nchw ? [d0, d1, d2, d3] : [d0, d3, d1, d2];
  const values = new Float64Array(batch * channels * height * width);
  for (let b = 0; b < batch; b++) {
    const ink = lettering(height, width, random);
    for (let c = 0; c < channels; c++) {
      const ground = 0.9 + 0.2 * random.uniform();
      const waves = Array.from({ length: 3 }, () => ({
        y: (random.uniform() * 6 * Math.PI) / height,
        x: (random.uniform() * 6 * Math.PI) / width,
        phase: random.uniform() * 2 * Math.PI,
      }));
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          let value = ground + 0.05 * random.normal();
          for (const wave of waves) value += 0.08 * Math.sin(wave.y * y + wave.x * x + wave.phase);
          if (ink[y * width + x] === 1) value -= 2;
          const index = nchw
            ? ((b * channels + c) * height + y) * width + x
            : ((b * height + y) * width + x) * channels + c;
          values[index] = value;
        }
      }
    }
  }
  return values;
}

/** Dot-matrix letters of 5×7: a row in each byte, the leftmost dot in bit 4. */
const GLYPHS: Readonly<Record<string, readonly number[]>> = {
  A: [0x0e, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
  C: [0x0e, 0x11, 0x10, 0x10, 0x10, 0x11, 0x0e],
  D: [0x1e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x1e],
  E: [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x1f],
  H: [0x11, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
  I: [0x0e, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0e],
  L: [0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1f],
  M: [0x11, 0x1b, 0x15, 0x15, 0x11, 0x11, 0x11],
  N: [0x11, 0x19, 0x15, 0x13, 0x11, 0x11, 0x11],
  O: [0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
  P: [0x1e, 0x11, 0x11, 0x1e, 0x10, 0x10, 0x10],
  R: [0x1e, 0x11, 0x11, 0x1e, 0x14, 0x12, 0x11],
  S: [0x0f, 0x10, 0x10, 0x0e, 0x01, 0x01, 0x1e],
  T: [0x1f, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04],
  U: [0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
  '2': [0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f],
  '4': [0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02],
  '7': [0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
};
const WORDS = [
  'THE',
  'NATION',
  'HOUSE',
  'PEACE',
  'LAND',
  'STATE',
  'MORE',
  'TIME',
  '247',
  'AND',
  'PORT',
  'SCHOOL',
];

/** 1 where there is ink: one line of words that fills a low picture, several lines on a high one. */
function lettering(height: number, width: number, random: Random): Uint8Array {
  const ink = new Uint8Array(height * width);
  const dot = Math.max(1, Math.floor((height <= 64 ? height * 0.65 : height / 14) / 7));
  const glyph = (letter: string, left: number, top: number): void => {
    GLYPHS[letter]?.forEach((bits, row) => {
      for (let column = 0; column < 5; column++) {
        if (((bits >> (4 - column)) & 1) === 0) continue;
        const x = left + column * dot;
        for (let y = top + row * dot; y < Math.min(height, top + (row + 1) * dot); y++) {
          ink.fill(1, y * width + Math.min(width, x), y * width + Math.min(width, x + dot));
        }
      }
    });
  };
  const size = 7 * dot;
  for (
    let top = Math.max(dot, (height % Math.round(size * 1.8)) >> 1);
    top + size <= height;
    top += Math.round(size * 1.8)
  ) {
    let left = 2 * dot;
    for (;;) {
      const word = WORDS[Math.floor(random.uniform() * WORDS.length)] ?? '';
      if (left + word.length * 6 * dot > width) break;
      for (const letter of word) {
        glyph(letter, left, top);
        left += 6 * dot;
      }
      left += 4 * dot;
    }
  }
  return ink;
}

/** Three harmonics of a voice-like pitch under an envelope, with noise, at 16 kHz. */
function sound(count: number, length: number, random: Random): Float64Array {
  const pitch = 100 + 120 * random.uniform();
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const t = (i % length) / 16000;
    const envelope = 0.5 + 0.5 * Math.sin(2 * Math.PI * 3 * t + 1);
    const tone = [1, 2, 3].reduce((sum, k) => sum + Math.sin(2 * Math.PI * pitch * k * t) / k, 0);
    values[i] = 0.2 * envelope * tone + 0.01 * random.normal();
  }
  return values;
}

function imageSize(
  shape: Shape,
  count: number,
  inputs: readonly RuntimeValueInfo[],
  scenario: Scenario,
): Float64Array {
  const image = inputs.find((input) => imageChannelAxis(input) !== undefined);
  const dims = image === undefined ? [] : (scenario.shapes.get(image.name) ?? []);
  const first = image !== undefined && imageChannelAxis(image) === 3 ? 1 : 2;
  const size = dims.slice(first, first + 2);
  const last = shape.at(-1) ?? 1;
  return Float64Array.from({ length: count }, (_, i) => size[i % last] ?? 1);
}
