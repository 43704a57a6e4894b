/**
 * Models by their shapes alone: what real architectures look like to the type rules, without a single weight. As a
 * file each is a header and a hole of the right size, which costs nothing on disk and which llama.cpp's dry run takes as a model;
 * in memory it is a source that gives zeros after its header.
 */

import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import type { GgmlType } from '../../../src/core/ggml-types.ts';
import type { ByteSource } from '../../../src/io/source.ts';
import {
  type BuildEntry,
  ggufString,
  ggufValue,
  joined,
  pad,
  tensorInfo,
  tensorSize,
  text,
  u32,
  u64,
} from '../../formats/gguf/build-gguf.ts';

export interface ShapedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: GgmlType;
}

export interface ModelShape {
  readonly name: string;
  readonly metadata: readonly BuildEntry[];
  readonly tensors: readonly ShapedTensor[];
}

interface Options {
  readonly arch: string;
  readonly layers: number;
  readonly width: number;
  readonly inner: number;
  readonly heads: number;
  readonly groups: number;
  readonly vocabulary?: number;
  readonly experts?: number;
  readonly tied?: boolean;
  readonly attention?: 'separate' | 'fused' | 'latent' | 'latent, old' | 'none';
  readonly gate?: boolean;
  readonly shared?: boolean;
  readonly feedForward?: boolean;
  /** Layers at the end that predict several tokens. */
  readonly predicting?: number;
  readonly type?: GgmlType;
  readonly experts3d?: GgmlType;
  readonly metadata?: readonly BuildEntry[];
  /** Further weights of each layer, and of the model. */
  readonly perLayer?: (layer: string) => readonly ShapedTensor[];
  readonly extra?: readonly ShapedTensor[];
}

/** Weights in the order of a converted checkpoint: embeddings, layers, norm, output. */
function shape(name: string, options: Options): ModelShape {
  const { layers, width, inner, heads, groups, experts = 0, type = 'f16' } = options;
  const { vocabulary = 32000, attention = 'separate', gate = true } = options;
  const head = Math.floor(width / heads);
  const weight = (tensor: string, ...dimensions: number[]): ShapedTensor => ({
    name: tensor,
    shape: dimensions,
    type,
  });
  const vector = (tensor: string, length = width): ShapedTensor => ({
    name: tensor,
    shape: [length],
    type: 'f32',
  });
  const tensors: ShapedTensor[] = [weight('token_embd.weight', width, vocabulary)];
  for (let layer = 0; layer < layers; layer++) {
    const blk = `blk.${layer}`;
    tensors.push(vector(`${blk}.attn_norm.weight`));
    if (attention === 'fused') {
      tensors.push(weight(`${blk}.attn_qkv.weight`, width, head * (heads + 2 * groups)));
    } else if (attention === 'separate') {
      tensors.push(weight(`${blk}.attn_q.weight`, width, head * heads));
      tensors.push(weight(`${blk}.attn_k.weight`, width, head * groups));
      tensors.push(weight(`${blk}.attn_v.weight`, width, head * groups));
    } else if (attention !== 'none') {
      tensors.push(
        weight(`${blk}.attn_q_a.weight`, width, 1536),
        weight(`${blk}.attn_q_b.weight`, 1536, width),
      );
      tensors.push(weight(`${blk}.attn_kv_a_mqa.weight`, width, 576));
      if (attention === 'latent') {
        tensors.push(weight(`${blk}.attn_k_b.weight`, 128, 512, heads));
        tensors.push(weight(`${blk}.attn_v_b.weight`, 512, 128, heads));
      } else tensors.push(weight(`${blk}.attn_kv_b.weight`, 512, 256 * heads));
    }
    if (attention !== 'none') tensors.push(weight(`${blk}.attn_output.weight`, head * heads, width));
    tensors.push(vector(`${blk}.ffn_norm.weight`));
    const expertType = options.experts3d ?? type;
    if (experts > 0) {
      tensors.push({ name: `${blk}.ffn_gate_inp.weight`, shape: [width, experts], type: 'f32' });
      for (const part of ['gate', 'up'])
        tensors.push({
          name: `${blk}.ffn_${part}_exps.weight`,
          shape: [width, inner, experts],
          type: expertType,
        });
      tensors.push({ name: `${blk}.ffn_down_exps.weight`, shape: [inner, width, experts], type: expertType });
    }
    if ((experts === 0 || options.shared) && options.feedForward !== false) {
      const suffix = experts > 0 ? '_shexp' : '';
      if (gate) tensors.push(weight(`${blk}.ffn_gate${suffix}.weight`, width, inner));
      tensors.push(weight(`${blk}.ffn_up${suffix}.weight`, width, inner));
      tensors.push(weight(`${blk}.ffn_down${suffix}.weight`, inner, width));
    }
    tensors.push(...(options.perLayer?.(blk) ?? []));
  }
  tensors.push(...(options.extra ?? []), vector('output_norm.weight'));
  if (!options.tied) tensors.push(weight('output.weight', width, vocabulary));
  return { name, metadata: metadataOf(name, options), tensors };
}

