/** Codes of ggml's types that are chosen with the inputs in view: closer to the layer's output than the encoder's, and real blocks. */

import { describe, expect, test } from 'vitest';
import { feedBlocks } from '../../src/algorithms/block-feedback.ts';
import { layerError } from '../../src/algorithms/linear-algebra.ts';
import { blockEncoder } from '../../src/compress/gguf/solve/encoder.ts';
import { type BlockType, ggmlBytes } from '../../src/core/ggml-types.ts';
import { selectKernels } from '../../src/kernels/index.ts';
import { correlatedProblem } from './gptq-reference.ts';

const encoderOf = async (type: BlockType) => blockEncoder(type, await selectKernels());

const shared = correlatedProblem(4, 512, 600);

describe('feedBlocks', () => {
  test.each([
    ['q4_0', 0.7],
    ['q4_K', 0.7],
    ['q3_K', 0.7],
    ['q2_K', 0.75],
    ['q6_K', 0.7],
    ['q8_0', 0.7],
    ['iq4_nl', 0.7],
    ['iq4_xs', 0.7],
    ['mxfp4', 0.7],
    ['nvfp4', 0.7],
    ['iq3_s', 0.7],
    ['iq3_xxs', 0.7],
    ['iq2_s', 0.75],
    ['iq2_xs', 0.75],
    ['iq2_xxs', 0.8],
    ['iq1_s', 0.98],
  ] as const)('%s: less error in the output than the encoder with importance', async (type, share) => {
    const { weight, statistics } = shared;
    const encoder = await encoderOf(type);
    const importance = encoder.importance === 'ignored' ? undefined : Float32Array.from(statistics.squares);
    const guided = encoder.decode(encoder.encode(weight.values, 512, importance));
    const before = layerError(weight, guided, statistics.gram);
    const plain = feedBlocks(weight, statistics, encoder);
    const refined = feedBlocks(weight, statistics, encoder, { activationOrder: true, refined: true });
    expect(layerError(weight, plain.values, statistics.gram)).toBeLessThan(before * share);
    expect(layerError(weight, refined.values, statistics.gram)).toBeLessThan(
      1.02 * layerError(weight, plain.values, statistics.gram),
    );
    expect(encoder.decode(refined.blocks)).toEqual(refined.values);
    expect(refined.blocks.length).toBe(ggmlBytes(type, weight.values.length));
  });

  test('inputs that were never seen, rows of zeros and groups of one value do no harm', async () => {
    const { weight, statistics } = correlatedProblem(4, 256, 300);
    weight.values.fill(0, 0, 256);
    weight.values.fill(0.25, 256, 512);
    for (const dead of [5, 6, 7]) {
      statistics.squares[dead] = 0;
      for (let j = 0; j < 256; j++) {
        statistics.gram[dead * 256 + j] = 0;
        statistics.gram[j * 256 + dead] = 0;
      }
    }
    for (const type of ['q4_1', 'q4_K', 'q2_K', 'iq3_xxs'] as const) {
      const { values } = feedBlocks(weight, statistics, await encoderOf(type), { refined: true });
      expect(values.every(Number.isFinite), type).toBe(true);
      expect(
        values.subarray(0, 256).every((value) => value === 0),
        type,
      ).toBe(true);
    }
  });

  test('rows that blocks do not divide are refused by code', async () => {
    const { weight, statistics } = correlatedProblem(2, 48, 64);
    const encoder = await encoderOf('q4_0');
    expect(() => feedBlocks(weight, statistics, encoder)).toThrow(
      expect.objectContaining({ code: 'E_SHAPE' }),
    );
  });
});
