/** Codes that are written into blocks are the ones that the type's decoder reads, and nothing else of a block changes. */

import { expect, test } from 'vitest';
import { BLOCK_TYPES, type BlockType, isBlockType } from '../../src/core/ggml-types.ts';
import { selectKernels } from '../../src/kernels/index.ts';
import { codeLayout, replaceCodes } from '../../src/numerics/ggml-codes.ts';

const CODED = Object.keys(BLOCK_TYPES)
  .filter(isBlockType)
  .filter((type) => codeLayout(type) !== undefined);

/** Two blocks of uneven values. */
async function encoded(type: BlockType) {
  const kernels = await selectKernels();
  await kernels.prepareBlocks(type);
  const { size, bytes } = BLOCK_TYPES[type];
  const values = Float32Array.from({ length: 2 * size }, (_, i) => Math.sin(i * 1.7) * (1 + (i % 7)) + 0.1);
  const blocks = new Uint8Array(2 * bytes);
  kernels.quantizeBlocks(type, values, size, undefined, blocks);
  const decode = (source: Uint8Array): Float32Array => {
    const target = new Float32Array(values.length);
    kernels.dequantizeBlocks(type, source, target);
    return target;
  };
  return { values, blocks, decode };
}

test('the types whose values have codes of their own are the plain ones, K-quants, IQ4 and small floats', () => {
  expect(CODED.join(' ')).toBe(
    'q4_0 q4_1 q5_0 q5_1 q8_0 q2_K q3_K q4_K q5_K q6_K iq4_nl iq4_xs mxfp4 nvfp4 q1_0 q2_0',
  );
});

test.each(CODED)(
  '%s: nearest codes on the grid that the decoder gives are what the encoder meant',
  async (type) => {
    const { values, blocks, decode } = await encoded(type);
    const { top, group, levels } = codeLayout(type)!;
    const fill = (code: number): Float32Array => {
      const filled = blocks.slice();
      replaceCodes(type, filled, new Uint8Array(values.length).fill(code));
      return decode(filled);
    };
    const grid = Array.from({ length: top + 1 }, (_, code) => fill(code));
    const codes = values.map((value, i) => {
      let best = 0;
      for (let code = 1; code <= top; code++)
        if (Math.abs(grid[code]![i]! - value) < Math.abs(grid[best]![i]! - value)) best = code;
      return best;
    });
    const rewritten = blocks.slice();
    replaceCodes(type, rewritten, Uint8Array.from(codes));
    const after = decode(rewritten);
    const before = decode(blocks);
    const error = (restored: Float32Array): number =>
      restored.reduce((sum, value, i) => sum + (value - values[i]!) ** 2, 0);
    expect(error(after)).toBeLessThanOrEqual(error(before) * (1 + 1e-6));
    values.forEach((_, i) => {
      expect(after[i]).toBe(grid[codes[i]!]![i]);
      // Values of a group share a grid: evenly spaced, or levels times a scale.
      const first = i - (i % group);
      expect(grid[top]![i]).toBe(grid[top]![first]);
      if (levels !== undefined) {
        const scale = grid[levels.indexOf(1)]![i]!;
        for (let code = 0; code <= top; code++) expect(grid[code]![i]).toBeCloseTo(levels[code]! * scale, 5);
      } else {
        const step = (grid[top]![i]! - grid[0]![i]!) / top;
        for (let code = 0; code <= top; code++)
          expect(grid[code]![i]).toBeCloseTo(grid[0]![i]! + code * step, 4);
      }
    });
  },
);

test('scales stay: putting the codes of all blocks back gives the encoder’s bytes', async () => {
  for (const type of CODED) {
    const { blocks, decode, values } = await encoded(type);
    const zeros = blocks.slice();
    replaceCodes(type, zeros, new Uint8Array(values.length));
    const ones = blocks.slice();
    replaceCodes(type, ones, new Uint8Array(values.length).fill(codeLayout(type)!.top));
    replaceCodes(type, ones, new Uint8Array(values.length));
    expect(ones, type).toEqual(zeros);
    expect(decode(zeros).length, type).toBe(values.length);
  }
});

test('a type of code books is refused', () => {
  expect(codeLayout('iq2_s')).toBeUndefined();
  expect(() => replaceCodes('iq2_s', new Uint8Array(82), new Uint8Array(256))).toThrow(/iq2_s/);
});
