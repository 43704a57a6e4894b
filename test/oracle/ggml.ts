/**
 * ggml's own library (npm: @node-llama-cpp/linux-x64, called through koffi) as the oracle of the block types. Absent on other
 * machines, where tests compare with committed digests instead.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BLOCK_TYPES, type BlockType, GGML_TYPES, type GgmlType } from '../../src/core/ggml-types.ts';

export interface GgmlOracle {
  /** `ggml_quantize_chunk` over whole rows. Never call it without importance where the type requires one: it aborts the process. */
  quantize(
    type: GgmlType,
    values: Float32Array,
    rowLength: number,
    importance?: Float32Array | undefined,
  ): Uint8Array;
  /** `dequantize_row_<type>`. */
  dequantize(type: BlockType, blocks: Uint8Array): Float32Array;
}

/** Folder of the prebuilt llama.cpp libraries; undefined where they are not installed, or with WHITTLE_NO_ORACLE=1 to try how that is. */
export function llamaLibraries(): string | undefined {
  if (process.env.WHITTLE_NO_ORACLE === '1') return undefined;
  const folder = fileURLToPath(
    new URL('../../node_modules/@node-llama-cpp/linux-x64/bins/linux-x64', import.meta.url),
  );
  return existsSync(folder) ? folder : undefined;
}

export async function ggmlOracle(): Promise<GgmlOracle | undefined> {
  const folder = llamaLibraries();
  if (folder === undefined || process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  const { default: koffi } = await import('koffi');
  const library = koffi.load(join(folder, 'libggml-base.so'));
  const quantizeChunk = library.func(
    'size_t ggml_quantize_chunk(int type, const float *src, void *dst, int64_t start, int64_t nrows, int64_t n_per_row, const float *imatrix)',
  );
  const rows = new Map<BlockType, (source: Uint8Array, target: Float32Array, count: number) => void>();
  const rowOf = (type: BlockType) => {
    const known = rows.get(type);
    if (known !== undefined) return known;
    const found = library.func(`void dequantize_row_${type}(const void *x, float *y, int64_t k)`);
    const call = (source: Uint8Array, target: Float32Array, count: number): void => {
      found(source, target, count);
    };
    rows.set(type, call);
    return call;
  };
  return {
    quantize(type, values, rowLength, importance) {
      const { id, size, bytes } = GGML_TYPES[type];
      const target = new Uint8Array((values.length / size) * bytes);
      const written = quantizeChunk(
        id,
        values,
        target,
        0,
        values.length / rowLength,
        rowLength,
        importance ?? null,
      );
      if (Number(written) !== target.length) throw new Error(`ggml wrote ${written} of ${target.length}`);
      return target;
    },
    dequantize(type, blocks) {
      const { size, bytes } = BLOCK_TYPES[type];
      const target = new Float32Array((blocks.length / bytes) * size);
      rowOf(type)(blocks, target, target.length);
      return target;
    },
  };
}
