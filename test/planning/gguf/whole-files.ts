/** Whole files made twice: by our plan and execution in memory, and by llama_model_quantize; and models to make them of. */

import { createHash } from 'node:crypto';
import { f32ToF16Bits } from '../../../src/core/floats.ts';
import type { GgmlType } from '../../../src/core/ggml-types.ts';
import { createRandom } from '../../../src/core/random.ts';
import { executeFiles } from '../../../src/execution/execute.ts';
import type { Imatrix, ImatrixEntry } from '../../../src/formats/gguf/imatrix-types.ts';
import { openGguf } from '../../../src/formats/gguf/open.ts';
import { createMemorySink } from '../../../src/io/memory-sink.ts';
import { selectKernels } from '../../../src/kernels/index.ts';
import type { GgufQuantizeOptions } from '../../../src/planning/gguf/options.ts';
import { planGguf } from '../../../src/planning/gguf/plan-gguf.ts';
import { type BuildEntry, type BuildOptions, buildGguf } from '../../formats/gguf/build-gguf.ts';
import type { QuantizeRequest } from '../../oracle/llama.ts';
import type { ModelShape } from './shapes.ts';

const kernels = selectKernels();

/** The files that our plan of `path` makes, by name. */
export async function madeByUs(
  path: string,
  options: Omit<GgufQuantizeOptions, 'fileName'> & { readonly fileName?: string },
): Promise<Map<string, Uint8Array>> {
  const model = await openGguf(path);
  try {
    const plan = await planGguf(model, { fileName: 'out.gguf', ...options });
    const sinks = plan.files.map(({ name, size }) => createMemorySink(name, size));
    await executeFiles({
      files: plan.files,
      tasks: plan.tasks,
      target: { sinks },
      threads: 1,
      kernels: await kernels,
    });
    return new Map(sinks.map((sink) => [sink.name, sink.bytes()]));
  } finally {
    await model.close();
  }
}

export const digest = (bytes: Uint8Array): string =>
  createHash('sha256').update(bytes).digest('hex').slice(0, 24);

/** Weights with a few large ones among them, as trained ones have; a payload for each tensor of a shape. */
export function filled(model: ModelShape, seed = 1, more: Partial<BuildOptions> = {}): Uint8Array {
  const random = createRandom(seed);
  const tensors = model.tensors.map(({ name, shape, type }) => {
    const count = shape.reduce((product, dimension) => product * dimension, 1);
    const values = Float32Array.from({ length: count }, () => {
      const heavy = random.uniform() < 0.01 ? 4 : 1;
      return random.normal() * 0.05 * heavy;
    });
    return { name, shape, type, bytes: payload(values, type) };
  });
  return buildGguf({ metadata: model.metadata, tensors, ...more });
}

export function payload(values: Float32Array, type: GgmlType): Uint8Array {
  if (type === 'f32') return new Uint8Array(values.buffer);
  const halves = new Uint16Array(values.length);
  const bits = new Uint32Array(values.buffer);
  for (let i = 0; i < values.length; i++) {
    halves[i] = type === 'bf16' ? bits[i]! >>> 16 : f32ToF16Bits(values[i]!);
  }
  return new Uint8Array(halves.buffer);
}

export interface TestGuide {
  readonly imatrix: Imatrix;
  /** The same importance as the library wants it: sums divided by counts. */
  readonly request: NonNullable<QuantizeRequest['imatrix']>;
}

/**
 * An importance matrix for every weight of the layers: sums of squares over some tokens, a count for each matrix, some experts
 * never met.
 */
export function guideFor(model: ModelShape, seed = 9, file = 'calib/imatrix.gguf'): TestGuide {
  const random = createRandom(seed);
  const entries = new Map<string, ImatrixEntry>();
  const request: { name: string; values: Float32Array }[] = [];
  for (const { name, shape } of model.tensors) {
    if (!name.startsWith('blk.') || shape.length < 2) continue;
    const [columns = 1, , matrices = 1] = shape;
    const counts = new Float32Array(matrices);
    const sums = new Float32Array(columns * matrices);
    const values = new Float32Array(columns * matrices);
    for (let matrix = 0; matrix < matrices; matrix++) {
      const count = matrix % 5 === 3 ? 0 : 500 + Math.floor(random.uniform() * 500);
      counts[matrix] = count;
      for (let column = 0; column < columns; column++) {
        const at = matrix * columns + column;
        sums[at] = count === 0 ? 0 : count * Math.exp(random.normal() * 1.5);
        values[at] = count === 0 ? 1 : Math.fround(sums[at]! / count);
      }
    }
    request.push({ name, values });
    entries.set(name, {
      name,
      columns,
      matrices,
      values: { kind: 'inline', bytes: new Uint8Array(sums.buffer) },
      counts: { kind: 'inline', bytes: new Uint8Array(counts.buffer) },
    });
  }
  const imatrix: Imatrix = {
    file,
    form: 'gguf',
    entries,
    datasets: ['calibration.txt', 'more.txt'],
    chunks: 17,
    chunkSize: 512,
    async close() {},
  };
  return { imatrix, request };
}

