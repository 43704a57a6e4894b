/**
 * In the page: the WebAssembly kernels of every ggml block type write the bytes that ggml's library writes, by the committed
 * digests of its output (test/fixtures/ggml), and read the values that it reads.
 */

import { describe, expect, test } from 'vitest';
import { BLOCK_TYPES, type BlockFamily, isBlockType } from '../../src/core/ggml-types.ts';
import { wasmKernels } from '../../src/kernels/index.ts';
import {
  blockInputs,
  type Digests,
  digestOf,
  formsOf,
  hostileBlocks,
  valueBytes,
} from '../kernels/ggml/inputs.ts';

const FAMILIES: readonly BlockFamily[] = ['linear', 'k', 'narrow', 'lattice', 'ternary'];

describe.each(FAMILIES)('the %s family in the browser', (family) => {
  const types = Object.keys(BLOCK_TYPES)
    .filter(isBlockType)
    .filter((type) => BLOCK_TYPES[type].family === family);

  test.each(types)('%s equals ggml by digests', async (type) => {
    const { default: digests }: { default: Digests } = await import(`../fixtures/ggml/${family}.json`);
    const kernels = await wasmKernels();
    if (kernels === undefined) throw new Error('this browser has no WebAssembly SIMD');
    await kernels.prepareBlocks(type);
    const { size, bytes } = BLOCK_TYPES[type];
    for (const form of formsOf(type)) {
      const expected = digests[type]?.[form] ?? {};
      expect(Object.keys(expected).length).toBeGreaterThan(0);
      for (const { name, rowLength, values, importance } of blockInputs(type)) {
        // Inputs for which ggml itself has no defined result have no digest.
        if (expected[name] === undefined) continue;
        const target = new Uint8Array((values.length / size) * bytes);
        kernels.quantizeBlocks(type, values, rowLength, form === 'plain' ? undefined : importance, target);
        expect(await digestOf(target), `${name}, ${form}`).toBe(expected[name]);
      }
    }
    const blocks = hostileBlocks(type);
    const values = new Float32Array((blocks.length / bytes) * size);
    kernels.dequantizeBlocks(type, blocks, values);
    expect(await digestOf(valueBytes(values))).toBe(digests[type]?.values);
  });
});
