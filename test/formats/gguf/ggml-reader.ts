/**
 * ggml's own GGUF reader and writer (the prebuilt libggml-base, called through koffi) as the oracle of the container. Absent
 * on other machines.
 */

import { join } from 'node:path';
import { llamaLibraries } from '../../oracle/ggml.ts';
import type { BuildEntry } from './build-gguf.ts';

export interface GgmlReader {
  /** Whether `gguf_init_from_buffer` takes the head of the file. */
  accepts(file: Uint8Array): boolean;
  /** The head (all but the payloads) as ggml reads it and writes it again. */
  rewrite(file: Uint8Array): Uint8Array;
  /** As `rewrite`, after taking over all keys and setting these, as llama-gguf-split and llama-quantize do. */
  rewriteWith(file: Uint8Array, entries: readonly BuildEntry[], dropKeys?: readonly string[]): Uint8Array;
  describe(file: Uint8Array): {
    keys: string[];
    alignment: number;
    dataOffset: number;
    tensors: { name: string; type: number; offset: number; size: number }[];
  };
}

export async function ggmlReader(): Promise<GgmlReader | undefined> {
  const folder = llamaLibraries();
  if (folder === undefined || process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  const { default: koffi } = await import('koffi');
  const library = koffi.load(join(folder, 'libggml-base.so'));
  koffi.struct('gguf_init_params', { no_alloc: 'bool', ctx: 'void *' });
  const init = library.func(
    'void *gguf_init_from_buffer(const void *data, size_t size, gguf_init_params params)',
  );
  const empty = library.func('void *gguf_init_empty()');
  const free = library.func('void gguf_free(void *ctx)');
  const metaSize = library.func('size_t gguf_get_meta_size(void *ctx)');
  const metaData = library.func('void gguf_get_meta_data(void *ctx, void *data)');
  const keyCount = library.func('int64_t gguf_get_n_kv(void *ctx)');
  const keyAt = library.func('const char *gguf_get_key(void *ctx, int64_t id)');
  const tensorCount = library.func('int64_t gguf_get_n_tensors(void *ctx)');
  const tensorName = library.func('const char *gguf_get_tensor_name(void *ctx, int64_t id)');
  const tensorType = library.func('int gguf_get_tensor_type(void *ctx, int64_t id)');
  const tensorOffset = library.func('size_t gguf_get_tensor_offset(void *ctx, int64_t id)');
  const tensorSize = library.func('size_t gguf_get_tensor_size(void *ctx, int64_t id)');
  const alignmentOf = library.func('size_t gguf_get_alignment(void *ctx)');
  const dataOffset = library.func('size_t gguf_get_data_offset(void *ctx)');
  const setAll = library.func('void gguf_set_kv(void *ctx, void *src)');
  const removeKey = library.func('int64_t gguf_remove_key(void *ctx, const char *key)');
  const setters = {
    u16: library.func('void gguf_set_val_u16(void *ctx, const char *key, uint16_t value)'),
    i32: library.func('void gguf_set_val_i32(void *ctx, const char *key, int32_t value)'),
    u32: library.func('void gguf_set_val_u32(void *ctx, const char *key, uint32_t value)'),
    string: library.func('void gguf_set_val_str(void *ctx, const char *key, const char *value)'),
  };
  // Refusals are expected here; their messages are not wanted on the terminal.
  const quiet = koffi.proto('void ggml_log_callback(int level, const char *text, void *data)');
  const silence = koffi.register(() => {}, koffi.pointer(quiet));
  library.func('void ggml_log_set(ggml_log_callback *callback, void *data)')(silence, null);

  const withContext = <T>(file: Uint8Array, use: (context: unknown) => T): T => {
    const context: unknown = init(file, file.length, { no_alloc: true, ctx: null });
    if (context === null) throw new Error('ggml refuses the file');
    try {
      return use(context);
    } finally {
      free(context);
    }
  };
  const metaOf = (context: unknown): Uint8Array => {
    const bytes = new Uint8Array(Number(metaSize(context)));
    metaData(context, bytes);
    return bytes;
  };
  return {
    accepts(file) {
      const context: unknown = init(file, file.length, { no_alloc: true, ctx: null });
      if (context !== null) free(context);
      return context !== null;
    },
    rewrite: (file) => withContext(file, metaOf),
    rewriteWith: (file, entries, dropKeys = []) =>
      withContext(file, (source) => {
        const target: unknown = empty();
        setAll(target, source);
        for (const key of dropKeys) removeKey(target, key);
        for (const [key, type, value] of entries) {
          if (type === 'string') setters.string(target, key, String(value));
          else if (type === 'u16' || type === 'u32' || type === 'i32')
            setters[type](target, key, Number(value));
          else throw new Error(`no setter for ${type}`);
        }
        const bytes = metaOf(target);
        free(target);
        return bytes;
      }),
    describe: (file) =>
      withContext(file, (context) => ({
        keys: Array.from({ length: Number(keyCount(context)) }, (_, i) => String(keyAt(context, i))),
        alignment: Number(alignmentOf(context)),
        dataOffset: Number(dataOffset(context)),
        tensors: Array.from({ length: Number(tensorCount(context)) }, (_, i) => ({
          name: String(tensorName(context, i)),
          type: Number(tensorType(context, i)),
          offset: Number(tensorOffset(context, i)),
          size: Number(tensorSize(context, i)),
        })),
      })),
  };
}
