/**
 * The WebAssembly SIMD kernels of the ternary family. A call takes whole blocks of one row with their importance; arrays
 * outside of the memory pass through the stage in chunks.
 *
 * The code book and its neighbour lists are written into the module's room when the family is prepared: dequantizing needs the
 * points only, but a run that meets these types nearly always writes them.
 */

import { BLOCK_TYPES, type BlockType } from '../../../core/ggml-types.ts';
import { type KernelFunction, type KernelMemory, STAGE_BYTES } from '../../wasm-memory.ts';
import type { BlockCodec, Codecs } from '../codec.ts';
import { KERNEL_MODULE } from '../ternary.gen.ts';
import { POINTS, pointsNear } from './grid.ts';

/** Words of 8 codes below 3, the largest and one. */
const WORDS = 0xaaaa + 1;

export async function createCodecs(memory: KernelMemory): Promise<Codecs> {
  const kernel = await memory.attach(KERNEL_MODULE);
  const wordsAt = kernel('wordsAt')();
  const placesAt = kernel('placesAt')();
  const listsAt = kernel('listsAt')();
  let ready = false;
  const prepareBook = (): void => {
    if (ready) return;
    const { places, lists } = pointsNear();
    memory.words(placesAt, WORDS).set(places.subarray(0, WORDS));
    const bytes = memory.bytes(listsAt, 2 * lists.length);
    const words = new Uint16Array(bytes.buffer, bytes.byteOffset, lists.length);
    // The kernel wants words in the lists; a list begins with its length.
    for (let at = 0; at < lists.length; ) {
      const end = at + 1 + lists[at]!;
      words[at] = lists[at]!;
      for (at++; at < end; at++) words[at] = POINTS[lists[at]!]!;
    }
    ready = true;
  };
  const bytes = memory.bytes(wordsAt, 2 * POINTS.length);
  new Uint16Array(bytes.buffer, bytes.byteOffset, POINTS.length).set(POINTS);
  const codec = (type: BlockType, name: string): BlockCodec =>
    rowwise(memory, type, kernel(`quantize${name}`), kernel(`dequantize${name}`), prepareBook);
  return { iq1_s: codec('iq1_s', 'Iq1S'), iq1_m: codec('iq1_m', 'Iq1M') };
}

function rowwise(
  memory: KernelMemory,
  type: BlockType,
  quantize: KernelFunction,
  dequantize: KernelFunction,
  prepareBook: () => void,
): BlockCodec {
  const { size, bytes } = BLOCK_TYPES[type];
  const staged = Math.floor((STAGE_BYTES - 64) / (8 * size + bytes));
  return {
    quantize(values, rowLength, importance, target) {
      prepareBook();
      const perRow = rowLength / size;
      const resident = memory.isResident(values, target, ...(importance === undefined ? [] : [importance]));
      const step = resident ? perRow : Math.min(perRow, staged);
      for (let row = 0; row < values.length / rowLength; row++) {
        for (let first = 0; first < perRow; first += step) {
          const count = Math.min(step, perRow - first);
          const block = row * perRow + first;
          const from = memory.input(values, block * size, count * size);
          const weights = importance === undefined ? 0 : memory.input(importance, first * size, count * size);
          quantize(from, count, weights, memory.output(target, block * bytes, count * bytes));
          memory.deliver();
        }
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
