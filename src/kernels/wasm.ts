/**
 * The WebAssembly SIMD kernels behind the `Kernels` interface: equal to the reference bit for bit, several times as fast.
 * The module is compiled once; every call of `createWasmKernels` makes an instance with its own, unshared memory.
 */

import { checkedKernels } from './arguments.ts';
import { preparedBlocks } from './ggml/families.ts';
import type { Kernels } from './kernels.ts';
import { reference } from './reference.ts';
import { blockKernels } from './wasm-blocks.ts';
import { checksumKernel } from './wasm-checksum.ts';
import { layoutKernels } from './wasm-layout.ts';
import { compileKernels, KernelMemory } from './wasm-memory.ts';
import { valueKernels } from './wasm-values.ts';

let compiled: Promise<WebAssembly.Module | undefined> | undefined;

/** New kernels with their own memory, or undefined where the machine has no WebAssembly SIMD. */
export async function createWasmKernels(): Promise<Kernels | undefined> {
  compiled ??= compileKernels();
  const module = await compiled;
  if (module === undefined) return undefined;
  const memory = new KernelMemory(module);
  return checkedKernels({
    backend: 'wasm',
    arena: (byteLength) => memory.arena(byteLength),
    ...valueKernels(memory, reference),
    ...blockKernels(memory, reference),
    ...layoutKernels(memory, reference),
    ...checksumKernel(memory),
    ...preparedBlocks(memory),
  });
}
