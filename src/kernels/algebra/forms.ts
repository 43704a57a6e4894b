/** Brings rows into blocks of four for the kernel of quadratic forms (kernels/algebra/forms.ts), H into strips. */

import type { KernelFunction, KernelMemory } from '../wasm-memory.ts';
import type { AlgebraKernels } from './algebra.ts';
import { packStrips, STRIP, stripsLength } from './strips.ts';

/** So many rows stay in the second-level cache. */
const BATCH = 16;

export function forms(memory: KernelMemory, kernel: KernelFunction): AlgebraKernels['quadraticForms'] {
  return (rows, gram, n) => {
    const count = n === 0 ? 0 : rows.length / n;
    const totals = new Float64Array(count);
    const steps = Math.ceil(n / STRIP) * STRIP;
    const arena = memory.arena(8 * (stripsLength(n) + BATCH * (steps + 1)) + 64);
    const strips = arena.f64(stripsLength(n));
    const vectors = arena.f64(BATCH * steps);
    const found = arena.f64(BATCH);
    packStrips(strips, gram, n);
    for (let first = 0; first < count; first += BATCH) {
      const held = Math.min(BATCH, count - first);
      for (let r = 0; r < held; r++) {
        const to = (r - (r % STRIP)) * steps + (r % STRIP);
        for (let i = 0; i < n; i++) vectors[to + i * STRIP] = rows[(first + r) * n + i]!;
      }
      const blocks = Math.ceil(held / STRIP);
      kernel(memory.address(strips), steps, blocks, memory.address(vectors), memory.address(found));
      totals.set(found.subarray(0, held), first);
    }
    return totals;
  };
}
