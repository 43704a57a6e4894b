/**
 * What the encoders of ggml block types are tried on: the distributions that weights have, and the edges of f32 (zeros of both
 * signs, subnormals, outliers, overflow in intermediate values). Only exact arithmetic makes them, so they are the same values
 * in every engine and can be compared by digests. Nothing here needs Node: the browser suite uses the same inputs.
 */

import { BLOCK_TYPES, type BlockType } from '../../../src/core/ggml-types.ts';
import { createRandom, type Random } from '../../../src/core/random.ts';

export interface BlockInput {
  readonly name: string;
  readonly rowLength: number;
  readonly values: Float32Array;
  /** Shared by all rows. */
  readonly importance: Float32Array;
}

/** Roughly normal, within ±3: a sum of six uniform numbers, all steps exact in f64. */
function bell(random: Random): number {
  let sum = -3;
  for (let i = 0; i < 6; i++) sum += random.uniform();
  return sum;
}

type Values = (random: Random, index: number) => number;

/** Smallest positive f32. */
const TINY = 2 ** -149;
const HUGE = 3.4028234663852886e38;

/** f16-like: 11 significant bits, so that ties and equal values are common. */
function coarse(value: number): number {
  const scaled = value * 2 ** 7;
  return (scaled - (scaled % 1)) * 2 ** -11;
}

const DISTRIBUTIONS: Readonly<Record<string, Values>> = {
  normal: (random) => bell(random) * 0.02,
  'heavy tails': (random) => (bell(random) * 0.01) / (random.uniform() + 0.005),
  'few distinct values': (random) => coarse(bell(random)),
  positive: (random) => bell(random) ** 2 * 0.1 + 0.01,
  negative: (random) => -(bell(random) ** 2) * 0.1 - 0.01,
  'one constant': () => 0.37,
  'a negative constant': () => -1.5,
  'constants per sixteen': (_, index) => (((index >> 4) * 7) % 11) - 5,
  zeros: () => 0,
  'zeros of both signs': (random) => (random.uint32() % 2 === 0 ? 0 : -0),
  'mostly zeros': (random) => (random.uint32() % 12 === 0 ? bell(random) : 0),
  'one outlier': (random, index) => (index % 256 === 77 ? -900 : bell(random) * 0.01),
  'one huge outlier': (_, index) => (index % 512 === 5 ? 1e30 : 1e-30),
  alternating: (_, index) => (index % 2 === 0 ? 0.5 : -0.5),
  ramp: (_, index) => (index % 96) * 0.125 - 5,
  subnormal: (random) => ((random.uint32() % 4001) - 2000) * TINY * 2000,
  'smallest subnormals': (random) => ((random.uint32() % 9) - 4) * TINY,
  'near 1e-15': (random) => bell(random) * 1e-15,
  'near 1e-20': (random) => bell(random) * 1e-20,
  'near 1e-30': (random) => bell(random) * 1e-30,
  'near 1e-8': (random) => bell(random) * 3e-8,
  'blocks of all magnitudes': (random, index) => bell(random) * 2 ** (((index >> 5) * 5) % 60) * 2 ** -40,
  'near 1e5': (random) => bell(random) * 1e5,
  'near 1e18': (random) => bell(random) * 1e18,
  'near 1e30': (random) => bell(random) * 1e30,
  'up to the largest f32': (random) => (bell(random) / 3) * HUGE,
  'largest f32 among small values': (random, index) => (index % 64 === 9 ? HUGE : bell(random)),
};

/** Weights ≥ 0 as activations give them: a few large ones, zeros, a block without any, one that is constant. */
function importanceOf(random: Random, rowLength: number, style: number): Float32Array {
  return Float32Array.from({ length: rowLength }, (_, i) => {
    if (style === 1) return 0;
    if (style === 2) return 1;
    if (style === 3) return bell(random) ** 2 * 1e-12;
    if (style === 4) return bell(random) ** 2 * 1e12;
    const tail = bell(random) ** 2 / (random.uniform() + 0.01);
    const block = i >> 5;
    if (block % 11 === 3) return 0;
    return random.uint32() % 7 === 0 ? 0 : tail * 0.1;
  });
}

/** Rows of 1, 3 and 8 (or many, of small blocks) blocks; importance from plain to all zero. */
export function blockInputs(type: BlockType): BlockInput[] {
  const { size } = BLOCK_TYPES[type];
  const many = size === 256 ? 5 : Math.max(8, 512 / size + 3);
  const shapes = [
    [2, 3],
    [4, 1],
    [1, many],
  ] as const;
  const inputs: BlockInput[] = [];
  let seed = 0;
  for (const [name, values] of Object.entries(DISTRIBUTIONS)) {
    seed++;
    const random = createRandom(seed);
    const [rows, blocks] = name === 'normal' ? [3, many] : shapes[seed % shapes.length]!;
    const rowLength = blocks * size;
    inputs.push({
      name,
      rowLength,
      values: Float32Array.from({ length: rows * rowLength }, (_, index) => values(random, index)),
      importance: importanceOf(random, rowLength, seed % 4 === 3 ? (seed >> 2) % 5 : 0),
    });
  }
  for (const [style, importance] of ['mixed', 'zero', 'constant', 'tiny', 'huge'].entries()) {
    const random = createRandom(1000 + style);
    const rowLength = 3 * size;
    inputs.push({
      name: `normal, ${importance} importance`,
      rowLength,
      values: Float32Array.from({ length: 2 * rowLength }, () => bell(random)),
      importance: importanceOf(random, rowLength, style),
    });
  }
  return inputs;
}

/** Bytes of any kind in the place of blocks, and blocks whose every byte is 0 or 255. */
export function hostileBlocks(type: BlockType): Uint8Array {
  const { bytes } = BLOCK_TYPES[type];
  const random = createRandom(77);
  return Uint8Array.from({ length: bytes * 67 }, (_, i) => {
    const block = Math.floor(i / bytes);
    if (block === 3) return 0;
    if (block === 5) return 255;
    return random.uint32() >>> 24;
  });
}

/** Bits of f32 values with every NaN the same one: its payload differs between machines. */
export function valueBytes(values: Float32Array): Uint8Array {
  const words = new Uint32Array(values.length);
  new Float32Array(words.buffer).set(values);
  for (let i = 0; i < words.length; i++) {
    if (Number.isNaN(values[i]!)) words[i] = 0x7fc00000;
  }
  return new Uint8Array(words.buffer);
}

/** First 16 hexadecimal digits of SHA-256. */
export async function digestOf(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new Uint8Array(bytes));
  return Array.from(new Uint8Array(digest, 0, 8), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Which encodings a type has: without an importance matrix, with one. */
export function formsOf(type: BlockType): readonly ('plain' | 'imatrix')[] {
  const { importance } = BLOCK_TYPES[type];
  if (importance === 'ignored') return ['plain'];
  return importance === 'required' ? ['imatrix'] : ['plain', 'imatrix'];
}

/** Digests of one type: of every input's blocks by form, and of the hostile blocks' values. */
export interface TypeDigests {
  readonly plain?: Readonly<Record<string, string>>;
  readonly imatrix?: Readonly<Record<string, string>>;
  readonly values: string;
}

export type Digests = Readonly<Partial<Record<BlockType, TypeDigests>>>;
