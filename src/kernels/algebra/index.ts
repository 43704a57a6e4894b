/**
 * Inner products of the rows of a panel with one another, which a Cholesky factorisation spends nearly all of its time on, in
 * SIMD: products and sums over 64 columns in f32, what they are taken from stays f64 with the caller.
 */

/** Columns of a panel. */
export const PANEL_COLUMNS = 64;

export interface PanelProducts {
  /** Takes in a panel, [rows, PANEL_COLUMNS], until the next one. */
  load(panel: Float64Array, rows: number): void;
  /**
   * Products of rows `first` … `first + rows − 1` with rows `from` … `to − 1` of the panel, at [row − first, column − from] of a matrix
   * with `stride` columns. Valid until the next call.
   */
  products(first: number, rows: number, from: number, to: number): { values: Float32Array; stride: number };
}

/** New SIMD kernels with their own memory, or undefined where the machine cannot run them. */
export async function wasmPanelProducts(): Promise<PanelProducts | undefined> {
  const { createPanelProducts } = await import('./wasm.ts');
  return createPanelProducts();
}
