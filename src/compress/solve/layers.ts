/**
 * The layers of a model as algorithms see them: every weight that is nothing but the matrix of products (MatMul, Gemm, Conv),
 * how it is stored, which tensors it is multiplied with, and in which stage of sequential calibration its turn comes.
 *
 * Stages: a product's stage is the largest number of other layers on a path to its input. Products of one stage depend on no
 * layer of the same or a later stage, so one pass over the data serves all of them, and everything before them is settled.
 * That is the order of GPTQ (Frantar et al. 2023, section 4: layers are calibrated on the inputs of the quantized prefix),
 * derived from the graph in place of a list of modules.
 */

import { findProducts } from '../../calibration/collect/find-products.ts';
import type { Product } from '../../calibration/collect/products.ts';
import { elementCount } from '../../core/shape.ts';
import { topologicalOrder } from '../../formats/onnx/graph.ts';
import type { GraphProto, ModelProto, NodeProto } from '../../formats/onnx/messages.ts';
import { findWeights, type Weight } from '../../formats/onnx/model.ts';
import { indexGraph, type ResolvedUse, resolveUses, subgraphs } from '../../formats/onnx/rewrite/uses.ts';

export interface Layer {
  /** Key of the weight. */
  readonly key: string;
  readonly name: string;
  readonly weight: Weight;
  readonly outputs: number;
  readonly inputs: number;
  /** Stored [inputs, outputs]; else [outputs, inputs]. */
  readonly turned: boolean;
  /**
   * Stored [filters, channels, places]: the matrix has the channels of a place side by side, [filters, places, channels], so that
   * blocks across the channels are groups of consecutive inputs.
   */
  readonly filters?: { readonly channels: number; readonly places: number } | undefined;
  /** One for each operator that reads the weight. */
  readonly products: readonly Product[];
  /** Convolution in groups: each group of outputs has inputs of its own. */
  readonly groups: number;
  readonly stage: number;
}

/**
 * Layers of the main graph in the order of their stages; weights that other operators read as well are left out.
 * @param wanted Keys of the weights that are to be solved; stages count these only. Default: all.
 */
export function findLayers(proto: ModelProto, wanted?: ReadonlySet<string>): Layer[] {
  const { graph } = proto;
  if (graph === undefined) return [];
  const index = indexGraph(proto);
  const products = new Map<string, Product[]>();
  for (const product of findProducts(proto))
    products.set(product.weight, [...(products.get(product.weight) ?? []), product]);
  const found: { layer: Omit<Layer, 'stage'>; nodes: readonly NodeProto[] }[] = [];
  for (const weight of findWeights(proto)) {
    if (wanted !== undefined && !wanted.has(weight.key)) continue;
    if (weight.graph !== graph || weight.isGraphOutput) continue;
    const uses = resolveUses(weight, index);
    const layer = layerOf(weight, uses, products.get(weight.key) ?? []);
    if (layer !== undefined) found.push({ layer, nodes: uses.map(({ node }) => node) });
  }
  const owners = new Map<NodeProto, number>();
  for (const [number, { nodes }] of found.entries()) for (const node of nodes) owners.set(node, number);
  const stages = stagesOf(graph, owners, found.length);
  return found
    .map(({ layer }, number) => ({ ...layer, stage: stages[number] ?? 0 }))
    .sort((a, b) => a.stage - b.stage);
}

function layerOf(
  weight: Weight,
  uses: readonly ResolvedUse[],
  products: readonly Product[],
): Omit<Layer, 'stage'> | undefined {
  const [first] = uses;
  const inputs = products[0]?.inputs ?? 0;
  const count = elementCount(weight.shape) ?? 0;
  // Every reader is a product of the main graph, and all see the weight the same way.
  if (first === undefined || count === 0 || products.length !== uses.length) return undefined;
  const turned = isTurned(first);
  if (uses.some((use) => isTurned(use) !== turned)) return undefined;
  if (products.some((product) => product.inputs !== inputs)) return undefined;
  const groups = Math.max(...products.map((product) => (product.kind === 'patches' ? product.groups : 1)));
  return {
    key: weight.key,
    name: weight.name,
    weight,
    inputs,
    outputs: count / inputs,
    turned,
    products,
    groups,
  };
}

function isTurned({ role }: ResolvedUse): boolean {
  return (role.kind === 'matmul' || role.kind === 'gemm') && !role.transposed;
}

/** Stage of each layer; a layer that is read several times waits for the last of its inputs. */
function stagesOf(graph: GraphProto, owners: ReadonlyMap<NodeProto, number>, count: number): number[] {
  const stages = new Array<number>(count).fill(0);
  const order = topologicalOrder(graph) ?? graph.node;
  // A second walk settles what reads a layer's outputs, where the layer's stage grew after its first use.
  for (let walk = 0; walk <= count; walk++) {
    const before = stages.join();
    const depth = new Map<string, number>();
    for (const node of order) {
      const reached = Math.max(0, ...readNames(node).map((name) => depth.get(name) ?? 0));
      const layer = owners.get(node);
      let own = reached;
      if (layer !== undefined) {
        stages[layer] = Math.max(stages[layer] ?? 0, reached);
        own = stages[layer] + 1;
      }
      for (const name of node.output) depth.set(name, own);
    }
    if (stages.join() === before) break;
  }
  return stages;
}

/** What a node reads, in its subgraphs too. */
function readNames(node: NodeProto): string[] {
  const inner = subgraphs(node).flatMap((graph) => graph.node.flatMap(readNames));
  return [...node.input, ...inner];
}

/** The stored values as [outputs, inputs], a copy. */
export function toMatrix(stored: Float32Array, { outputs, inputs, turned, filters }: Layer): Float32Array {
  if (filters !== undefined) return transposeEach(stored, filters.channels, filters.places);
  return turned ? transpose(stored, inputs, outputs) : stored.slice();
}

/** [outputs, inputs] in the order in which the weight is stored. */
export function fromMatrix(values: Float32Array, { outputs, inputs, turned, filters }: Layer): Float32Array {
  if (filters !== undefined) return transposeEach(values, filters.places, filters.channels);
  return turned ? transpose(values, outputs, inputs) : values;
}

/** Matrices one behind another. */
function transposeEach(values: Float32Array, rows: number, columns: number): Float32Array {
  const turned = new Float32Array(values.length);
  const size = rows * columns;
  for (let start = 0; start < values.length; start += size)
    turned.set(transpose(values.subarray(start, start + size), rows, columns), start);
  return turned;
}

function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const turned = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++)
      turned[column * rows + row] = values[row * columns + column]!;
  }
  return turned;
}
