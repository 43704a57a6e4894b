/**
 * The WebAssembly SIMD kernels of the linear family (kernels/ggml/linear). Arrays inside the kernels' memory are used in place,
 * others pass through the stage in pieces of whole rows, or of a row where one row is wider.
 *
 * The searches work on several blocks at once. Where a result hangs on how x86 converts infinities and NaN to integers, or may,
 * the kernel does not decide: it lists the block, or the first of four, and the definition redoes them.
 */

import { FLAGS, type KernelFunction, type KernelMemory, WORK } from '../../wasm-memory.ts';
import type { BlockCodec, Codecs } from '../codec.ts';
import { KERNEL_MODULE } from '../linear.gen.ts';
import { encodeNl, encodeXs } from './iq4.ts';
import { BLOCK } from './layout.ts';
import { encodeWeighted, UNIFORM, type UniformType, uniformBytes } from './uniform.ts';

const { fround } = Math;

/** Values that pass through the stage at once: with as many weights and the blocks they fill less than 3 MiB. */
const STAGED = 1 << 18;
/** Values of one call; the list of blocks to redo (FLAGS) then has room for all of them, WORK for the rows' σ². */
const IN_PLACE = 1 << 21;

interface Shape {
  readonly size: number;
  readonly bytes: number;
}

type Quantize = BlockCodec['quantize'];
type Dequantize = BlockCodec['dequantize'];

function plain(memory: KernelMemory, { size, bytes }: Shape, kernel: KernelFunction): Quantize {
  return (values, _rowLength, _importance, target) => {
    const step = memory.isResident(values, target) ? values.length : STAGED;
    for (let start = 0; start < values.length; start += step) {
      const count = Math.min(step, values.length - start);
      const blocks = count / size;
      const from = memory.input(values, start, count);
      kernel(from, blocks, memory.output(target, (start / size) * bytes, blocks * bytes));
      memory.deliver();
    }
  };
}

function decoder(memory: KernelMemory, { size, bytes }: Shape, kernel: KernelFunction): Dequantize {
  return (source, target) => {
    const step = memory.isResident(source, target) ? target.length : STAGED;
    for (let start = 0; start < target.length; start += step) {
      const count = Math.min(step, target.length - start);
      const blocks = count / size;
      const from = memory.input(source, (start / size) * bytes, blocks * bytes);
      kernel(from, blocks, memory.output(target, start, count));
      memory.deliver();
    }
  };
}

interface Search extends Shape {
  readonly encode: KernelFunction;
  /** Adds the squares of each row to its sum; for types whose weights take σ² from the whole row. */
  readonly squareSums?: KernelFunction;
  /** Blocks that are listed together. */
  readonly group: number;
  redo(
    values: Float32Array,
    at: number,
    importance: Float32Array | undefined,
    importanceAt: number,
    sigma2: number,
    target: Uint8Array,
    to: number,
  ): void;
}

function searching(memory: KernelMemory, search: Search): Quantize {
  const { size, bytes, encode, squareSums, group, redo } = search;
  return (values, rowLength, importance, target) => {
    const arrays = importance === undefined ? [values, target] : [values, target, importance];
    const most = memory.isResident(...arrays) ? IN_PLACE : STAGED;
    const rows = values.length / rowLength;
    const together = Math.max(1, Math.floor(most / rowLength));
    const width = Math.min(rowLength, most);
    for (let row = 0; row < rows; row += together) {
      const height = Math.min(together, rows - row);
      if (squareSums !== undefined) {
        memory.floats(WORK, height).fill(0);
        for (let at = 0; at < rowLength; at += width) {
          const length = Math.min(width, rowLength - at);
          squareSums(memory.input(values, row * rowLength + at, height * length), height, length, WORK);
          memory.deliver();
        }
        const sums = memory.floats(WORK, height);
        for (let i = 0; i < height; i++) sums[i]! /= rowLength;
      }
      for (let at = 0; at < rowLength; at += width) {
        const length = Math.min(width, rowLength - at);
        const first = row * rowLength + at;
        const blocks = (height * length) / size;
        const perRow = length / size;
        const listed = encode(
          memory.input(values, first, height * length),
          blocks,
          perRow,
          importance === undefined ? 0 : memory.input(importance, at, length),
          WORK,
          memory.output(target, (first / size) * bytes, blocks * bytes),
          FLAGS,
        );
        memory.deliver();
        for (const start of memory.words(FLAGS, listed).slice()) {
          for (let block = start; block < Math.min(start + group, blocks); block++) {
            const value = first + block * size;
            redo(
              values,
              value,
              importance,
              at + (block % perRow) * size,
              squareSums === undefined ? 0 : memory.floats(WORK, height)[Math.floor(block / perRow)]!,
              target,
              (value / size) * bytes,
            );
          }
        }
      }
    }
  };
}

export async function createCodecs(memory: KernelMemory): Promise<Codecs> {
  const kernel = await memory.attach(KERNEL_MODULE);
  const uniform = (type: UniformType, name: string): BlockCodec => {
    const shape = { size: BLOCK, bytes: uniformBytes(type) };
    const unweighted = plain(memory, shape, kernel(`encode${name}`));
    const weighted = searching(memory, {
      ...shape,
      encode: kernel(`search${name}`),
      squareSums: kernel('squareSums'),
      group: 1,
      redo(values, at, importance, importanceAt, sigma2, target, to) {
        if (importance === undefined) return;
        encodeWeighted(type, values, at, importance, importanceAt, fround(sigma2), target, to);
      },
    });
    return {
      quantize(values, rowLength, importance, target) {
        const quantize = importance === undefined ? unweighted : weighted;
        quantize(values, rowLength, importance, target);
      },
      dequantize: decoder(memory, shape, kernel(`decode${name}`)),
    };
  };
  const q8 = { size: BLOCK, bytes: 34 };
  const nl = { size: BLOCK, bytes: 18 };
  const xs = { size: 8 * BLOCK, bytes: 136 };
  return {
    q4_0: uniform(UNIFORM.q4_0, 'Q4_0'),
    q4_1: uniform(UNIFORM.q4_1, 'Q4_1'),
    q5_0: uniform(UNIFORM.q5_0, 'Q5_0'),
    q5_1: uniform(UNIFORM.q5_1, 'Q5_1'),
    q8_0: {
      quantize: plain(memory, q8, kernel('encodeQ8_0')),
      dequantize: decoder(memory, q8, kernel('decodeQ8_0')),
    },
    iq4_nl: {
      quantize: searching(memory, {
        ...nl,
        encode: kernel('searchIq4Nl'),
        group: 4,
        redo: (values, at, importance, importanceAt, _sigma2, target, to) =>
          encodeNl(values, at, importance, importanceAt, target, to),
      }),
      dequantize: decoder(memory, nl, kernel('decodeIq4Nl')),
    },
    iq4_xs: {
      quantize: searching(memory, {
        ...xs,
        encode: kernel('searchIq4Xs'),
        group: 1,
        redo: (values, at, importance, importanceAt, _sigma2, target, to) =>
          encodeXs(values, at, importance, importanceAt, target, to),
      }),
      dequantize: decoder(memory, xs, kernel('decodeIq4Xs')),
    },
  };
}
