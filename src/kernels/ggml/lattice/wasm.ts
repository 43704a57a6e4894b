/**
 * The WebAssembly SIMD kernels of the lattice family of block types. The kernel searches scales and points for a run of blocks
 * of one row and leaves what it found in WORK; write-block.ts makes blocks of it.
 */

import { type KernelMemory, WORK } from '../../wasm-memory.ts';
import type { BlockCodec, Codecs } from '../codec.ts';
import { KERNEL_MODULE } from '../lattice.gen.ts';
import { BLOCK, FORMS, type LatticeType } from './forms.ts';
import { LAYOUTS } from './layouts.ts';
import { createTables } from './tables.ts';
import { blockWriter } from './write-block.ts';

/** Blocks of one call: their results fit in WORK, their values and weights in the stage. */
const RUN = 1024;
/** What the kernel leaves for each block (kernels/ggml/lattice/index.ts). */
const RESULT = 256;
const POINTS = 64;
const SIGNS = 192;

export async function createCodecs(memory: KernelMemory): Promise<Codecs> {
  const kernel = await memory.attach(KERNEL_MODULE);
  const tables = createTables(memory);

  function encoder(type: LatticeType): BlockCodec['quantize'] {
    const search = kernel(`search_${type}`);
    const write = blockWriter(type);
    const { bytes } = LAYOUTS[type];
    const { subBlock, book } = FORMS[type];
    return (values, rowLength, importance, target) => {
      const { places, lists, grid } = tables.encoding(type);
      const perRow = rowLength / BLOCK;
      let to = 0;
      for (let row = 0; row < values.length; row += rowLength) {
        for (let first = 0; first < perRow; first += RUN) {
          const blocks = Math.min(RUN, perRow - first);
          const from = memory.input(values, row + first * BLOCK, blocks * BLOCK);
          const weights =
            importance === undefined ? 0 : memory.input(importance, first * BLOCK, blocks * BLOCK);
          search(from, weights, blocks, WORK, places, lists, grid);
          memory.deliver();
          for (let block = 0; block < blocks; block++, to += bytes) {
            const result = WORK + block * RESULT;
            const points = memory.bytes(result + POINTS, 128);
            write(target.subarray(to, to + bytes), {
              scales: memory.floats(result, BLOCK / subBlock),
              points: new Uint16Array(points.buffer, points.byteOffset, BLOCK / book.dimensions),
              signs: memory.bytes(result + SIGNS, BLOCK / 8),
            });
          }
        }
      }
    };
  }

  function decoder(type: LatticeType): BlockCodec['dequantize'] {
    const decode = kernel(`decode_${type}`);
    const { bytes } = LAYOUTS[type];
    return (source, target) => {
      const values = tables.values(type);
      const all = source.length / bytes;
      for (let first = 0; first < all; first += RUN) {
        const blocks = Math.min(RUN, all - first);
        const from = memory.input(source, first * bytes, blocks * bytes);
        decode(from, blocks, memory.output(target, first * BLOCK, blocks * BLOCK), values);
        memory.deliver();
      }
    };
  }

  const types = ['iq2_xxs', 'iq2_xs', 'iq2_s', 'iq3_xxs', 'iq3_s'] as const;
  return Object.fromEntries(
    types.map((type) => [type, { quantize: encoder(type), dequantize: decoder(type) }] as const),
  );
}
