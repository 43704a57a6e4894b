/** The SIMD kernels behind `AlgebraKernels`, over memories of their own. */

import { compileKernels, KernelMemory } from '../wasm-memory.ts';
import type { AlgebraKernels } from './algebra.ts';
import { factorising } from './factorise.ts';
import { forms } from './forms.ts';
import { KERNEL_MODULE } from './module.gen.ts';
import { multiplying, solving } from './right-sides.ts';
import { rounding } from './rounding.ts';
import { rowSets } from './row-sets.ts';

/** Kernels with their own memory, or undefined where the machine has no WebAssembly SIMD. */
export async function createAlgebraKernels(): Promise<AlgebraKernels | undefined> {
  const core = await compileKernels();
  if (core === undefined) return undefined;
  const memory = new KernelMemory(core);
  const kernel = await memory.attach(KERNEL_MODULE);
  // Rows keep their H over many calls of the others.
  const rowMemory = new KernelMemory(core);
  const rowKernel = await rowMemory.attach(KERNEL_MODULE);
  return {
    factorise: factorising(memory, kernel),
    multiply: multiplying(memory, kernel('subtractProducts')),
    solveFactorised: solving(memory, kernel('substitute')),
    roundColumns: rounding(memory, kernel('roundColumns')),
    quadraticForms: forms(memory, kernel('quadraticForms')),
    rowSet: rowSets(rowMemory, rowKernel),
  };
}