/** Every key that one of the architectures wants; those that an architecture does not know are passed over. */
function metadataOf(name: string, options: Options): BuildEntry[] {
  const { arch, layers, width, inner, heads, groups, experts = 0 } = options;
  const numbers: Record<string, number> = {
    context_length: 4096,
    embedding_length: width,
    block_count: layers,
    feed_forward_length: inner,
    'attention.head_count': heads,
    'attention.head_count_kv': groups,
    'rope.dimension_count': Math.floor(width / heads),
    ...(experts > 0
      ? {
          expert_count: experts,
          expert_used_count: 2,
          expert_feed_forward_length: inner,
          expert_shared_count: 1,
        }
      : {}),
    'attention.q_lora_rank': 1536,
    'attention.kv_lora_rank': 512,
    'attention.sliding_window': 512,
    'ssm.conv_kernel': 4,
    'ssm.inner_size': 2 * width,
    'ssm.state_size': 16,
    'ssm.time_step_rank': 160,
    'wkv.head_size': 64,
    'attention.decay_lora_rank': 64,
    'attention.iclr_lora_rank': 64,
    'attention.value_residual_mix_lora_rank': 32,
    'attention.gate_lora_rank': 128,
    ...(options.predicting === undefined ? {} : { nextn_predict_layers: options.predicting }),
  };
  const given = new Set((options.metadata ?? []).map(([key]) => key));
  const entries: BuildEntry[] = [
    ['general.architecture', 'string', arch],
    ['general.name', 'string', name],
    ...Object.entries(numbers).map(([key, value]): BuildEntry => [`${arch}.${key}`, 'u32', value]),
    [`${arch}.attention.layer_norm_rms_epsilon`, 'f32', 1e-5],
    [`${arch}.attention.layer_norm_epsilon`, 'f32', 1e-5],
  ];
  return [...entries.filter(([key]) => !given.has(key)), ...(options.metadata ?? [])];
}

const f16 = (name: string, ...dimensions: number[]): ShapedTensor => ({
  name,
  shape: dimensions,
  type: 'f16',
});

