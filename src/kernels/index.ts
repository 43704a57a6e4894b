/**
 * Selection of the kernels: WebAssembly SIMD where the machine has it, else the plain-TypeScript reference. Both write
 * the same bytes, so the choice is one of speed only. WebAssembly kernels own a memory: one set for each worker.
 */

import type { Kernels } from './kernels.ts';
import { reference } from './reference.ts';

export type {
  Arena,
  BlockOptions,
  BlockRule,
  ErrorSums,
  Kernels,
  PowerSums,
  Range,
  Rounding,
} from './kernels.ts';

/** The kernels that define every result; synchronous, no memory of their own. */
export function referenceKernels(): Kernels {
  return reference;
}

/** New WebAssembly SIMD kernels with their own memory, or undefined where the machine cannot run them. */
export async function wasmKernels(): Promise<Kernels | undefined> {
  // Loaded on demand: the module is large beside the reference.
  const { createWasmKernels } = await import('./wasm.ts');
  return createWasmKernels();
}

/** The fastest kernels that this machine runs. */
export async function selectKernels(): Promise<Kernels> {
  return (await wasmKernels()) ?? reference;
}
