/**
 * What algorithms may have computed by SIMD: the interface behind which the kernels of linear algebra stand. Their definitions are
 * the plain loops of src/algorithms, which run where there are no kernels; a kernel gives the same bits, unless its member says otherwise.
 */

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

/** Factorises a small matrix in place as `AlgebraKernels.factorise` does a large one, all in f64. */
export type FactoriseBlock = (a: Float64Array, n: number) => number;

export interface AlgebraKernels {
  /**
   * Replaces the lower triangle of `a`, f64 [n, n], by L with a = L Lᵀ (`factorise` of src/algorithms/cholesky.ts). Products of earlier columns
   * are f32, what they are taken from is f64: not the same bits, but the same to the exactness of f32.
   * @returns the first pivot that is not positive, whereupon `a` is spoilt; −1 where there is none
   */
  factorise(a: Float64Array, n: number, factoriseBlock: FactoriseBlock): number;
  /**
   * rows · matrix, f64 [rows, n] (`multiplyRows` of src/algorithms/asymmetric-target.ts).
   * @param rows - f32 [rows, n] @param matrix - f32 [n, n]
   */
  multiply(rows: Float32Array, matrix: Float32Array, n: number): Float64Array;
  /**
   * Solves L Lᵀ x = b in place for each row b (`solveFactorised` of src/algorithms/cholesky.ts).
   * @param lower - f64 [n, n] @param rows - f64 [rows, n]
   */
  solveFactorised(lower: Float64Array, n: number, rows: Float64Array): void;
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
  /**
   * x H xᵀ of each row x, from the lower half of H (`quadraticForms` of src/algorithms/linear-algebra.ts).
   * @param rows - f64 [rows, n] @param gram - [n, n]
   */
  quadraticForms(rows: Float64Array, gram: Float32Array | Float64Array, n: number): Float64Array;
  /** Room for `rows` rows over one H, until it is called again. */
  rowSet(problem: RowProblem, rows: number): RowSet;
}

/** The H of rows whose codes move, and their grid. */
export interface RowProblem {
  /** H, f64 [n, n], symmetric. */
  readonly gram: Float64Array;
  readonly n: number;
  readonly groupSize: number;
  /** The largest code. */
  readonly top: number;
}

/**
 * Rows of one H whose codes are moved together (src/algorithms/learned-rounding-row.ts says what the moves are). The arrays lie where the
 * kernels see them: write and read them between calls, and take none after the next call of `rowSet`.
 */
export interface RowSet {
  /** How many rows there is room for. */
  readonly rows: number;
  /** Distance of rows in codes, values, differences and gradients; at least n, what lies behind stays 0. */
  readonly stride: number;
  /** [rows, stride] */
  readonly codes: Uint8Array;
  /** [rows, groups] */
  readonly scales: Float32Array;
  /** [rows, groups] */
  readonly zeros: Float32Array;
  /** [rows, stride] */
  readonly values: Float64Array;
  /** [rows, stride]: values − targets, where `addProducts` is to be called. */
  readonly differences: Float64Array;
  /** [rows, stride]: differences · H, which moves keep up to date. */
  readonly gradients: Float64Array;
  /** Not 0 for rows that take part in moves. */
  readonly active: Uint8Array;
  /** [rows]: moves add how much they lowered the error. */
  readonly gains: Float64Array;
  /**
   * gradients += differences · H, over the inputs `from` … `to − 1` and the first `columns` of H; all, by default. Ranges go out to
   * multiples of four: differences must be 0 there.
   */
  addProducts(from?: number, to?: number, columns?: number): void;
  /** Single moves, over and over, at most `sweeps` times; clears `active`. */
  descendSingly(sweeps: number): void;
  /** One pass of pair moves. */
  descendInPairs(): void;
}
