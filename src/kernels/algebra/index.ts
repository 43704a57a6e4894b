/**
 * The door to the kernels of linear algebra: inner products of the rows of a panel, which a Cholesky factorisation spends nearly
 * all of its time on. The SIMD kernels own a memory: one set for each worker.
 */

import type { PanelProducts } from './panel.ts';

export { PANEL_COLUMNS, type PanelProducts } from './panel.ts';

/** New SIMD kernels with their own memory, or undefined where the machine cannot run them. */
export async function wasmPanelProducts(): Promise<PanelProducts | undefined> {
  const { createPanelProducts } = await import('./wasm.ts');
  return createPanelProducts();
}