/** The keys that llama-quantize's command line adds for an importance matrix. */
export function guideOverrides(imatrix: Imatrix): NonNullable<QuantizeRequest['overrides']> {
  const [dataset] = imatrix.datasets;
  return [
    { key: 'quantize.imatrix.file', tag: 'str', value: imatrix.file },
    ...(dataset === undefined
      ? []
      : [{ key: 'quantize.imatrix.dataset', tag: 'str', value: dataset } as const]),
    { key: 'quantize.imatrix.entries_count', tag: 'int', value: imatrix.entries.size },
    ...(imatrix.chunks > 0
      ? [{ key: 'quantize.imatrix.chunks_count', tag: 'int', value: imatrix.chunks } as const]
      : []),
  ];
}

/** Where two files first differ, in words; undefined where they are the same. */
export function firstDifference(ours: Uint8Array, theirs: Uint8Array): string | undefined {
  if (ours.length !== theirs.length) return `${ours.length} bytes, llama.cpp ${theirs.length}`;
  let count = 0;
  let first = -1;
  for (let i = 0; i < ours.length; i++) {
    if (ours[i] === theirs[i]) continue;
    if (count++ === 0) first = i;
  }
  if (count === 0) return undefined;
  const sample = (bytes: Uint8Array): string => Buffer.from(bytes.subarray(first, first + 8)).toString('hex');
  return `${count} bytes differ, first at ${first}: ${sample(ours)}, llama.cpp ${sample(theirs)}`;
}

interface SmallOptions {
  readonly layers?: number;
  readonly width?: number;
  readonly inner?: number;
  readonly experts?: number;
  readonly tied?: boolean;
  readonly type?: GgmlType;
  readonly groups?: number;
  readonly vocabulary?: number;
  readonly metadata?: readonly BuildEntry[];
}

/** A small llama whose weights really exist. Vocabulary in the metadata, so that there are lists to carry over. */
export function smallModel(options: SmallOptions = {}): ModelShape {
  const { layers = 9, width = 256, inner = 512, experts = 0, type = 'f16', groups = 1 } = options;
  const { vocabulary = 40 } = options;
  const heads = 4;
  const head = width / heads;
  const weight = (name: string, ...shape: number[]) => ({ name, shape, type });
  const vector = (name: string) => ({ name, shape: [width], type: 'f32' as const });
  const layer = (index: number) => {
    const blk = `blk.${index}`;
    const third = experts > 0 ? [experts] : [];
    const suffix = experts > 0 ? '_exps' : '';
    return [
      vector(`${blk}.attn_norm.weight`),
      weight(`${blk}.attn_q.weight`, width, width),
      weight(`${blk}.attn_k.weight`, width, head * groups),
      weight(`${blk}.attn_v.weight`, width, head * groups),
      weight(`${blk}.attn_output.weight`, width, width),
      vector(`${blk}.ffn_norm.weight`),
      ...(experts > 0
        ? [{ ...weight(`${blk}.ffn_gate_inp.weight`, width, experts), type: 'f32' as const }]
        : []),
      weight(`${blk}.ffn_gate${suffix}.weight`, width, inner, ...third),
      weight(`${blk}.ffn_up${suffix}.weight`, width, inner, ...third),
      weight(`${blk}.ffn_down${suffix}.weight`, inner, width, ...third),
    ];
  };
  const tokens = Array.from({ length: vocabulary }, (_, i) => `▁t${i}`);
  return {
    name: `small-${layers}-${width}-${experts}`,
    metadata: [
      ['general.architecture', 'string', 'llama'],
      ['general.name', 'string', 'small ünïcode'],
      ['general.file_type', 'u32', 1],
      ['llama.block_count', 'u32', layers],
      ['llama.context_length', 'u32', 128],
      ['llama.embedding_length', 'u32', width],
      ['llama.feed_forward_length', 'u32', inner],
      ['llama.attention.head_count', 'u32', heads],
      ['llama.attention.head_count_kv', 'u32', groups],
      ['llama.attention.layer_norm_rms_epsilon', 'f32', 1e-5],
      ['llama.rope.dimension_count', 'u32', head],
      ...(experts > 0
        ? ([
            ['llama.expert_count', 'u32', experts],
            ['llama.expert_used_count', 'u32', 2],
          ] as const)
        : []),
      ['tokenizer.ggml.tokens', 'string[]', tokens],
      ['tokenizer.ggml.scores', 'f32[]', tokens.map((_, i) => -i)],
      ['tokenizer.ggml.token_type', 'i32[]', tokens.map(() => 1)],
      ['test.flags', 'bool[]', [true, false, true]],
      ['test.wide', 'u64', 1234567890123456789n],
      ['general.quantization_version', 'u32', 2],
      ...(options.metadata ?? []),
    ],
    tensors: [
      weight('token_embd.weight', width, vocabulary),
      ...Array.from({ length: layers }, (_, index) => layer(index)).flat(),
      vector('output_norm.weight'),
      ...(options.tied ? [] : [weight('output.weight', width, vocabulary)]),
    ],
  };
}