export const MODEL_SHAPES: readonly ModelShape[] = [
  shape('llama-8b', {
    arch: 'llama',
    layers: 32,
    width: 4096,
    inner: 14336,
    heads: 32,
    groups: 8,
    vocabulary: 128256,
  }),
  shape('llama-70b', {
    arch: 'llama',
    layers: 80,
    width: 8192,
    inner: 28672,
    heads: 64,
    groups: 8,
    vocabulary: 128256,
  }),
  shape('llama-65b', { arch: 'llama', layers: 80, width: 8192, inner: 22016, heads: 64, groups: 64 }),
  shape('llama-1b-tied', {
    arch: 'llama',
    layers: 16,
    width: 2048,
    inner: 8192,
    heads: 32,
    groups: 8,
    tied: true,
  }),
  shape('llama-576-odd', {
    arch: 'llama',
    layers: 30,
    width: 576,
    inner: 1536,
    heads: 9,
    groups: 3,
    tied: true,
  }),
  shape('llama-100-odd', {
    arch: 'llama',
    layers: 5,
    width: 100,
    inner: 260,
    heads: 4,
    groups: 2,
    type: 'f32',
  }),
  shape('mixtral-8x7b', {
    arch: 'llama',
    layers: 32,
    width: 4096,
    inner: 14336,
    heads: 32,
    groups: 8,
    experts: 8,
  }),
  shape('eight-experts-small', {
    arch: 'llama',
    layers: 18,
    width: 1024,
    inner: 1408,
    heads: 16,
    groups: 8,
    experts: 8,
    tied: true,
  }),
  shape('qwen2-0.5b', {
    arch: 'qwen2',
    layers: 24,
    width: 896,
    inner: 4864,
    heads: 14,
    groups: 2,
    tied: true,
  }),
  shape('qwen2-72b', { arch: 'qwen2', layers: 80, width: 8192, inner: 29568, heads: 64, groups: 8 }),
  shape('qwen2moe-57b', {
    arch: 'qwen2moe',
    layers: 28,
    width: 3584,
    inner: 2560,
    heads: 28,
    groups: 4,
    experts: 64,
    shared: true,
  }),
  shape('qwen3moe-30b', {
    arch: 'qwen3moe',
    layers: 48,
    width: 2048,
    inner: 768,
    heads: 32,
    groups: 4,
    experts: 128,
  }),
  shape('deepseek2-v3', {
    arch: 'deepseek2',
    layers: 61,
    width: 7168,
    inner: 2048,
    heads: 128,
    groups: 1,
    experts: 256,
    shared: true,
    attention: 'latent',
    type: 'bf16',
  }),
  shape('deepseek2-lite-old', {
    arch: 'deepseek2',
    layers: 27,
    width: 2048,
    inner: 1408,
    heads: 16,
    groups: 16,
    experts: 64,
    shared: true,
    attention: 'latent, old',
  }),
  shape('falcon-7b', {
    arch: 'falcon',
    layers: 32,
    width: 4544,
    inner: 18176,
    heads: 71,
    groups: 1,
    attention: 'fused',
    gate: false,
  }),
  shape('falcon-40b', {
    arch: 'falcon',
    layers: 60,
    width: 8192,
    inner: 32768,
    heads: 128,
    groups: 8,
    attention: 'fused',
    gate: false,
  }),
  shape('phi3-mini', {
    arch: 'phi3',
    layers: 32,
    width: 3072,
    inner: 8192,
    heads: 32,
    groups: 32,
    attention: 'fused',
    gate: false,
  }),
  shape('gemma2-9b', {
    arch: 'gemma2',
    layers: 42,
    width: 3584,
    inner: 14336,
    heads: 16,
    groups: 8,
    tied: true,
    vocabulary: 256000,
  }),
  shape('gpt2', {
    arch: 'gpt2',
    layers: 12,
    width: 768,
    inner: 3072,
    heads: 12,
    groups: 12,
    attention: 'fused',
    gate: false,
    extra: [f16('position_embd.weight', 768, 1024)],
  }),
  shape('gemma3n-e2b', {
    arch: 'gemma3n',
    layers: 30,
    width: 2048,
    inner: 8192,
    heads: 8,
    groups: 2,
    tied: true,
    metadata: [
      ['gemma3n.attention.sliding_window_pattern', 'bool[]', Array.from({ length: 30 }, (_, i) => i % 5 < 4)],
    ],
    extra: [
      f16('per_layer_token_embd.weight', 7680, 32000),
      f16('per_layer_model_proj.weight', 2048, 7680),
      f16('altup_proj.weight', 2048, 2048, 3),
    ],
    perLayer: (blk) => [
      f16(`${blk}.laurel_l.weight`, 2048, 64),
      f16(`${blk}.inp_gate.weight`, 2048, 256),
      f16(`${blk}.proj.weight`, 256, 2048),
      f16(`${blk}.altup_router.weight`, 2048, 4),
    ],
  }),
  shape('mamba-2.8b', {
    arch: 'mamba',
    layers: 64,
    width: 2560,
    inner: 2560,
    heads: 1,
    groups: 1,
    attention: 'none',
    gate: false,
    feedForward: false,
    perLayer: (blk) => [
      f16(`${blk}.ssm_in.weight`, 2560, 10240),
      f16(`${blk}.ssm_conv1d.weight`, 4, 5120),
      f16(`${blk}.ssm_x.weight`, 5120, 192),
      f16(`${blk}.ssm_dt.weight`, 160, 5120),
      f16(`${blk}.ssm_a`, 16, 5120),
      f16(`${blk}.ssm_out.weight`, 5120, 2560),
    ],
  }),
  shape('rwkv7-1.5b', {
    arch: 'rwkv7',
    layers: 24,
    width: 2048,
    inner: 8192,
    heads: 32,
    groups: 32,
    attention: 'none',
    gate: false,
    perLayer: (blk) => [
      ...['w0', 'w1', 'w2', 'a1', 'a2', 'v1', 'v2', 'g1', 'g2'].map((part) =>
        f16(`${blk}.time_mix_${part}.weight`, 2048, 64),
      ),
      f16(`${blk}.time_mix_key.weight`, 2048, 2048),
      f16(`${blk}.time_mix_output.weight`, 2048, 2048),
      f16(`${blk}.time_mix_lerp_fused.weight`, 2048, 1, 1, 6),
    ],
  }),
  shape('glm4moe', {
    arch: 'glm4moe',
    layers: 47,
    width: 4096,
    inner: 1408,
    heads: 96,
    groups: 8,
    experts: 128,
    shared: true,
    predicting: 1,
    type: 'bf16',
  }),
  shape('jais2-70b', {
    arch: 'jais2',
    layers: 68,
    width: 8192,
    inner: 26624,
    heads: 64,
    groups: 8,
    gate: false,
  }),
  shape('olmo-80', { arch: 'olmo', layers: 80, width: 2048, inner: 8192, heads: 16, groups: 16 }),
  shape('deci-80', { arch: 'deci', layers: 80, width: 8192, inner: 28672, heads: 64, groups: 8 }),
  shape('gpt-oss', {
    arch: 'gpt-oss',
    layers: 24,
    width: 2880,
    inner: 2880,
    heads: 64,
    groups: 8,
    experts: 32,
    type: 'bf16',
    experts3d: 'mxfp4',
  }),
  shape('bailingmoe3', {
    arch: 'bailingmoe3',
    layers: 24,
    width: 1536,
    inner: 512,
    heads: 16,
    groups: 16,
    experts: 128,
    shared: true,
    attention: 'latent',
    metadata: [
      ['bailingmoe3.kda.head_dim', 'u32', 128],
      ['bailingmoe3.kda.gate_lower_bound', 'f32', -5],
      ['bailingmoe3.attention.key_length_mla', 'u32', 192],
      ['bailingmoe3.attention.value_length_mla', 'u32', 128],
      ['bailingmoe3.leading_dense_block_count', 'u32', 1],
      ['bailingmoe3.expert_gating_func', 'u32', 2],
    ],
  }),
  shape('graniteswitch', {
    arch: 'graniteswitch',
    layers: 15,
    width: 1024,
    inner: 4096,
    heads: 16,
    groups: 4,
    metadata: [
      ['graniteswitch.adapters.count', 'u32', 1],
      ['graniteswitch.adapters.lora_rank', 'u32', 8],
      ['graniteswitch.adapters.token_ids_activate', 'i32[]', [1]],
      ['graniteswitch.adapters.token_ids_substitute', 'i32[]', [1]],
      ['graniteswitch.logit_scale', 'f32', 1],
    ],
  }),
  shape('nanbeige-looped', {
    arch: 'nanbeige',
    layers: 12,
    width: 1024,
    inner: 4096,
    heads: 16,
    groups: 8,
    metadata: [['nanbeige.num_loops', 'u32', 2]],
  }),
  shape('clip-encoder', {
    arch: 'clip',
    layers: 0,
    width: 1152,
    inner: 4304,
    heads: 16,
    groups: 16,
    tied: true,
    extra: Array.from({ length: 10 }, (_, layer) => [
      f16(`v.blk.${layer}.attn_q.weight`, 1152, 1152),
      f16(`v.blk.${layer}.attn_k.weight`, 1152, 1152),
      f16(`v.blk.${layer}.attn_v.weight`, 1152, 1152),
      f16(`v.blk.${layer}.attn_out.weight`, 1152, 1152),
      f16(`v.blk.${layer}.ffn_up.weight`, 1152, 4304),
      f16(`v.blk.${layer}.ffn_down.weight`, 4304, 1152),
    ])
      .flat()
      .concat(
        f16('v.patch_embd.weight', 14, 14, 3, 1152),
        f16('v.position_embd.weight', 1152, 729),
        f16('mm.0.weight', 1152, 4096),
      ),
  }),
];

/** Header of the file, and how long the file is. */
function headed(model: ModelShape): { readonly header: Uint8Array; readonly size: number } {
  const parts = [text('GGUF'), u32(3), u64(model.tensors.length), u64(model.metadata.length)];
  for (const [key, type, value] of model.metadata) parts.push(ggufString(key), ggufValue(type, value));
  let offset = 0;
  for (const tensor of model.tensors) {
    parts.push(tensorInfo(tensor, offset));
    offset += Math.ceil(tensorSize(tensor) / 32) * 32;
  }
  const header = pad(joined(...parts), 32);
  return { header, size: header.length + offset };
}

/** Writes the model as a sparse file. */
export function writeSparse(model: ModelShape, path: string): void {
  const { header, size } = headed(model);
  const file = openSync(path, 'w');
  writeSync(file, header);
  ftruncateSync(file, size);
  closeSync(file);
}

/** The model as a source: zeros after the header. */
export function sparseSource(model: ModelShape): ByteSource {
  const { header, size } = headed(model);
  return {
    name: `${model.name}.gguf`,
    size,
    async readInto(offset, target) {
      target.fill(0);
      if (offset < header.length) target.set(header.subarray(offset, offset + target.length));
    },
    async close() {},
  };
}
