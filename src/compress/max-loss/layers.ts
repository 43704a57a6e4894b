/**
 * The layers of a planned mode that can be left as they were, and a recipe that leaves them. Weight modes: every weight whose form
 * changes. Static quantization: these, and the operators without weights that compute in integers (sums, pooling), since what is
 * lost there is lost in their activations.
 */

import { DTYPES } from '../../core/dtype.ts';
import type { GraphProto, ModelProto } from '../../formats/onnx/messages.ts';
import type { PlannedTensor } from '../../planning/plan.ts';
import type { Planned } from '../../planning/plan-onnx.ts';
import type { Match, Recipe } from '../../planning/recipe.ts';

export interface KeepableLayer {
  /** Name of the weight, of the node, or of what it computes. */
  readonly name: string;
  /** Key of the weight in the model. */
  readonly key?: string | undefined;
  /** Bytes more where it is kept. */
  readonly keepBytes: number;
  /** What a recipe must exclude to keep it. */
  readonly match: Match;
}

export function keepableLayers({ plan, proto }: Planned): KeepableLayer[] {
  const layers = new Map<string, KeepableLayer>();
  for (const tensor of plan.tensors) {
    if (tensor.scheme.as === 'keep') continue;
    const { key, name } = tensor;
    const before = layers.get(name)?.keepBytes ?? 0;
    layers.set(name, { name, key, keepBytes: before + savedBytes(tensor), match: { tensor: name } });
  }
  if (plan.recipe.static !== undefined) {
    for (const layer of integerNodes(proto)) if (!layers.has(layer.name)) layers.set(layer.name, layer);
  }
  return [...layers.values()];
}

function savedBytes({ dtype, shape, parts }: PlannedTensor): number {
  const count = shape.reduce((product, size) => product * size, 1);
  return (count * DTYPES[dtype].bits) / 8 - parts.reduce((sum, { length }) => sum + length, 0);
}

/** Nodes that read dequantized activations and no weight. */
function integerNodes({ graph }: ModelProto): KeepableLayer[] {
  if (graph === undefined) return [];
  const constants = new Set(graph.initializer.map(({ name }) => name ?? ''));
  const dequantized = new Map<string, string>();
  for (const { opType, input, output } of graph.node) {
    if (opType === 'DequantizeLinear') dequantized.set(output[0] ?? '', input[0] ?? '');
  }
  const names = nodeNames(graph);
  return graph.node.flatMap((node): KeepableLayer[] => {
    const sources = node.input.flatMap((name) => dequantized.get(name) ?? []);
    if (node.opType === 'QuantizeLinear' || sources.length === 0) return [];
    if (sources.some((source) => constants.has(source))) return [];
    const { name = '', output } = node;
    if (names.get(name) === 1) return [{ name, keepBytes: 0, match: { node: name } }];
    const tensor = output[0] ?? '';
    return tensor === '' ? [] : [{ name: tensor, keepBytes: 0, match: { tensor } }];
  });
}

/** Name → how many nodes have it; the empty name counts as none. */
function nodeNames({ node }: GraphProto): Map<string, number> {
  const names = new Map<string, number>();
  for (const { name = '' } of node) if (name !== '') names.set(name, (names.get(name) ?? 0) + 1);
  return names;
}

/** Whether the mode also rounds what runs through its layers to 8 bits, so that a weight alone does not tell what a layer loses. */
export function roundsActivations({ plan }: Planned): boolean {
  return plan.recipe.static !== undefined || plan.tensors.some(({ scheme }) => scheme.as === 'dynamic-int8');
}

/** The recipe that leaves these layers as they are. */
export function keeping(recipe: Recipe, layers: readonly KeepableLayer[]): Recipe {
  const own = recipe.exclude === undefined ? [] : isList(recipe.exclude) ? recipe.exclude : [recipe.exclude];
  return { ...recipe, exclude: [...own, ...layers.map(({ match }) => match)] };
}

function isList(exclude: Match | readonly Match[]): exclude is readonly Match[] {
  return Array.isArray(exclude);
}
