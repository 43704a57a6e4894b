/**
 * The narrow types (tq1_0, tq2_0, mxfp4, nvfp4, q1_0, q2_0) against ggml and against each other, see suite.ts; and the two
 * rules in which a number format hides: mxfp4's exponent next to powers of two, nvfp4's scales.
 */

import { expect, test } from 'vitest';
import { floorLog2 } from '../../../src/core/floats.ts';
import { floorOfRoundedLog2, unitsBelow } from '../../../src/kernels/ggml/narrow/binary-logarithm.ts';
import { referenceKernels, wasmKernels } from '../../../src/kernels/index.ts';
import { ggmlOracle } from '../../oracle/ggml.ts';
import { blockDifference, describeFamily } from './suite.ts';

describeFamily('narrow');

const oracle = await ggmlOracle();
const wasm = await wasmKernels();

/** f32 around 2^k: `count` below it, itself and the next ones. */
function around(k: number, count: number): number[] {
  const value = new Float32Array(1);
  const bits = new Uint32Array(value.buffer);
  value[0] = k === 128 ? Number.POSITIVE_INFINITY : 2 ** k;
  const first = Math.max(1, bits[0]! - count);
  const end = k === 128 ? bits[0]! : bits[0]! + 3;
  return Array.from({ length: end - first }, (_, i) => {
    bits[0] = first + i;
    return value[0]!;
  });
}

/** One block for each magnitude: it, and values beside every threshold of the codes that its scale has. */
function blocksOf(magnitudes: readonly number[]): Float32Array {
  const values = new Float32Array(magnitudes.length * 32);
  magnitudes.forEach((largest, i) => {
    const unit = 2 ** (floorLog2(largest) - 2);
    const near = [0.5, 1.5, 2.5, 3.5, 5, 7, 10].flatMap((step) => [
      step * unit,
      Math.fround(step * unit * (1 + 2 ** -23)),
      -step * unit,
      -Math.fround(step * unit * (1 - 2 ** -24)),
    ]);
    values.set([-0, ...near.map((x) => Math.sign(x) * Math.min(Math.abs(x), largest)), 0], i * 32);
    values[i * 32 + 30] = i % 2 === 0 ? largest : -largest;
  });
  return values;
}

test('mxfp4 takes the exponent that ggml takes for every f32 close to a power of two', async () => {
  const kernels = referenceKernels();
  await kernels.prepareBlocks('mxfp4');
  await wasm?.prepareBlocks('mxfp4');
  const magnitudes: number[] = [];
  for (let k = -148; k <= 128; k++) magnitudes.push(...around(k, 100));
  const values = blocksOf(magnitudes);
  const ours = new Uint8Array(magnitudes.length * 17);
  kernels.quantizeBlocks('mxfp4', values, values.length, undefined, ours);
  if (wasm !== undefined) {
    const fast = new Uint8Array(ours.length);
    wasm.quantizeBlocks('mxfp4', values, values.length, undefined, fast);
    expect(blockDifference(fast, ours, 17)).toBeUndefined();
  }
  if (oracle === undefined) return;
  expect(blockDifference(ours, oracle.quantize('mxfp4', values, values.length), 17)).toBeUndefined();
});

test('the floor of log2f leaves the exponent only within ln 2 units of the logarithm below a power of two', () => {
  expect([-126, -64, -2, -1, 0, 1, 2, 3, 4, 5, 16, 17, 127, 128].map(unitsBelow)).toEqual([
    44, 44, 1, 0, 0, 0, 0, 1, 1, 2, 5, 11, 44, 44,
  ]);
  const below = (k: number, n: number) => 2 ** k * (1 - n * 2 ** -24);
  expect(floorOfRoundedLog2(below(128, 44))).toBe(128);
  expect(floorOfRoundedLog2(below(128, 45))).toBe(127);
  expect(floorOfRoundedLog2(below(3, 2))).toBe(2);
  expect(floorOfRoundedLog2(1)).toBe(0);
});

test('nvfp4 takes the scale that ggml takes beside every rounding boundary, and its codes for any outlier', async () => {
  const kernels = referenceKernels();
  await kernels.prepareBlocks('nvfp4');
  await wasm?.prepareBlocks('nvfp4');
  const magnitudes: number[] = [];
  for (let code = 0; code <= 0x80; code++) {
    const step = code < 8 ? code : (8 + (code & 7)) * 2 ** ((code >> 3) - 1);
    for (const part of [0, 0.5, 0.75]) {
      const boundary = Math.fround((step + part * Math.max(1, 2 ** ((code >> 3) - 1))) * 2 ** -9 * 6);
      for (const factor of [1 - 2 ** -22, 1 - 2 ** -23, 1 - 2 ** -24, 1, 1 + 2 ** -23, 1 + 2 ** -22]) {
        magnitudes.push(Math.fround(boundary * factor));
      }
    }
  }
  for (let k = -149; k < 128; k++) magnitudes.push(2 ** k, Math.fround(2 ** k * 1.7));
  const values = new Float32Array(Math.ceil(magnitudes.length / 4) * 64);
  magnitudes.forEach((largest, i) => {
    for (let j = 0; j < 16; j++) values[i * 16 + j] = (j % 2 === 0 ? 1 : -1) * largest * (j / 15);
  });
  const ours = new Uint8Array((values.length / 64) * 36);
  kernels.quantizeBlocks('nvfp4', values, values.length, undefined, ours);
  if (wasm !== undefined) {
    const fast = new Uint8Array(ours.length);
    wasm.quantizeBlocks('nvfp4', values, values.length, undefined, fast);
    expect(blockDifference(fast, ours, 36)).toBeUndefined();
  }
  if (oracle === undefined) return;
  expect(blockDifference(ours, oracle.quantize('nvfp4', values, values.length), 36)).toBeUndefined();
});
