/** The SIMD kernels that solving uses: one set for all layers, since kernels own a memory. */

import { type AlgebraKernels, wasmAlgebraKernels } from '../../kernels/algebra/index.ts';
import { type GridKernels, selectGridKernels } from '../../kernels/grid/index.ts';

let selected: Promise<GridKernels> | undefined;

/** Searches of grids, the fastest that the machine runs. */
export function gridKernels(): Promise<GridKernels> {
  selected ??= selectGridKernels();
  return selected;
}

let algebra: Promise<AlgebraKernels | undefined> | undefined;

/** Linear algebra; undefined where the machine has no SIMD. */
export function algebraKernels(): Promise<AlgebraKernels | undefined> {
  algebra ??= wasmAlgebraKernels();
  return algebra;
}
