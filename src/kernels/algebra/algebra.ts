/**
 * What algorithms may have computed by SIMD: the interface behind which the kernels of linear algebra stand. Their definitions are
 * the plain loops of src/algorithms, which run where there are no kernels; a kernel gives the same bits, unless its member says otherwise.
 */

import type { PanelProducts } from './panel.ts';

/** Grids of `rows` rows, as babai.ts rounds to them. */
export interface ColumnGrid {
  readonly rows: number;
  /** Inputs of a row. */
  readonly n: number;
  readonly groupSize: number;
  /** The largest code. */
  readonly top: number;
  /** [rows, groups] */
  readonly scales: Float32Array;
  /** [rows, groups] */
  readonly zeros: Float32Array;
}

export interface AlgebraKernels extends PanelProducts {
  /**
   * Chooses codes in the order of steps, each step making up for the errors before it (`roundColumns` of src/algorithms/babai.ts).
   * @param target - f64 [rows, n] @param order - the input of each step @param compensation - f64 [n, n], read below the diagonal
   * @param codes - [rows, n], written
   */
  roundColumns(
    target: Float64Array,
    grid: ColumnGrid,
    order: Int32Array,
    compensation: Float64Array,
    codes: Uint8Array,
  ): void;
}
