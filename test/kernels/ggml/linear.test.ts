/**
 * q4_0 to q8_0 and the IQ4 types: definition against ggml, kernels against the definition (suite.ts says what is held); the
 * nearest value of the IQ4 book beside every middle; and that the conversions to f16 and bf16 are ggml's.
 */

import { describe, expect, test } from 'vitest';
import { BOOK, nearest } from '../../../src/kernels/ggml/linear/iq4.ts';
import { referenceKernels, wasmKernels } from '../../../src/kernels/index.ts';
import { ggmlOracle } from '../../oracle/ggml.ts';
import { describeFamily } from './suite.ts';

describeFamily('linear');

const oracle = await ggmlOracle();
const NO_ORACLE = oracle === undefined ? " (skipped: ggml's library is not installed)" : '';

const word = new Uint32Array(1);
const single = new Float32Array(word.buffer);

/** The f32 that is `steps` representable values further from 0 (or nearer, if negative). */
function beside(value: number, steps: number): number {
  single[0] = value;
  word[0]! += steps;
  return single[0]!;
}

/** f32 bits: every exponent but that of Inf, mantissas beside the ties of f16 and bf16 and of subnormal f16, both signs. */
function finitePatterns(): Uint32Array {
  const mantissas = new Set<number>([0, 1, 0x7fffff, 0x7ffffe]);
  for (let bit = 0; bit < 23; bit++) {
    for (const high of [0, 0x200000, 0x400000, 0x600000, 0x555555, 0x7fe000, 0x7f0000]) {
      for (const delta of [-1, 0, 1]) mantissas.add((high + (1 << bit) + delta) & 0x7fffff);
    }
  }
  const patterns: number[] = [];
  for (let exponent = 0; exponent < 255; exponent++) {
    for (const mantissa of mantissas) {
      const bits = (exponent << 23) | mantissa;
      patterns.push(bits, (bits | 0x80000000) >>> 0);
    }
  }
  return Uint32Array.from(patterns);
}

test('the nearest value of the IQ4 book is that of ggml: lower only if strictly closer, in f32', () => {
  const failures: number[] = [];
  for (let i = 1; i < BOOK.length; i++) {
    const [lower, upper] = [BOOK[i - 1]!, BOOK[i]!];
    const middle = (lower + upper) / 2;
    for (let step = -40; step <= 40; step++) {
      for (const value of [beside(middle, step), beside(middle, step * 4099), beside(upper, step)]) {
        const { fround } = Math;
        const closer = fround(value - lower) < fround(upper - value) ? i - 1 : i;
        const expected = value >= upper && i < 15 ? nearest(value) : closer;
        if (nearest(value) !== expected) failures.push(value);
      }
    }
    for (const exact of [lower, upper]) expect(BOOK[nearest(exact)]).toBe(exact);
  }
  expect(failures).toEqual([]);
  expect([nearest(-1e30), nearest(1e30), nearest(Number.NaN), nearest(0)]).toEqual([0, 15, 15, 8]);
});

test('the IQ4 kernels find the same codes for every ratio of a value to the largest', async () => {
  const kernels = await wasmKernels();
  if (kernels === undefined) return;
  // Each block: ±1 and 31 steps of a sweep over −1 … 1; what the search decides shows in scale and codes.
  const rows = 2112;
  const values = new Float32Array(rows * 32);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < 32; j++) values[row * 32 + j] = ((row + j * rows) / (rows * 16) - 1) * 0.3;
    values[row * 32 + (row % 32)] = row % 2 === 0 ? 0.3 : -0.3;
  }
  const definition = referenceKernels();
  for (const type of ['iq4_nl', 'iq4_xs'] as const) {
    const bytes = type === 'iq4_nl' ? 18 : 17;
    const [expected, found] = [new Uint8Array(rows * bytes), new Uint8Array(rows * bytes)];
    for (const [codec, target] of [
      [definition, expected],
      [kernels, found],
    ] as const) {
      await codec.prepareBlocks(type);
      codec.quantizeBlocks(type, values, 256, undefined, target);
    }
    expect(Buffer.compare(found, expected)).toBe(0);
  }
});

describe.skipIf(oracle === undefined)(`linear types and plain floats${NO_ORACLE}`, () => {
  test.each(['f16', 'bf16'] as const)(
    'f32 to %s is ggml_quantize_chunk for every finite exponent',
    async (type) => {
      const patterns = finitePatterns();
      const values = new Float32Array(patterns.buffer);
      const source = new Uint8Array(patterns.buffer);
      const expected = oracle!.quantize(type, values, values.length);
      for (const kernels of [referenceKernels(), await wasmKernels()]) {
        if (kernels === undefined) continue;
        const found = new Uint8Array(expected.length);
        kernels.convert('f32', type, source, found, values.length);
        const at = found.findIndex((byte, i) => byte !== expected[i]);
        expect(at < 0 ? 'equal' : `${values[at >> 1]} differs`).toBe('equal');
      }
    },
  );

  test('iq4_nl takes the nearest book value beside every middle, ties going up', async () => {
    // Values that every scale near ±1 maps to the middles' neighbourhood; 127 or −127 and exact codes pin the scale.
    const blocks: Float32Array[] = [];
    for (const sign of [1, -1]) {
      for (let i = 1; i < BOOK.length; i++) {
        const middle = (BOOK[i]! + BOOK[i - 1]!) / 2;
        const block = Float32Array.from({ length: 32 }, (_, j) => sign * BOOK[j % 16]!);
        for (let step = -4; step <= 4; step++) block[step + 20] = sign * beside(middle, step);
        blocks.push(block);
        blocks.push(block.map((value) => value * 0.0078125));
      }
    }
    const values = new Float32Array(blocks.length * 32);
    for (const [i, block] of blocks.entries()) values.set(block, i * 32);
    for (const importance of [
      undefined,
      Float32Array.from({ length: 32 }, (_, i) => (i < 16 ? 1e6 : 1e-9)),
    ]) {
      const expected = oracle!.quantize('iq4_nl', values, 32, importance);
      for (const kernels of [referenceKernels(), await wasmKernels()]) {
        if (kernels === undefined) continue;
        await kernels.prepareBlocks('iq4_nl');
        const found = new Uint8Array(expected.length);
        kernels.quantizeBlocks('iq4_nl', values, 32, importance, found);
        expect(Buffer.compare(found, expected)).toBe(0);
      }
    }
  });
});
