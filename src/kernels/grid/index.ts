/**
 * The door to the searches of a grid. Both backends write the same bits, so the choice is one of speed only; the SIMD kernels own
 * a memory: one set for each worker.
 */

import { gridDefinition } from './definition.ts';
import type { GridKernels } from './grid.ts';

export type {
  GridKernels,
  GridShape,
  GridTarget,
  HalfQuadraticOptions,
  SearchOptions,
} from './grid.ts';

/** The kernels that define every result; synchronous, no memory of their own. */
export function referenceGridKernels(): GridKernels {
  return gridDefinition;
}

/** New SIMD kernels with their own memory, or undefined where the machine cannot run them. */
export async function wasmGridKernels(): Promise<GridKernels | undefined> {
  const { createGridKernels } = await import('./wasm.ts');
  return createGridKernels();
}

/** The fastest that this machine runs. */
export async function selectGridKernels(): Promise<GridKernels> {
  return (await wasmGridKernels()) ?? gridDefinition;
}
