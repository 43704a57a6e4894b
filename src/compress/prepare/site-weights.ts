/**
 * The weights that read a fold site, as algorithms see them: matrices [outputs, inputs] with the channel of each input, and what runs
 * of the model show of those channels.
 */

import type { ReadingWeight } from '../../algorithms/smoothquant.ts';
import { collectInputStatistics } from '../../calibration/collect/collect-inputs.ts';
import { findProducts } from '../../calibration/collect/find-products.ts';
import type { Collected, Product } from '../../calibration/collect/products.ts';
import type { InputStatistics } from '../../calibration/statistics/input-statistics.ts';
import type { ChannelEnd, FoldSite } from '../../formats/onnx/fold/sites.ts';
import { readInt } from '../../formats/onnx/rewrite/build.ts';
import { onnxruntimeNode } from '../../runtime/onnxruntime-node.ts';
import { currentTensor } from './fold-site.ts';
import type { EditableModel, PassContext } from './pass.ts';

/** A weight that reads a site, with the product that it is part of. */
export interface SiteWeight extends ReadingWeight {
  readonly end: ChannelEnd;
  readonly product: Product;
  /** Stored [inputs, outputs]. */
  readonly turned: boolean;
}

/**
 * The weights that read a site, values included; undefined where one of them is no product whose inputs can be collected.
 * @param products By the name of the weight.
 */
export async function readingWeights(
  model: EditableModel,
  site: FoldSite,
  products: ReadonlyMap<string, readonly Product[]>,
): Promise<SiteWeight[] | undefined> {
  const weights: SiteWeight[] = [];
  for (const end of site.takes) {
    const tensor = currentTensor(model, end);
    const [product, ...others] = products.get(tensor.name ?? '') ?? [];
    if (product === undefined || others.length > 0) return undefined;
    const { dims } = tensor;
    const stored = await model.read(tensor);
    const { inputs } = product;
    const outputs = stored.length / inputs;
    const isStoredTurned = isTurned(end);
    const values = isStoredTurned ? turned(stored, inputs, outputs) : stored;
    const channels = channelsOf(end, dims, inputs);
    weights.push({ values, outputs, inputs, ...channels, end, product, turned: isStoredTurned });
  }
  return weights;
}

export function productsByWeight(model: EditableModel): Map<string, Product[]> {
  const found = new Map<string, Product[]>();
  for (const product of findProducts(model.proto))
    found.set(product.weight, [...(found.get(product.weight) ?? []), product]);
  return found;
}

/** Statistics of the inputs of products, by the weight, from one walk over the data. */
export async function siteStatistics(
  { model, dataset, threads, signal, onProgress }: PassContext,
  products: readonly Product[],
  collect: readonly Collected[],
): Promise<Map<string, InputStatistics>> {
  const { proto, tensorBytes } = model.asModel();
  const options = { runtime: onnxruntimeNode(), collect, threads, signal, onProgress };
  return collectInputStatistics({ proto, resolve: tensorBytes }, await dataset(), products, options);
}

/** Stored [inputs, outputs]. */
function isTurned({ node }: ChannelEnd): boolean {
  return node.opType === 'MatMul' || (node.opType === 'Gemm' && readInt(node, 'transB', 0) === 0);
}

function turned(stored: Float32Array, inputs: number, outputs: number): Float32Array {
  const values = new Float32Array(stored.length);
  for (let j = 0; j < inputs; j++) {
    for (let o = 0; o < outputs; o++) values[o * inputs + j] = stored[j * outputs + o]!;
  }
  return values;
}

function channelsOf(
  { layout, node }: ChannelEnd,
  dims: readonly number[],
  inputs: number,
): Pick<ReadingWeight, 'channels' | 'offsets'> {
  if (node.opType !== 'Conv') return { channels: [...layout.values()][0] ?? new Int32Array(inputs) };
  const rank = dims.length;
  const places = inputs / (dims[1] ?? 1);
  const table = layout.get(1 - rank) ?? new Int32Array(dims[1] ?? 1);
  const channels = Int32Array.from({ length: inputs }, (_, j) => table[Math.floor(j / places)]!);
  const offsets = layout.get(-rank);
  return offsets === undefined ? { channels } : { channels, offsets };
}

/** A statistic of inputs for each channel; the largest where inputs share one. [groups, inputs] for a convolution in groups. */
export function byChannel(
  weight: ReadingWeight,
  values: Float32Array | Float64Array,
  into: Float32Array | Float64Array,
): void {
  const { inputs, outputs, channels, offsets } = weight;
  const groups = values.length / inputs;
  for (let i = 0; i < values.length; i++) {
    const group = Math.floor(i / inputs);
    const channel = channels[i % inputs]! + (offsets?.[(group * outputs) / groups] ?? 0);
    into[channel] = Math.max(into[channel]!, values[i]!);
  }
}
