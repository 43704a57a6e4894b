/**
 * WebAssembly kernels that only move bits: packing of 2- and 4-bit codes, transposition. Other widths and the codes after
 * the last whole vector go to the reference.
 */

import type { Kernels } from './kernels.ts';
import { type KernelMemory, STAGE_BYTES, WORK } from './wasm-memory.ts';

/** Codes that pass through the stage at once. */
const CHUNK = 1 << 19;

/** Codes that one vector of packed bytes holds, for the forms that have a kernel. */
function codesPerVector(bits: number, order: 'lowFirst' | 'highFirst'): number {
  if (bits === 4) return 32;
  return bits === 2 && order === 'lowFirst' ? 64 : 0;
}

export type LayoutKernels = Pick<Kernels, 'packBits' | 'unpackBits' | 'transpose'>;

export function layoutKernels(memory: KernelMemory, reference: Kernels): LayoutKernels {
  const packNibbles = memory.kernel('packNibbles');
  const unpackNibbles = memory.kernel('unpackNibbles');
  const packCrumbs = memory.kernel('packCrumbs');
  const unpackCrumbs = memory.kernel('unpackCrumbs');
  const transpose = memory.kernel('transpose');

  return {
    packBits(codes, bits, order, target) {
      const unit = codesPerVector(bits, order);
      const whole = unit === 0 ? 0 : codes.length - (codes.length % unit);
      const step = memory.isResident(codes, target) ? whole : CHUNK;
      for (let start = 0; start < whole; start += step) {
        const count = Math.min(step, whole - start);
        const from = memory.input(codes, start, count);
        const to = memory.output(target, (start * bits) / 8, (count * bits) / 8);
        if (bits === 4) packNibbles(from, count, order === 'highFirst' ? 1 : 0, to);
        else packCrumbs(from, count, to);
        memory.deliver();
      }
      reference.packBits(codes.subarray(whole), bits, order, target.subarray((whole * bits) / 8));
    },

    unpackBits(packed, bits, order, codes) {
      const unit = codesPerVector(bits, order);
      const whole = unit === 0 ? 0 : codes.length - (codes.length % unit);
      const step = memory.isResident(codes, packed) ? whole : CHUNK;
      for (let start = 0; start < whole; start += step) {
        const count = Math.min(step, whole - start);
        const from = memory.input(packed, (start * bits) / 8, (count * bits) / 8);
        const to = memory.output(codes, start, count);
        if (bits === 4) unpackNibbles(from, count, order === 'highFirst' ? 1 : 0, to);
        else unpackCrumbs(from, count, to);
        memory.deliver();
      }
      reference.unpackBits(packed.subarray((whole * bits) / 8), bits, order, codes.subarray(whole));
    },

    transpose(source, rows, columns, elementSize, target) {
      if (memory.isResident(source, target)) {
        transpose(memory.address(source), rows, columns, elementSize, memory.address(target), WORK);
        return;
      }
      // Bands of whole rows; each gives a part of every row of the result.
      const band = Math.floor(STAGE_BYTES / 3 / (columns * elementSize)) & ~15;
      if (band === 0 || columns === 0) {
        reference.transpose(source, rows, columns, elementSize, target);
        return;
      }
      for (let top = 0; top < rows; top += band) {
        const count = Math.min(band, rows - top);
        const bytes = count * columns * elementSize;
        const from = memory.reserve(bytes);
        const start = top * columns * elementSize;
        memory.bytes(from, bytes).set(source.subarray(start, start + bytes));
        const to = memory.reserve(bytes);
        transpose(from, count, columns, elementSize, to, WORK);
        const part = count * elementSize;
        for (let c = 0; c < columns; c++) {
          target.set(memory.bytes(to + c * part, part), (c * rows + top) * elementSize);
        }
        memory.deliver();
      }
    },
  };
}
