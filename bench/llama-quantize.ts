/**
 * One run of `llama_model_quantize` of the prebuilt llama.cpp library, in a process of its own; the peer of bench/gguf.ts.
 *
 *   node llama-quantize.js <libraries> <input> <output> <file type> <threads>    prints seconds and peak MB as JSON
 */

import koffi from 'koffi';

const [folder = '', input = '', output = '', fileType = '', threads = '1'] = process.argv.slice(2);
koffi.load(`${folder}/libggml-base.so`, { global: true });
koffi.load(`${folder}/libggml.v0.5.0.so`, { global: true });
const llama = koffi.load(`${folder}/libllama.v0.5.0.so`);

koffi.struct('QuantizeParams', {
  threads: 'int32_t',
  fileType: 'int',
  outputType: 'int',
  embeddingType: 'int',
  flags: koffi.array('bool', 6),
  imatrix: 'void *',
  overrides: 'void *',
  tensorTypes: 'void *',
  prune: 'void *',
  maxBuffer: 'size_t',
});
koffi.proto('void LogCallback(int level, const char *text, void *data)');
const silent = koffi.register(() => undefined, 'LogCallback *');
llama.func('void llama_log_set(LogCallback *callback, void *data)')(silent, null);
const defaults = llama.func('QuantizeParams llama_model_quantize_default_params()')();
const quantize = llama.func(
  'uint32_t llama_model_quantize(const char *input, const char *output, QuantizeParams *params)',
);

const start = performance.now();
const code = quantize(input, output, { ...defaults, threads: Number(threads), fileType: Number(fileType) });
const seconds = (performance.now() - start) / 1000;
console.log(JSON.stringify({ code, seconds, peakMB: (process.resourceUsage().maxRSS * 1024) / 1e6 }));
process.exit(code === 0 ? 0 : 1);
