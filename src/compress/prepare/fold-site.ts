/** Moves factors across a fold site: what gives the channels is divided, what takes them multiplied. */

import { foldFacts } from '../../formats/onnx/fold/facts.ts';
import { channelPeaks, scaleChannels } from '../../formats/onnx/fold/scale.ts';
import { type ChannelEnd, type FoldSite, findSites } from '../../formats/onnx/fold/sites.ts';
import type { TensorProto } from '../../formats/onnx/messages.ts';
import { cloneTensor } from '../../formats/onnx/model.ts';
import { indexGraph } from '../../formats/onnx/rewrite/uses.ts';
import type { EditableModel } from './pass.ts';

/** The places of a model in its present state. */
export async function sitesOf(model: EditableModel): Promise<FoldSite[]> {
  const { readTensor } = model.asModel();
  return findSites(await foldFacts(model.proto, model.graph, readTensor));
}

/** Largest magnitude of each channel in one constant of a site, once all sites got their factors. */
export async function endPeaks(
  model: EditableModel,
  end: ChannelEnd,
  channels: number,
  moved: ReadonlyMap<FoldSite, Float64Array>,
): Promise<Float32Array> {
  const tensor = currentTensor(model, end);
  const values = await model.read(tensor);
  for (const [{ gives, takes }, factors] of moved) {
    for (const { node, input, layout, side } of [...gives, ...takes]) {
      if (node === end.node && input === end.input)
        scaleChannels(values, tensor.dims, layout, factors, side === 'gives');
    }
  }
  return channelPeaks(values, tensor.dims, end.layout, channels);
}

/**
 * Divides the values of the site by `factors`, one for each channel, and leaves what the model computes unchanged.
 * Sites found before stay valid.
 */
export async function foldFactors(
  model: EditableModel,
  { gives, takes }: FoldSite,
  factors: Float64Array,
): Promise<void> {
  const index = indexGraph(model.proto);
  for (const end of [...gives, ...takes]) {
    const shared = currentTensor(model, end);
    const name = shared.name ?? '';
    const isRead = index.consumers(model.graph, name).length > 1 || index.isOutput(model.graph, name);
    const isShared = isRead && end.node.input[end.input] === name;
    const tensor = isShared ? copyFor(model, end, shared) : shared;
    const values = await model.read(tensor);
    scaleChannels(values, tensor.dims, end.layout, factors, end.side === 'gives');
    await model.write(tensor, values);
  }
}

/** What the node reads now: an earlier place may have given it a copy. */
export function currentTensor(model: EditableModel, { node, input, tensor }: ChannelEnd): TensorProto {
  return model.constant(node.input[input] ?? '') ?? tensor;
}

function copyFor(model: EditableModel, { node, input }: ChannelEnd, tensor: TensorProto): TensorProto {
  const copy = cloneTensor(tensor);
  copy.name = model.uniqueName(`${tensor.name ?? ''}_folded`);
  model.graph.initializer.push(copy);
  node.input[input] = copy.name;
  return copy;
}
