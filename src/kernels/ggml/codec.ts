/**
 * The contract of a family of ggml block types. Each family has a folder: its definition in plain TypeScript
 * (`definition.ts` exports `codecs`), pinned to ggml's own library byte for byte, and its WebAssembly SIMD kernels
 * (`wasm.ts` exports `createCodecs`), equal to the definition bit for bit; AssemblyScript in kernels/ggml/<family>/.
 *
 * Arithmetic is that of ggml's x86-64 builds: f32, left to right, sums strictly sequential, no fused multiply-add
 * (docs/encodings.md). Arguments were checked before a codec is called.
 */

import type { BlockType } from '../../core/ggml-types.ts';
import type { KernelMemory } from '../wasm-memory.ts';

export interface BlockCodec {
  /**
   * Whole rows to blocks. `values`: rows · rowLength finite numbers; rowLength is a multiple of the block size. `importance`:
   * rowLength weights ≥ 0 that all rows share, or undefined. Fills `target`, rows · rowLength / size · bytes.
   */
  quantize(
    values: Float32Array,
    rowLength: number,
    importance: Float32Array | undefined,
    target: Uint8Array,
  ): void;
  /** Blocks to values; `target` has the length that `source` gives. */
  dequantize(source: Uint8Array, target: Float32Array): void;
}

export type Codecs = Readonly<Partial<Record<BlockType, BlockCodec>>>;

/** What definition.ts of a family exports. */
export interface DefinitionModule {
  readonly codecs: Codecs;
}

/** What wasm.ts of a family exports. The arrays a codec is given may live inside or outside of `memory`. */
export interface WasmModule {
  createCodecs(memory: KernelMemory): Promise<Codecs>;
}
