/**
 * Brings rounding in steps into the form of its kernel (kernels/algebra/round.ts): the compensation in strips of four steps, rows side by
 * side in blocks of four, all in the order of the steps. A strip is read once for all rows of a batch.
 */

import type { KernelFunction, KernelMemory } from '../wasm-memory.ts';
import type { AlgebraKernels } from './algebra.ts';
import { packStrips, STRIP, stripsLength } from './strips.ts';

/** Rows of a block: as many as steps of a strip. */
const BLOCK = STRIP;
/** Errors of so many rows stay in the second-level cache. */
const BATCH = 16;

export function rounding(memory: KernelMemory, kernel: KernelFunction): AlgebraKernels['roundColumns'] {
  return (target, grid, order, compensation, codes) => {
    const { rows, n, groupSize, top, scales, zeros } = grid;
    const groups = Math.ceil(n / groupSize);
    const steps = Math.ceil(n / BLOCK) * BLOCK;
    // Steps that only fill up a strip have a group of their own, whose scale is 0.
    const held = groups + 1;
    const arena = memory.arena(
      8 * (steps * (steps / 2 + 2 + 2 * BATCH) + 2 * held * BATCH) + steps * (4 + BATCH) + 128,
    );
    const strips = arena.f64(stripsLength(n));
    packStrips(strips, compensation, n);
    const targets = arena.f64(BATCH * steps);
    const errors = arena.f64(BATCH * steps);
    const sizes = arena.f64(BATCH * held);
    const shifts = arena.f64(BATCH * held);
    const groupBytes = arena.u8(4 * steps);
    const groupOf = new Int32Array(groupBytes.buffer, groupBytes.byteOffset, steps).fill(groups);
    const found = arena.u8(BATCH * steps);
    for (let c = 0; c < n; c++) groupOf[c] = Math.floor(order[c]! / groupSize);
    for (let first = 0; first < rows; first += BATCH) {
      const count = Math.min(BATCH, rows - first);
      for (let r = 0; r < count; r++) {
        const row = first + r;
        const lane = r % BLOCK;
        const block = r - lane;
        for (let c = 0; c < n; c++) targets[block * steps + c * BLOCK + lane] = target[row * n + order[c]!]!;
        for (let g = 0; g < groups; g++) {
          sizes[block * held + g * BLOCK + lane] = scales[row * groups + g]!;
          shifts[block * held + g * BLOCK + lane] = zeros[row * groups + g]!;
        }
      }
      kernel(
        memory.address(strips),
        steps,
        Math.ceil(count / BLOCK),
        memory.address(targets),
        memory.address(groupOf),
        held,
        memory.address(sizes),
        memory.address(shifts),
        top,
        memory.address(errors),
        memory.address(found),
      );
      for (let r = 0; r < count; r++) {
        const lane = r % BLOCK;
        const from = (r - lane) * steps + lane;
        const to = (first + r) * n;
        for (let c = 0; c < n; c++) codes[to + order[c]!] = found[from + c * BLOCK]!;
      }
    }
  };
}
