/**
 * What the weights of an ONNX export of a llama-like decoder are called in a GGUF file, so that statistics of the one serve the
 * other. The role is told by the module's name in the node or the weight ("q_proj"), the layer by "layers.N" in either, else
 * by the order of the role's nodes in the graph: exporters that drop the module path keep the order.
 *
 * Source: tensor names of llama.cpp's gguf-py (MODEL_ARCH.LLAMA and its kin).
 */

import type { ModelProto } from '../../formats/onnx/messages.ts';
import { findWeights } from '../../formats/onnx/model.ts';
import { indexGraph, resolveUses } from '../../formats/onnx/rewrite/uses.ts';

const ROLES: Readonly<Record<string, string>> = {
  q_proj: 'attn_q',
  k_proj: 'attn_k',
  v_proj: 'attn_v',
  qkv_proj: 'attn_qkv',
  o_proj: 'attn_output',
  gate_proj: 'ffn_gate',
  up_proj: 'ffn_up',
  down_proj: 'ffn_down',
};
const ROLE = new RegExp(`(?:^|[./])(${Object.keys(ROLES).join('|')})(?:_\\d+)?(?=[./]|$)`);
const LAYER = /(?:^|[./])(?:layers|layer|h|blocks)[._/](\d+)(?=[./])/;

/** Key of a weight → its name in GGUF; only the matrices of the blocks, as llama-imatrix collects by default. */
export function ggufNames(proto: ModelProto): Map<string, string> {
  const index = indexGraph(proto);
  const order = new Map(proto.graph?.node.map((node, i) => [node, i]));
  const found: { key: string; role: string; layer: number | undefined; at: number }[] = [];
  for (const weight of findWeights(proto)) {
    for (const { role, node } of resolveUses(weight, index)) {
      if (role.kind !== 'matmul' && role.kind !== 'gemm') continue;
      const names = [weight.name, node.name ?? ''];
      const kind = names.map((name) => ROLE.exec(name)?.[1]).find((name) => name !== undefined);
      if (kind === undefined) continue;
      const layer = names.map((name) => LAYER.exec(name)?.[1]).find((name) => name !== undefined);
      found.push({
        key: weight.key,
        role: ROLES[kind] ?? kind,
        layer: layer === undefined ? undefined : Number(layer),
        at: order.get(node) ?? -1,
      });
      break;
    }
  }
  const next = new Map<string, number>();
  const result = new Map<string, string>();
  for (const { key, role, layer } of found.sort((a, b) => a.at - b.at)) {
    const ordinal = next.get(role) ?? 0;
    next.set(role, ordinal + 1);
    result.set(key, `blk.${layer ?? ordinal}.${role}.weight`);
  }
  return result;
}
