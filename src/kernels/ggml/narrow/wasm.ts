/** The WebAssembly SIMD kernels of the narrow family of block types. */

import type { KernelMemory } from '../../wasm-memory.ts';
import type { Codecs } from '../codec.ts';

export async function createCodecs(_memory: KernelMemory): Promise<Codecs> {
  return {};
}
