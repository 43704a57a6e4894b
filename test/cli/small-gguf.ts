/** Small language models in GGUF for the command line's tests: two layers, rows of one super-block, seeded weights. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRandom } from '../../src/core/random.ts';
import { type BuildOptions, type BuildTensor, buildGguf } from '../formats/gguf/build-gguf.ts';
import { buildLegacyImatrix } from '../formats/gguf/build-imatrix.ts';

const COLUMNS = 256;
const ROWS = 32;
export const LAYERS = 2;

const MATRICES = ['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down'];

export const WEIGHT_NAMES: readonly string[] = Array.from({ length: LAYERS }, (_, layer) =>
  MATRICES.map((name) => `blk.${layer}.${name}.weight`),
).flat();

export function smallGguf(): BuildOptions {
  const random = createRandom(7);
  const floats = (count: number): Uint8Array =>
    new Uint8Array(Float32Array.from({ length: count }, () => random.normal() * 0.1).buffer);
  const matrix = (name: string): BuildTensor => ({
    name,
    shape: [COLUMNS, ROWS],
    type: 'f32',
    bytes: floats(COLUMNS * ROWS),
  });
  const vector = (name: string): BuildTensor => ({
    name,
    shape: [COLUMNS],
    type: 'f32',
    bytes: floats(COLUMNS),
  });
  return {
    metadata: [
      ['general.architecture', 'string', 'llama'],
      ['general.name', 'string', 'tiny\u001b[31m'],
      ['llama.block_count', 'u32', LAYERS],
      ['llama.attention.head_count', 'u32', 4],
      ['llama.attention.head_count_kv', 'u32', 4],
      ['general.file_type', 'u32', 0],
      ['tokenizer.ggml.tokens', 'string[]', ['<unk>', 'b', 'c', 'd', 'e', 'f', 'g', 'h']],
    ],
    tensors: [
      matrix('token_embd.weight'),
      ...WEIGHT_NAMES.map(matrix),
      vector('output_norm.weight'),
      matrix('output.weight'),
    ],
  };
}

export async function writeSmallGguf(folder: string, name = 'tiny-f32.gguf'): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, buildGguf(smallGguf()));
  return path;
}

/** The old form, with values for every weight of the layers. */
export async function writeSmallImatrix(folder: string, name = 'imatrix.dat'): Promise<string> {
  const random = createRandom(8);
  const path = join(folder, name);
  const entries = WEIGHT_NAMES.map((weight) => ({
    name: weight,
    calls: 2,
    values: Array.from({ length: COLUMNS }, () => random.uniform() * 4),
  }));
  await writeFile(path, buildLegacyImatrix({ entries, chunks: 2, dataset: 'text.txt' }));
  return path;
}

/** 80 MiB of f16: enough that a run keeps a journal. */
export async function writeLargeGguf(folder: string): Promise<string> {
  const [columns, rows, tensors] = [2048, 2048, 10];
  const bytes = new Uint8Array(columns * rows * 2);
  const values = new Uint16Array(bytes.buffer);
  const random = createRandom(9);
  // Either sign, exponents of weights.
  for (let i = 0; i < values.length; i++) values[i] = (random.uint32() & 0x8fff) | 0x2000;
  const path = join(folder, 'large-f16.gguf');
  const model = buildGguf({
    metadata: [
      ['general.architecture', 'string', 'llama'],
      ['llama.block_count', 'u32', tensors],
      ['llama.attention.head_count', 'u32', 16],
      ['llama.attention.head_count_kv', 'u32', 16],
    ],
    tensors: Array.from({ length: tensors }, (_, layer) => ({
      name: `blk.${layer}.ffn_down.weight`,
      shape: [columns, rows],
      type: 'f16' as const,
      bytes,
    })),
  });
  await writeFile(path, model);
  return path;
}
