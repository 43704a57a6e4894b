/**
 * The WebAssembly SIMD kernels of the K-quants. Arrays inside the kernels' memory are used in place, others pass through the stage
 * some super-blocks at a time. The few super-blocks that a kernel flags (ranges that are subnormal or overflow) are encoded by
 * the definition.
 */

import { FLAGS, FLAGS_BYTES, type KernelFunction, type KernelMemory } from '../../wasm-memory.ts';
import type { BlockCodec, Codecs } from '../codec.ts';
import { KERNEL_MODULE } from '../k.gen.ts';
import { SUPER_BLOCKS } from './definition.ts';
import { SUPER, type SuperBlock } from './super-block.ts';

/** Super-blocks that pass through the stage at once: 1 MiB of values, and at most as much of importance. */
const STAGED = 1024;

/** A run of super-blocks that one call of a kernel takes, and which part of the importance belongs to it. */
interface Run {
  readonly start: number;
  readonly count: number;
  readonly importanceStart: number;
  readonly importanceCount: number;
  /** Place of the first super-block in that part, which repeats. */
  readonly column: number;
}

function* runsOf(blocks: number, perRow: number, resident: boolean): Generator<Run> {
  const whole = { importanceStart: 0, importanceCount: perRow };
  if (resident) {
    for (let start = 0; start < blocks; start += FLAGS_BYTES) {
      yield { start, count: Math.min(FLAGS_BYTES, blocks - start), ...whole, column: start % perRow };
    }
  } else if (perRow <= STAGED) {
    const step = Math.floor(STAGED / perRow) * perRow;
    for (let start = 0; start < blocks; start += step) {
      yield { start, count: Math.min(step, blocks - start), ...whole, column: 0 };
    }
  } else {
    for (let row = 0; row < blocks; row += perRow) {
      for (let column = 0; column < perRow; column += STAGED) {
        const count = Math.min(STAGED, perRow - column);
        yield { start: row + column, count, importanceStart: column, importanceCount: count, column: 0 };
      }
    }
  }
}

export async function createCodecs(memory: KernelMemory): Promise<Codecs> {
  const kernel = await memory.attach(KERNEL_MODULE);
  const plain = kernel('encodePlain');
  const weighted = kernel('encodeWeighted');
  const decode = kernel('decode');
  const codec = (bits: number, definition: SuperBlock): BlockCodec => {
    const { bytes } = definition;
    return {
      quantize(values, rowLength, importance, target) {
        const arrays = importance === undefined ? [values, target] : [values, importance, target];
        const perRow = rowLength / SUPER;
        for (const run of runsOf(values.length / SUPER, perRow, memory.isResident(...arrays))) {
          const { start, count } = run;
          const from = memory.input(values, start * SUPER, count * SUPER);
          const to = memory.output(target, start * bytes, count * bytes);
          let flagged: number;
          if (importance === undefined) flagged = plain(bits, from, count, to, bytes, FLAGS);
          else {
            const weights = memory.input(
              importance,
              run.importanceStart * SUPER,
              run.importanceCount * SUPER,
            );
            flagged = weighted(bits, from, count, weights, run.column, run.importanceCount, to, bytes, FLAGS);
          }
          memory.deliver();
          if (flagged === 0) continue;
          const flags = memory.bytes(FLAGS, count);
          for (let i = flags.indexOf(1); i >= 0; i = flags.indexOf(1, i + 1)) {
            const block = start + i;
            const column = (block % perRow) * SUPER;
            definition.encode(
              values.subarray(block * SUPER, (block + 1) * SUPER),
              importance?.subarray(column, column + SUPER),
              target.subarray(block * bytes, (block + 1) * bytes),
            );
          }
        }
      },
      dequantize: decoder(memory, decode, bits, bytes),
    };
  };
  return {
    q2_K: codec(2, SUPER_BLOCKS.q2_K),
    q3_K: codec(3, SUPER_BLOCKS.q3_K),
    q4_K: codec(4, SUPER_BLOCKS.q4_K),
    q5_K: codec(5, SUPER_BLOCKS.q5_K),
    q6_K: codec(6, SUPER_BLOCKS.q6_K),
  };
}

function decoder(
  memory: KernelMemory,
  decode: KernelFunction,
  bits: number,
  bytes: number,
): BlockCodec['dequantize'] {
  return (source, target) => {
    const blocks = source.length / bytes;
    const step = memory.isResident(source, target) ? blocks : STAGED;
    for (let start = 0; start < blocks; start += step) {
      const count = Math.min(step, blocks - start);
      const from = memory.input(source, start * bytes, count * bytes);
      const to = memory.output(target, start * SUPER, count * SUPER);
      decode(bits, from, count, to);
      memory.deliver();
    }
  };
}
