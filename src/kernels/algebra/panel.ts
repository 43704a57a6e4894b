/**
 * Inner products of the rows of a panel with one another: the interface behind which the SIMD kernel stands. Products and sums
 * over the panel's columns are f32; what they are taken from stays f64 with the caller.
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
