/** A ggml type as algorithms see it: its encoder and decoder, and where its codes stand. */

import type { BlockEncoder } from '../../../algorithms/block-feedback.ts';
import { BLOCK_TYPES, type BlockType, ggmlBytes } from '../../../core/ggml-types.ts';
import type { Kernels } from '../../../kernels/kernels.ts';
import { codeLayout, replaceCodes } from '../../../numerics/ggml-codes.ts';
import { unitCodes } from '../../../numerics/ggml-units.ts';

export async function blockEncoder(type: BlockType, kernels: Kernels): Promise<BlockEncoder> {
  await kernels.prepareBlocks(type);
  const { size, bytes, importance } = BLOCK_TYPES[type];
  const layout = codeLayout(type);
  const replace = (blocks: Uint8Array, codes: Uint8Array): void => replaceCodes(type, blocks, codes);
  const decode = (blocks: Uint8Array): Float32Array => {
    const target = new Float32Array((blocks.length / bytes) * size);
    kernels.dequantizeBlocks(type, blocks, target);
    return target;
  };
  return {
    blockSize: size,
    blockBytes: bytes,
    importance,
    encode(values, inputs, weights) {
      const target = new Uint8Array(ggmlBytes(type, values.length));
      kernels.quantizeBlocks(type, values, inputs, weights, target);
      return target;
    },
    decode,
    units: unitCodes(type, decode),
    codes:
      layout === undefined || layout.levels !== undefined
        ? undefined
        : { top: layout.top, group: layout.group, replace },
  };
}
