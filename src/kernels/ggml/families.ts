/**
 * Where each family of block types is found. Loaded when a type of it is first asked for: a run that writes Q4_K never
 * touches the code books of the IQ types.
 */

import { BLOCK_TYPES, type BlockFamily, type BlockType } from '../../core/ggml-types.ts';
import { WhittleError } from '../../errors.ts';
import type { KernelMemory } from '../wasm-memory.ts';
import type { BlockCodec, Codecs, DefinitionModule, WasmModule } from './codec.ts';

const DEFINITIONS: Readonly<Record<BlockFamily, () => Promise<DefinitionModule>>> = {
  linear: () => import('./linear/definition.ts'),
  k: () => import('./k/definition.ts'),
  narrow: () => import('./narrow/definition.ts'),
  lattice: () => import('./lattice/definition.ts'),
  ternary: () => import('./ternary/definition.ts'),
};

const WASM: Readonly<Record<BlockFamily, () => Promise<WasmModule>>> = {
  linear: () => import('./linear/wasm.ts'),
  k: () => import('./k/wasm.ts'),
  narrow: () => import('./narrow/wasm.ts'),
  lattice: () => import('./lattice/wasm.ts'),
  ternary: () => import('./ternary/wasm.ts'),
};

/** Codecs that were prepared, of one set of kernels. */
export interface PreparedBlocks {
  prepareBlocks(type: BlockType): Promise<void>;
  quantizeBlocks(
    type: BlockType,
    values: Float32Array,
    rowLength: number,
    importance: Float32Array | undefined,
    target: Uint8Array,
  ): void;
  dequantizeBlocks(type: BlockType, source: Uint8Array, target: Float32Array): void;
}

/** @param memory - that of the WebAssembly kernels; without one the definitions compute. */
export function preparedBlocks(memory: KernelMemory | undefined): PreparedBlocks {
  const codecs: Partial<Record<BlockType, BlockCodec>> = {};
  const loading = new Map<BlockFamily, Promise<Codecs>>();
  const load = async (family: BlockFamily): Promise<Codecs> => {
    const { codecs: definitions } = await DEFINITIONS[family]();
    if (memory === undefined) return definitions;
    // A type without a kernel of its own is computed by its definition.
    return { ...definitions, ...(await (await WASM[family]()).createCodecs(memory)) };
  };
  const codecOf = (type: BlockType): BlockCodec => {
    const codec = codecs[type];
    if (codec === undefined) throw new Error(`prepareBlocks('${type}') was not called`);
    return codec;
  };
  return {
    async prepareBlocks(type) {
      if (codecs[type] !== undefined) return;
      const { family } = BLOCK_TYPES[type];
      const pending = loading.get(family) ?? load(family);
      loading.set(family, pending);
      const codec = (await pending)[type];
      if (codec === undefined) {
        throw new WhittleError('E_UNSUPPORTED', `no encoder for ${type}`, { found: type });
      }
      codecs[type] = codec;
    },
    quantizeBlocks: (type, values, rowLength, importance, target) =>
      codecOf(type).quantize(values, rowLength, importance, target),
    dequantizeBlocks: (type, source, target) => codecOf(type).dequantize(source, target),
  };
}
