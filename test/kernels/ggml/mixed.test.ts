/**
 * The kernels against ggml's library on blocks that no model has: magnitudes from 1e-45 to 3e38 side by side, few distinct values,
 * sparse and ternary blocks, importance with zeros and with extremes, rows of 1 to 40 blocks. A few hundred rows of each type;
 * WHITTLE_FULL=1 tries ten times as many. Types with code books are left out: the library ends the process where their sums overflow.
 */

import { describe, expect, test } from 'vitest';
import { BLOCK_TYPES, isBlockType } from '../../../src/core/ggml-types.ts';
import { createRandom, type Random } from '../../../src/core/random.ts';
import { selectKernels } from '../../../src/kernels/index.ts';
import { ggmlOracle } from '../../oracle/ggml.ts';
import { formsOf } from './inputs.ts';
import { blockDifference, valueDifference } from './suite.ts';

const LARGEST = 3.4e38;
const oracle = await ggmlOracle();
const kernels = await selectKernels();
const inputs = process.env.WHITTLE_FULL === '1' ? 400 : 40;
const types = Object.keys(BLOCK_TYPES)
  .filter(isBlockType)
  .filter((type) => !['lattice', 'ternary'].includes(BLOCK_TYPES[type].family));

/** Any magnitude of f32, evenly by its logarithm. */
const anywhere = (random: Random): number => 10 ** (-45 + 83.5 * random.uniform());
const pick = (random: Random, count: number): number => Math.floor(random.uniform() * count);

type Kind = (random: Random, magnitude: number) => number;
const KINDS: readonly Kind[] = [
  (random, magnitude) => random.normal() * magnitude,
  (random) => random.normal(),
  (random, magnitude) => (pick(random, 5) - 2) * magnitude,
  (random) => (random.uniform() < 0.1 ? random.normal() : 0),
  (random) => Math.round(random.normal() * 4) / 4,
  (random) => random.normal() ** (1 + 2 * pick(random, 5)),
  (_, magnitude) => magnitude,
  (random) => (pick(random, 9) - 4) * 2 ** -149,
  (random, magnitude) => -Math.abs(random.normal()) * magnitude,
  (random) => random.normal() * anywhere(random),
];

function mixedValues(random: Random, count: number): Float32Array {
  const run = 8 << pick(random, 6);
  let [kind, magnitude] = [KINDS[0]!, 1];
  const one = random.uniform() < 0.5 ? KINDS[pick(random, KINDS.length)] : undefined;
  const values = Float32Array.from({ length: count }, (_, i) => {
    if (i % run === 0) {
      kind = one ?? KINDS[pick(random, KINDS.length)]!;
      magnitude = anywhere(random);
    }
    return Math.max(-LARGEST, Math.min(LARGEST, kind(random, magnitude)));
  });
  if (random.uniform() < 0.2) values[pick(random, count)] = Math.min(LARGEST, anywhere(random));
  return values;
}

function mixedImportance(random: Random, count: number): Float32Array {
  const style = pick(random, 5);
  const magnitude = anywhere(random);
  return Float32Array.from({ length: count }, () => {
    const weight = random.normal() ** 2;
    if (style === 0) return weight;
    if (style === 1) return random.uniform() < 0.5 ? 0 : weight;
    if (style === 2) return Math.min(LARGEST, weight * magnitude);
    return style === 3 ? Math.min(LARGEST, anywhere(random)) : 0;
  });
}

describe.skipIf(oracle === undefined).each(types)('%s', (type) => {
  test('is byte-identical to ggml on blocks of mixed magnitudes, and reads them as ggml does', async () => {
    await kernels.prepareBlocks(type);
    const { size, bytes } = BLOCK_TYPES[type];
    for (let seed = 0; seed < inputs; seed++) {
      const random = createRandom(seed);
      const blocks = 1 + pick(random, size === 256 ? 12 : 40);
      const rowLength = blocks * size;
      const values = mixedValues(random, (1 + pick(random, 3)) * rowLength);
      for (const form of formsOf(type)) {
        const importance = form === 'plain' ? undefined : mixedImportance(random, rowLength);
        const expected = oracle!.quantize(type, values, rowLength, importance);
        const found = new Uint8Array(expected.length);
        kernels.quantizeBlocks(type, values, rowLength, importance, found);
        expect(blockDifference(found, expected, bytes), `seed ${seed}, ${form}`).toBeUndefined();
        const restored = new Float32Array(values.length);
        kernels.dequantizeBlocks(type, found, restored);
        const difference = valueDifference(restored, oracle!.dequantize(type, found));
        expect(difference, `seed ${seed}, ${form}`).toBeUndefined();
      }
    }
  });
});
