/**
 * llama.cpp's own `llama_model_quantize`, driven through koffi. A process of its own, since the library may abort it:
 *
 *   node llama-quantize.mjs <libraries>       one JSON request a line on stdin → one JSON answer a line on stdout
 *
 * The request is test/oracle/llama.ts's `QuantizeRequest`. Arrays of structures are laid out by hand (docs/gguf.md has
 * the 64 bytes of parameters), so that what is passed is plain bytes.
 */

import { createInterface } from 'node:readline';
import koffi from 'koffi';

const [folder] = process.argv.slice(2);
koffi.load(`${folder}/libggml-base.so`, { global: true });
koffi.load(`${folder}/libggml.v0.5.0.so`, { global: true });
const llama = koffi.load(`${folder}/libllama.v0.5.0.so`, { global: true });

const log = koffi.proto('void LogCallback(int level, const char *text, void *user)');
const setLog = llama.func('void llama_log_set(LogCallback *callback, void *user)');
const quantize = llama.func(
  'uint32_t llama_model_quantize(const char *in, const char *out, const void *params)',
);

let lines = [];
let unfinished = '';
const callback = koffi.register((_level, text) => {
  unfinished += text;
  const parts = unfinished.split('\n');
  unfinished = parts.pop() ?? '';
  lines.push(...parts);
}, koffi.pointer(log));
setLog(callback, null);

const TYPE_COUNT_SENTINEL = await typeCount();

/** GGML_TYPE_COUNT stands in the default parameters as "not set". */
async function typeCount() {
  const Params = koffi.struct('DefaultParams', { bytes: koffi.array('int32_t', 16) });
  const defaults = llama.func('DefaultParams llama_model_quantize_default_params()');
  if (koffi.sizeof(Params) !== 64) throw new Error('the parameters are not of 64 bytes');
  return defaults().bytes[2];
}

function text(value) {
  return Buffer.from(`${value}\0`, 'utf8');
}

/** Bytes of the parameters; `held` keeps alive what they point to. */
function parameters(request, held) {
  const point = (buffer) => {
    held.push(buffer);
    return koffi.address(buffer);
  };
  const params = Buffer.alloc(64);
  params.writeInt32LE(request.threads ?? 1, 0);
  params.writeInt32LE(request.fileType, 4);
  params.writeInt32LE(request.outputTensorType ?? TYPE_COUNT_SENTINEL, 8);
  params.writeInt32LE(request.tokenEmbeddingType ?? TYPE_COUNT_SENTINEL, 12);
  const flags = [
    request.allowRequantize ?? false,
    !(request.leaveOutputTensor ?? false),
    request.copy ?? false,
    request.pure ?? false,
    request.keepSplit ?? false,
    request.dryRun ?? false,
  ];
  flags.forEach((flag, index) => {
    params.writeUInt8(flag ? 1 : 0, 16 + index);
  });
  if (request.imatrix !== undefined) {
    const entries = Buffer.alloc((request.imatrix.length + 1) * 24);
    request.imatrix.forEach(({ name, values }, index) => {
      const bytes = Buffer.from(values, 'base64');
      entries.writeBigUInt64LE(point(text(name)), index * 24);
      entries.writeBigUInt64LE(point(bytes), index * 24 + 8);
      entries.writeBigUInt64LE(BigInt(bytes.length / 4), index * 24 + 16);
    });
    params.writeBigUInt64LE(point(entries), 24);
  }
  if (request.overrides !== undefined) {
    const size = 264;
    const tags = { int: 0, float: 1, bool: 2, str: 3 };
    const entries = Buffer.alloc((request.overrides.length + 1) * size);
    request.overrides.forEach(({ key, tag, value }, index) => {
      const at = index * size;
      entries.writeInt32LE(tags[tag], at);
      entries.write(key, at + 4, 127, 'utf8');
      if (tag === 'int') entries.writeBigInt64LE(BigInt(value), at + 136);
      else if (tag === 'float') entries.writeDoubleLE(value, at + 136);
      else if (tag === 'bool') entries.writeUInt8(value ? 1 : 0, at + 136);
      else entries.write(value, at + 136, 127, 'utf8');
    });
    params.writeBigUInt64LE(point(entries), 32);
  }
  if (request.tensorTypes !== undefined) {
    const entries = Buffer.alloc((request.tensorTypes.length + 1) * 16);
    request.tensorTypes.forEach(({ pattern, type }, index) => {
      entries.writeBigUInt64LE(point(text(pattern)), index * 16);
      entries.writeInt32LE(type, index * 16 + 8);
    });
    params.writeBigUInt64LE(point(entries), 40);
  }
  if (request.pruneLayers !== undefined) {
    const layers = Int32Array.from([...request.pruneLayers, -1]);
    params.writeBigUInt64LE(point(Buffer.from(layers.buffer)), 48);
  }
  return params;
}

for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() === '') continue;
  const request = JSON.parse(line);
  lines = [];
  unfinished = '';
  const held = [];
  const code = quantize(request.input, request.output ?? '', parameters(request, held));
  process.stdout.write(`${JSON.stringify({ id: request.id, code, log: lines })}\n`);
}
