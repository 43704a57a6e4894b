/**
 * Perplexity by llama.cpp itself: its prebuilt library driven through koffi in the way llama-perplexity drives it (windows of
 * `context` tokens in batches of 2048, flash attention as the library decides, sums in double precision). Run as a process of
 * its own, since the library may end its process:
 *
 *   node llama-perplexity.mjs <libraries> <model> <text> <bytes> <context> <chunks> [threads]    prints the perplexity
 */

import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import koffi from 'koffi';

const [folder, modelPath, textPath, bytes, contextText, chunksText, threadsText] = process.argv.slice(2);
const context = Number(contextText);
const chunks = Number(chunksText);

koffi.load(`${folder}/libggml-base.so`, { global: true });
const ggml = koffi.load(`${folder}/libggml.v0.5.0.so`, { global: true });
const llama = koffi.load(`${folder}/libllama.v0.5.0.so`, { global: true });

koffi.struct('ModelParams', {
  devices: 'void *',
  buft: 'void *',
  gpuLayers: 'int',
  splitMode: 'int',
  loadMode: 'int',
  lazyMode: 'int',
  mainGpu: 'int',
  tensorSplit: 'void *',
  progress: 'void *',
  progressData: 'void *',
  overrides: 'void *',
  flags: koffi.array('bool', 6),
});
koffi.struct('ContextParams', {
  n_ctx: 'uint32_t',
  n_batch: 'uint32_t',
  n_ubatch: 'uint32_t',
  n_seq_max: 'uint32_t',
  n_rs_seq: 'uint32_t',
  n_outputs_max: 'uint32_t',
  n_outputs_max_per_seq: 'uint32_t',
  n_threads: 'int32_t',
  n_threads_batch: 'int32_t',
  types: koffi.array('int', 5),
  rope: koffi.array('float', 6),
  yarn_orig_ctx: 'uint32_t',
  defrag: 'float',
  cb_eval: 'void *',
  cb_data: 'void *',
  type_k: 'int',
  type_v: 'int',
  abort: 'void *',
  abort_data: 'void *',
  flags: koffi.array('bool', 6),
  samplers: 'void *',
  n_samplers: 'size_t',
  other: 'void *',
});
koffi.struct('Batch', {
  n_tokens: 'int32_t',
  token: 'void *',
  embd: 'void *',
  pos: 'void *',
  n_seq_id: 'void *',
  seq_id: 'void *',
  logits: 'void *',
});

const quiet = koffi.proto('void Log(int level, const char *text, void *data)');
llama.func('void llama_log_set(Log *callback, void *data)')(
  koffi.register(() => undefined, koffi.pointer(quiet)),
  null,
);
ggml.func('void ggml_backend_load_all_from_path(const char *dir)')(folder);
llama.func('void llama_backend_init()')();

const model = llama.func('void *llama_model_load_from_file(const char *path, ModelParams params)')(
  modelPath,
  { ...llama.func('ModelParams llama_model_default_params()')(), gpuLayers: 0 },
);
const vocab = llama.func('void *llama_model_get_vocab(void *model)')(model);
const vocabulary = llama.func('int llama_vocab_n_tokens(void *vocab)')(vocab);
const addBos = llama.func('bool llama_vocab_get_add_bos(void *vocab)')(vocab);
const bos = llama.func('int llama_vocab_bos(void *vocab)')(vocab);

const text = readFileSync(textPath).subarray(0, Number(bytes));
const tokens = new Int32Array(text.length + 8);
const count = llama.func(
  'int llama_tokenize(void *vocab, const char *text, int length, int *tokens, int max, bool special, bool parse)',
)(vocab, text, text.length, tokens, tokens.length, true, false);
if (count < 2 * context) throw new Error(`only ${count} tokens`);

const batchTokens = 2048;
const parallel = Math.max(1, Math.floor(batchTokens / context));
const threads = Number(threadsText ?? cpus().length);
const ctx = llama.func('void *llama_init_from_model(void *model, ContextParams params)')(model, {
  ...llama.func('ContextParams llama_context_default_params()')(),
  n_ctx: parallel * context,
  n_batch: Math.min(batchTokens, parallel * context),
  n_ubatch: 512,
  n_seq_max: parallel,
  n_outputs_max: batchTokens,
  n_threads: threads,
  n_threads_batch: threads,
});
const memory = llama.func('void *llama_get_memory(void *ctx)')(ctx);
const clear = llama.func('void llama_memory_clear(void *memory, bool data)');
const decode = llama.func('int llama_decode(void *ctx, Batch batch)');
const logitsAt = llama.func('float *llama_get_logits_ith(void *ctx, int index)');
const batch = llama.func('Batch llama_batch_init(int tokens, int embd, int seqs)')(parallel * context, 0, 1);
const first = context >> 1;

let sum = 0;
let scored = 0;
for (let start = 0; start < Math.min(chunks, Math.floor(count / context)); start += parallel) {
  const windows = Math.min(parallel, Math.min(chunks, Math.floor(count / context)) - start);
  clear(memory, true);
  const size = windows * context;
  const own = tokens.slice(start * context, start * context + size);
  if (addBos) for (let w = 0; w < windows; w++) own[w * context] = bos;
  koffi.encode(batch.token, 'int32_t', Array.from(own), size);
  koffi.encode(
    batch.pos,
    'int32_t',
    Array.from(own, (_, i) => i % context),
    size,
  );
  koffi.encode(
    batch.n_seq_id,
    'int32_t',
    Array.from(own, () => 1),
    size,
  );
  for (let i = 0; i < size; i++) {
    const list = koffi.decode(batch.seq_id, i * 8, 'void *');
    koffi.encode(list, 'int32_t', Math.floor(i / context));
  }
  koffi.encode(
    batch.logits,
    'int8_t',
    Array.from(own, (_, i) => (i % context >= first ? 1 : 0)),
    size,
  );
  if (decode(ctx, { ...batch, n_tokens: size }) !== 0) throw new Error('llama_decode failed');
  for (let w = 0; w < windows; w++) {
    for (let i = first; i < context - 1; i++) {
      const logits = new Float32Array(koffi.decode(logitsAt(ctx, w * context + i), 'float', vocabulary));
      const largest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
      let total = 0;
      for (const value of logits) total += Math.exp(value - largest);
      const target = tokens[(start + w) * context + i + 1];
      sum += largest + Math.log(total) - logits[target];
      scored++;
    }
  }
}
console.log(Math.exp(sum / scored));
process.exit(0);
