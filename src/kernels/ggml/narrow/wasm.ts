/**
 * The WebAssembly SIMD kernels of the narrow family: no importance, no rows, so a codec is a kernel over all blocks. Arrays
 * outside of the memory pass through the stage in chunks.
 */

import { BLOCK_TYPES, type BlockType } from '../../../core/ggml-types.ts';
import { type KernelFunction, type KernelMemory, STAGE_BYTES } from '../../wasm-memory.ts';
import type { BlockCodec, Codecs } from '../codec.ts';
import { KERNEL_MODULE } from '../narrow.gen.ts';
import { unitsBelow } from './binary-logarithm.ts';
import { halfOfUnsigned } from './float4.ts';

export async function createCodecs(memory: KernelMemory): Promise<Codecs> {
  const kernel = await memory.attach(KERNEL_MODULE);
  const setCarry = kernel('setCarry');
  for (let exponent = 1; exponent < 255; exponent++) setCarry(exponent, unitsBelow(exponent - 126));
  const setScale = kernel('setScale');
  for (let code = 0; code < 128; code++) setScale(code, halfOfUnsigned(code));
  const codec = (type: BlockType, name: string): BlockCodec =>
    blockwise(memory, type, kernel(`quantize${name}`), kernel(`dequantize${name}`));
  return {
    tq1_0: codec('tq1_0', 'Tq1'),
    tq2_0: codec('tq2_0', 'Tq2'),
    mxfp4: codec('mxfp4', 'Mxfp4'),
    nvfp4: codec('nvfp4', 'Nvfp4'),
    q1_0: codec('q1_0', 'Q1'),
    q2_0: codec('q2_0', 'Q2'),
  };
}

/** Both kernels take a source, a number of blocks and a target. */
function blockwise(
  memory: KernelMemory,
  type: BlockType,
  quantize: KernelFunction,
  dequantize: KernelFunction,
): BlockCodec {
  const { size, bytes } = BLOCK_TYPES[type];
  const staged = Math.floor((STAGE_BYTES - 64) / (4 * size + bytes));
  return {
    quantize(values, _rowLength, _importance, target) {
      const blocks = values.length / size;
      const step = memory.isResident(values, target) ? blocks : staged;
      for (let first = 0; first < blocks; first += step) {
        const count = Math.min(step, blocks - first);
        const from = memory.input(values, first * size, count * size);
        quantize(from, count, memory.output(target, first * bytes, count * bytes));
        memory.deliver();
      }
    },
    dequantize(source, target) {
      const blocks = target.length / size;
      const step = memory.isResident(source, target) ? blocks : staged;
      for (let first = 0; first < blocks; first += step) {
        const count = Math.min(step, blocks - first);
        const from = memory.input(source, first * bytes, count * bytes);
        dequantize(from, count, memory.output(target, first * size, count * size));
        memory.deliver();
      }
    },
  };
}
