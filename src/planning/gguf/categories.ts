/**
 * What a weight is for, by its name: the type rules speak of these roles. And which weights are never quantized.
 *
 * Source: llama.cpp v0.5.0's conventions for tensor names, as gathered in docs/gguf-types.md.
 */

export type Category =
  | 'output'
  | 'embedding'
  | 'attn_qkv'
  | 'attn_kv_b'
  | 'attn_v'
  | 'attn_k'
  | 'attn_q'
  | 'attn_output'
  | 'ffn_up'
  | 'ffn_gate'
  | 'ffn_down'
  | 'other';

const OUTPUT = 'output.weight';
const PER_LAYER_EMBEDDING = 'per_layer_token_embd.weight';

/** Parts of names in the order in which they are looked for: the first that occurs decides. */
const PARTS: readonly (readonly [part: string, category: Category])[] = [
  ['attn_qkv.weight', 'attn_qkv'],
  ['attn_kv_b.weight', 'attn_kv_b'],
  ['attn_v.weight', 'attn_v'],
  ['attn_k.weight', 'attn_k'],
  ['attn_q.weight', 'attn_q'],
  ['attn_output.weight', 'attn_output'],
  ['ffn_up', 'ffn_up'],
  ['ffn_gate', 'ffn_gate'],
  ['ffn_down', 'ffn_down'],
];

export function categoryOf(name: string): Category {
  if (name === OUTPUT) return 'output';
  if (isEmbedding(name)) return 'embedding';
  return PARTS.find(([part]) => name.includes(part))?.[1] ?? 'other';
}

/** Token embeddings: a table that is looked up, so that no importance is ever collected for it. */
export function isEmbedding(name: string): boolean {
  return name === 'token_embd.weight' || isPerLayerEmbedding(name);
}

export function isPerLayerEmbedding(name: string): boolean {
  return name === PER_LAYER_EMBEDDING;
}

export function isOutput(name: string): boolean {
  return name === OUTPUT;
}

/** Weights that carry the values which attention mixes: errors in them show most. */
export function isValueLike(category: Category): boolean {
  return category === 'attn_v' || category === 'attn_qkv' || category === 'attn_kv_b';
}

/** Parts of names that keep a weight as it is, with what they name. */
const KEPT_PARTS: readonly (readonly [part: string, what: string])[] = [
  ['_norm.weight', 'a normalization'],
  ['ffn_gate_inp.weight', 'the router of the experts'],
  ['ffn_gate_tid2eid.weight', 'a table of expert numbers'],
  ['altup', 'a small predictor (altup)'],
  ['laurel', 'a small residual (laurel)'],
  ['per_layer_model_proj', 'a small projection'],
  ['ssm_conv1d', 'a small convolution'],
  ['shortconv.conv.weight', 'a small convolution'],
  ['indexer.k_proj.weight', 'a small indexer'],
  ['indexer.q_proj.weight', 'a small indexer'],
  ...['first', 'w0', 'w1', 'w2', 'v0', 'v1', 'v2', 'a0', 'a1', 'a2', 'g1', 'g2'].map(
    (part) => [`time_mix_${part}.weight`, 'a small weight of RWKV'] as const,
  ),
  ['time_mix_decay_w1.weight', 'a small weight of RWKV'],
  ['time_mix_decay_w2.weight', 'a small weight of RWKV'],
  ['time_mix_lerp_fused.weight', 'a small weight of RWKV'],
  ['attn_rel_b.weight', 'a bias of relative positions'],
  ['.position_embd', 'position embeddings'],
  ['sam.pos_embd', 'position embeddings'],
  ['sam.neck.', 'the neck of an image encoder'],
  ['sam.net_', 'a part of an image encoder'],
  ['.rel_pos', 'relative positions'],
  ['.patch_embd', 'patch embeddings'],
  ['.patch_merger', 'a merger of patches'],
  ['a.rvq.codebook', 'an audio code book'],
  ['mm.a.code_embd', 'an audio code book'],
];

const KEPT_NAMES: ReadonlyMap<string, string> = new Map([
  ['position_embd.weight', 'position embeddings'],
  ['token_types.weight', 'token types'],
]);

/**
 * Why a weight is never quantized, or undefined where it may be. `dimensions` without trailing ones.
 */
export function keptBecause(name: string, dimensions: number): string | undefined {
  if (dimensions < 2) return 'a vector: kept';
  // llama.cpp's test of the ending also lets pass every name of five bytes.
  if (!name.endsWith('weight') && new TextEncoder().encode(name).length !== 5) {
    return 'its name does not end in "weight": kept';
  }
  const what = KEPT_NAMES.get(name) ?? KEPT_PARTS.find(([part]) => name.includes(part))?.[1];
  return what === undefined ? undefined : `${what}: kept`;
}
