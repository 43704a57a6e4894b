/**
 * The door to the kernels of linear algebra: what the factorisation of a Gram matrix, and rounding with it, spend nearly all of
 * their time on. The SIMD kernels own a memory: one set for each worker.
 */

import type { AlgebraKernels } from './algebra.ts';

export type { AlgebraKernels, ColumnGrid, FactoriseBlock, RowProblem, RowSet } from './algebra.ts';

/** New SIMD kernels with their own memory, or undefined where the machine cannot run them. */
export async function wasmAlgebraKernels(): Promise<AlgebraKernels | undefined> {
  const { createAlgebraKernels } = await import('./wasm.ts');
  return createAlgebraKernels();
}
