/**
 * The SIMD kernels behind `AlgebraKernels`, over a memory of their own. A panel lies in the arena as f32, with rows of zeros after
 * it, so that tiles may run over its end; results of one call lie behind it.
 */

import { compileKernels, KernelMemory } from '../wasm-memory.ts';
import type { AlgebraKernels } from './algebra.ts';
import { forms } from './forms.ts';
import { KERNEL_MODULE } from './module.gen.ts';
import { PANEL_COLUMNS } from './panel.ts';
import { rounding } from './rounding.ts';
import { rowSets } from './row-sets.ts';

/** Rows and columns of a tile are computed together. */
const TILE = 4;

/** Kernels with their own memory, or undefined where the machine has no WebAssembly SIMD. */
export async function createAlgebraKernels(): Promise<AlgebraKernels | undefined> {
  const core = await compileKernels();
  if (core === undefined) return undefined;
  const memory = new KernelMemory(core);
  const kernel = await memory.attach(KERNEL_MODULE);
  // Rows keep their H over many calls of the others.
  const rowMemory = new KernelMemory(core);
  const rowKernel = await rowMemory.attach(KERNEL_MODULE);
  const panelProducts = kernel('panelProducts');
  let panelAt = 0;
  let loaded = 0;
  let out: Float32Array = new Float32Array(0);

  return {
    roundColumns: rounding(memory, kernel('roundColumns')),
    quadraticForms: forms(memory, kernel('quadraticForms')),
    rowSet: rowSets(rowMemory, rowKernel),
    load(panel, rows) {
      const padded = rows + 2 * TILE;
      const arena = memory.arena((padded + padded) * PANEL_COLUMNS * 4 + 64);
      const copy = arena.f32(padded * PANEL_COLUMNS);
      copy.set(panel.subarray(0, rows * PANEL_COLUMNS));
      out = arena.f32(padded * PANEL_COLUMNS);
      panelAt = memory.address(copy);
      loaded = rows;
    },
    products(first, rows, from, to) {
      const stride = Math.ceil((to - from) / TILE) * TILE;
      const even = rows + (rows % 2);
      if (first + rows > loaded || to > loaded || even * stride > out.length)
        throw new Error('the products do not lie in the panel');
      const row = (index: number): number => panelAt + index * PANEL_COLUMNS * 4;
      panelProducts(row(first), even, row(from), stride, memory.address(out));
      return { values: out, stride };
    },
  };
}
