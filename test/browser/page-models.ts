/**
 * Models that the page and Node both quantize, and the SHA-256 of what must come out in both. The weights are made of integers
 * alone, so that they are the same in every engine; ../browser-digests.test.ts holds the digests in Node.
 */

import { createRandom } from '../../src/core/random.ts';
import type { ModelProto, NodeProto, TensorProto, ValueInfoProto } from '../../src/formats/onnx/messages.ts';
import { encodeModel } from '../../src/formats/onnx/model.ts';
import { type BuildTensor, buildGguf } from '../formats/gguf/build-gguf.ts';
import { buildLegacyImatrix } from '../formats/gguf/build-imatrix.ts';

export const COLUMNS = 512;
const ROWS = 96;
const LAYERS = 3;
const MATRICES = ['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down'];

/** Either sign, exponents of weights. */
function halves(count: number, seed: number): Uint8Array {
  const random = createRandom(seed);
  const bits = new Uint16Array(count);
  for (let i = 0; i < count; i++) bits[i] = (random.uint32() & 0x8fff) | 0x2000;
  return new Uint8Array(bits.buffer);
}

/** Three layers of f16, with a norm of f32: copies, two types of a mixture and padding. */
export function pageGguf(): Uint8Array<ArrayBuffer> {
  const names = Array.from({ length: LAYERS }, (_, layer) =>
    MATRICES.map((name) => `blk.${layer}.${name}.weight`),
  ).flat();
  const matrices = ['token_embd.weight', ...names, 'output.weight'].map(
    (name, index): BuildTensor => ({
      name,
      shape: [COLUMNS, ROWS],
      type: 'f16',
      bytes: halves(COLUMNS * ROWS, index + 1),
    }),
  );
  const norm: BuildTensor = {
    name: 'output_norm.weight',
    shape: [5],
    type: 'f32',
    bytes: new Uint8Array(Float32Array.of(1, 0.5, 0.25, 2, 4).buffer),
  };
  return buildGguf({
    metadata: [
      ['general.architecture', 'string', 'llama'],
      ['llama.block_count', 'u32', LAYERS],
      ['llama.attention.head_count', 'u32', 8],
      ['llama.attention.head_count_kv', 'u32', 8],
      ['tokenizer.ggml.tokens', 'string[]', ['<unk>', 'a', 'b']],
    ],
    tensors: [norm, ...matrices],
  });
}

export function pageImatrix(): Uint8Array {
  const random = createRandom(99);
  const entries = Array.from({ length: LAYERS }, (_, layer) =>
    MATRICES.map((name) => ({
      name: `blk.${layer}.${name}.weight`,
      calls: 1,
      values: Array.from({ length: COLUMNS }, () => (random.uint32() & 0xff) / 16),
    })),
  ).flat();
  return buildLegacyImatrix({ entries, chunks: 1, dataset: 'text.txt' });
}

/** One MatMul of f32, its weights multiples of 1/64. */
export function pageOnnx(): Promise<Uint8Array> {
  const random = createRandom(5);
  const weights = Float32Array.from({ length: COLUMNS * ROWS }, () => ((random.uint32() & 0x3ff) - 512) / 64);
  return encodeModel(matMulModel(weights, COLUMNS, ROWS));
}

/** y = x · w with w of [inputs, outputs]. */
export function matMulModel(weights: Float32Array, inputs: number, outputs: number): ModelProto {
  const rest = { metadataProps: [], unknown: [] };
  const value = (name: string, size: number): ValueInfoProto => ({
    name,
    type: {
      tensorType: {
        elemType: 1,
        shape: {
          dim: [
            { dimParam: 'n', unknown: [] },
            { dimValue: BigInt(size), unknown: [] },
          ],
          unknown: [],
        },
        unknown: [],
      },
      unknown: [],
    },
    ...rest,
  });
  const node: NodeProto = { input: ['x', 'w'], output: ['y'], opType: 'MatMul', attribute: [], ...rest };
  const tensor: TensorProto = {
    name: 'w',
    dims: [inputs, outputs],
    dataType: 1,
    rawData: { kind: 'inline', bytes: new Uint8Array(weights.buffer) },
    stringData: [],
    externalData: [],
    ...rest,
  };
  return {
    irVersion: 8n,
    opsetImport: [{ domain: '', version: 17n, unknown: [] }],
    graph: {
      node: [node],
      name: 'page',
      initializer: [tensor],
      input: [value('x', inputs)],
      output: [value('y', outputs)],
      valueInfo: [],
      ...rest,
    },
    functions: [],
    ...rest,
  };
}

/** What is written, by the name of its type; `guided` with the matrix. */
export const DIGESTS = {
  Q4_K_M: '7c2e49b0d3c88bf18acfb920f0086112fab440c935c2bdb3ec0977ebe1c56b9c',
  Q8_0: '260fd274b49fa3fc59b78c2f21deff173ae2b8b75ef1fac1216f4d7403374e02',
  'IQ2_XS guided': 'd5cb414ec3f8946c2862ccad4ffbc8f320bb98d1e2ee84cd210942a30bd15a46',
  q4: '491124322ff6b9bb8be70d50c18ef182769ad165f9b4676f2437d0d462613673',
};

export async function digestOf(content: Uint8Array<ArrayBuffer> | Blob): Promise<string> {
  const bytes = content instanceof Blob ? await content.arrayBuffer() : content;
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
