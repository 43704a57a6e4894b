/**
 * The K-quants: Q2_K to Q6_K, definition against ggml, kernels against the definition.
 * See suite.ts for what is held for every family.
 */

import { describe, expect, test } from 'vitest';
import { BLOCK_TYPES } from '../../../src/core/ggml-types.ts';
import { createRandom } from '../../../src/core/random.ts';
import { referenceKernels, selectKernels } from '../../../src/kernels/index.ts';
import { ggmlOracle } from '../../oracle/ggml.ts';
import { blockDifference, blockTypesOf, describeFamily } from './suite.ts';

describeFamily('k', { runs: 25 });

const oracle = await ggmlOracle();

describe('extremely uneven importance', () => {
  // Few weights of 1e12 among 1e-12: fits by two or three values, whose scale codes wrap in ggml's bytes.
  const columns = 2048;
  const random = createRandom(5);
  const values = Float32Array.from({ length: 16 * columns }, () => -5 + random.normal() * 1e-4);
  const importance = Float32Array.from({ length: columns }, () => (random.uniform() < 0.1 ? 1e12 : 1e-12));

  test.skipIf(oracle === undefined).each(blockTypesOf('k'))(
    '%s stays byte-identical to ggml, in TypeScript and in WebAssembly (skipped where the library is not installed)',
    async (type) => {
      const { size, bytes } = BLOCK_TYPES[type];
      const expected = oracle!.quantize(type, values, columns, importance);
      for (const kernels of [referenceKernels(), await selectKernels()]) {
        await kernels.prepareBlocks(type);
        const blocks = new Uint8Array((values.length / size) * bytes);
        kernels.quantizeBlocks(type, values, columns, importance, blocks);
        expect(blockDifference(blocks, expected, bytes), kernels.backend).toBeUndefined();
      }
    },
  );
});
